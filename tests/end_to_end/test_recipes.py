"""The recipes in `configs/` are found by name, are short, and run on small files in the official formats where they say that these lie."""

import pytest

from learner.config.files import RECIPES
from learner.config.parse import parse_config
from learner.config.settings import Config
from learner.main import main
from rollout.io.errors import InputError
from rollout.motion.skeleton import FORMATS
from tests.humanml_folder import clip, write_folder

NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))
SMALL = ["--evaluate.prompts", "2", "--dry_run"]


@pytest.fixture(scope="module")
def checkout(tiny, tmp_path_factory):
    """An MDM checkout with small networks, and TMR's beside it."""
    root = tmp_path_factory.mktemp("work")
    mdm = root / "motion-diffusion-model"
    for name in ("humanml_enc_512_50steps", "official_humanml_enc_512_50steps"):
        tiny.write_mdm(mdm / "save" / name, mask_frames=True, pos_embed_max_len=5000)
    next((mdm / "save" / name).glob("model*.pt")).rename(mdm / "save" / name / "model000750000.pt")
    for split, texts in (("train", tiny.TRAINING), ("test", tiny.HELDOUT)):
        tagged = [f"{text}#{' '.join(f'{word}/NOUN' for word in text.split())}#0.0#0.0\n" for text in texts]
        for kind in FORMATS.values():
            clips = {f"{split}{i}": (clip(60, kind.features, i), text) for i, text in enumerate(tagged)}
            write_folder(mdm / "dataset" / kind.name, clips, split)
    for kind in FORMATS.values():
        tiny.write_t2m(mdm / kind.evaluator / "text_mot_match" / "model", kind)
    tiny.write_mdm(mdm / "save" / "kit_trans_enc_512", dataset="kit", diffusion_steps=1000, pos_embed_max_len=5000)
    tiny.write_tmr(root / "TMR" / "models" / "tmr_humanml3d_guoh3dfeats")
    return mdm


def test_there_are_nine_of_at_most_forty_lines_each_with_comments():
    assert NAMES == ["awm", "demo", "humanml_eight_gpus", "humanml_one_gpu", "mdm50_humanml3d", "mdm_kit", "original", "people", "points"]
    for name in NAMES:
        lines = (RECIPES / f"{name}.yaml").read_text().splitlines()
        assert len(lines) <= 40 and lines[0].startswith("# ")


def test_the_demo_is_what_runs_without_settings():
    assert parse_config(["--config", "demo"]) == Config()


@pytest.mark.parametrize(
    "words",
    [
        ["demo"], ["awm"], ["humanml_one_gpu"], ["humanml_one_gpu", "humanml_eight_gpus"], ["mdm50_humanml3d"], ["mdm_kit"], ["original"],
    ],
)  # fmt: skip
def test_each_passes_a_dry_run(checkout, monkeypatch, capsys, words):
    monkeypatch.chdir(checkout)
    given = [word for name in words for word in ("--config", name)]
    config = parse_config(given)
    own = ["--reward.tmr_path", str(checkout.parent / "TMR/models/tmr_humanml3d_guoh3dfeats")] if words == ["original"] else []
    assert main([*given, *own, *SMALL]) == 0
    shown = capsys.readouterr().out
    assert f"{config.rollout.prompts_per_iteration} prompts x {config.rollout.group_size} samples" in shown
    assert f"{'10' if words[0] in ('demo', 'awm') else '50'} steps, {config.model.frames} frames" in shown


@pytest.mark.parametrize("name, samples", [("people", 8), ("points", 16)])
def test_the_models_that_ship_pass_a_dry_run_from_any_folder(tmp_path, monkeypatch, capsys, name, samples):
    monkeypatch.chdir(tmp_path)
    assert main(["--config", name, "--evaluate.prompts", "2", "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert f"8 prompts x {samples} samples" in shown and f"language/{name}" in shown


def test_a_file_of_the_name_goes_first_and_an_unknown_name_lists_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_config(["--config", "original"]).iterations == 10000
    (tmp_path / "original.yaml").write_text("iterations: 7\n")
    assert parse_config(["--config", "original"]).iterations == 7
    (tmp_path / "original").write_text("iterations: 8\n")
    assert parse_config(["--config", "original"]).iterations == 8
    with pytest.raises(InputError, match=f"^--config: orignal not found, neither a file nor one of the recipes {', '.join(NAMES)}$"):
        parse_config(["--config", "orignal"])
