"""Paths in settings mean the same files in an actor that works in another folder as they did where they were typed."""

import os

import ray

from learner.config.parse import flatten, parse_config, write_config
from rewards.family import rewards_of
from rollout.family import family


@ray.remote
def loaded_elsewhere(config, folder: str) -> tuple[str, int, list[str]]:
    """Where it works, and what it found of the model and of the reward."""
    os.chdir(folder)
    policy = family(config.family).build(config)("cpu")
    scorer, _ = rewards_of(config.family).load(config, "cpu", {})
    return os.getcwd(), len(policy.schedule), sorted(scorer.components)


def test_an_actor_in_another_folder_reads_the_same_files(tiny, tmp_path, monkeypatch):
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    elsewhere.mkdir()
    tiny.write_run_config(work)
    monkeypatch.chdir(work)
    paths = {"model.path": "mdm", "rollout.prompts": "training.txt", "evaluate.heldout": "./heldout.txt", "reward.tmr_path": "tmr",
             "reward.t2m_path": "../work/t2m", "run_dir": "runs/first", "checkpoint.path": "kept"}  # fmt: skip
    config = parse_config(["--model.frames", "12", *(word for key, path in paths.items() for word in (f"--{key}", path))])
    given = flatten(config)
    assert {key: given[key] for key in paths} == {key: os.path.abspath(path) for key, path in paths.items()}
    assert ray.get(loaded_elsewhere.remote(config, str(elsewhere))) == (str(elsewhere), 10, ["foot_skate", "tmr"])
    write_config(config, tmp_path / "config.yaml")
    monkeypatch.chdir(elsewhere)
    assert parse_config(["--config", str(tmp_path / "config.yaml")]) == config


def test_names_of_the_hub_and_addresses_stay(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    flags = "--model.text_encoder openai/clip-vit-base-patch32 --checkpoint.path s3://bucket/run --tracking.uri sqlite:///my.db"
    config = parse_config(flags.split())
    assert (config.model.text_encoder, config.checkpoint.path) == ("openai/clip-vit-base-patch32", "s3://bucket/run")
    assert config.tracking.uri == "sqlite:///my.db"
    (tmp_path / "openai" / "clip-vit-base-patch32").mkdir(parents=True)
    assert parse_config(flags.split()).model.text_encoder == str(tmp_path / "openai" / "clip-vit-base-patch32")
