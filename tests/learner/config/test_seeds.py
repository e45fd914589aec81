"""`--seeds`: what it means for the settings of each run, and what is refused."""

import pytest

from learner.config.parse import parse_config, write_config
from learner.config.seeds import of_seeds
from learner.main import main
from learner.run.folder import RunFolder
from rollout.io.errors import InputError

FLAGS = ["--seeds", "0,4", "--iterations", "20"]


def test_one_configuration_is_itself():
    config = parse_config(["--seed", "3"])
    assert of_seeds(config) == [config]


def test_each_seed_has_the_settings_of_a_run_alone():
    runs = of_seeds(parse_config([*FLAGS, "--checkpoint.path", "s3://bucket/kept?region=x"]))
    for seed, config in zip((0, 4), runs, strict=True):
        path = f"s3://bucket/kept/seed{seed}?region=x"
        alone = parse_config(["--seed", str(seed), "--iterations", "20", "--checkpoint.path", path])
        assert config.replace(run_name=None) == alone and config.run_name == f"seed{seed}"


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--seed", "0"], "--seed: given beside seeds 0,4, expected one or the other"),
        (["--seeds", "4"], "--seeds: found (0, 4, 4), expected each seed once"),
        (["--seeds", "-1"], "--seeds: found -1, expected at least 0"),
        (["--seeds", "one"], "--seeds: found 'one', expected a list of whole numbers"),
        (
            ["--tracking.platform", "WandBPlatform"],
            "--tracking.platform: found 'WandBPlatform', expected NoPlatform or TensorboardPlatform beside seeds: W&B has one run a process",
        ),
    ],
)
def test_what_is_no_list_of_seeds_is_one_line(flags, message, capsys):
    assert main([*FLAGS, *flags]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_all_go_on_where_they_were_and_one_that_had_not_begun_begins(tmp_path):
    config = parse_config([*FLAGS, "--run_dir", str(tmp_path / "run")])
    folder = RunFolder.create(config.run_dir, "s0-4", ("seed0", "seed4")).path
    write_config(config, folder / "config.yaml")
    write_config(of_seeds(config)[0], RunFolder.create(folder / "seed0").config)
    begun, new = of_seeds(parse_config(["--resume", str(folder)]))
    assert (begun.resume, new.resume) == (str(folder / "seed0"), None)
    with pytest.raises(InputError, match=r"says otherwise of seeds \[0, 4\] -> \[0, 5\]"):
        parse_config(["--resume", str(folder), "--seeds", "0,5"])
    (folder / "seed0" / "summary.json").write_text('{"status": "finished", "iterations": 20}')
    assert [config.seed for config in of_seeds(parse_config(["--resume", str(folder)]))] == [4]
    assert [config.seed for config in of_seeds(parse_config(["--resume", str(folder), "--iterations", "21"]))] == [0, 4]
