"""A prefix-completion model goes on for as long as asked, each round from the frames before it."""

import numpy as np
import pytest

from rollout.io.errors import InputError
from rollout.motion.prepare import MotionPreparer
from rollout.motion.sample import main
from tests.tiny import make_policy, write_mdm

CONTEXT, PREDICTED = 4, 8


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    folder = write_mdm(tmp_path_factory.mktemp("dip"), arch="trans_dec", context_len=CONTEXT, pred_len=PREDICTED)
    return make_policy(folder)


@pytest.fixture
def prefix(policy):
    return policy.mean + policy.std * np.random.default_rng(0).standard_normal((6, 263), dtype=np.float32)


def test_a_prefix_that_does_not_fit_is_refused(policy, prefix, tmp_path):
    for wrong, expected in (
        (prefix[:3], "p.npy: found 3 frames, expected at least the 4 that the model continues"),
        (prefix[:, :251], r"p.npy: found shape \[6, 251\], expected"),
        (prefix * np.nan, "NaN"),
    ):  # fmt: skip
        np.save(tmp_path / "p.npy", wrong)
        with pytest.raises(InputError, match=expected):
            MotionPreparer(policy.settings.model.replace(prefix=str(tmp_path / "p.npy"))).prepare([])


def test_motions_are_continued_from_the_command_line(policy, prefix, tmp_path, capsys):
    np.save(tmp_path / "prefix.npy", prefix)
    (tmp_path / "prompts.txt").write_text("a person walks\t19\n")
    flags = ["--model", str(policy.settings.model.checkpoint), "--prompts", str(tmp_path / "prompts.txt"), "--frames", "20"]
    assert main([*flags, "--out", str(tmp_path / "out"), "--prefix", str(tmp_path / "prefix.npy")]) == 0
    assert np.load(tmp_path / "out" / "000.features.npy").shape == (19, 263)
    assert main([*flags, "--out", str(tmp_path / "none")]) == 2 and not (tmp_path / "none").exists()
    assert "--prefix: missing" in capsys.readouterr().err
