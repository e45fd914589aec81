"""A run on a reward of one's own: a class in a file of the working directory, outside the package, beside those that ship."""

import numpy as np
import pytest

MODULE = '''
import numpy as np


class RaisedHands:
    """Height of the higher hand over the head, mean over the frames; m."""

    def __init__(self, silent_on=""):
        self.silent_on = silent_on

    def __call__(self, motions):
        above = motions.joints[:, :, [20, 21], 1].max(axis=2) - motions.joints[:, :, 15, 1]
        valid = np.arange(above.shape[1]) < motions.lengths[:, None]
        scores = (above * valid).sum(axis=1) / motions.lengths
        scores[1:][np.array(motions.prompts[1:]) == self.silent_on] = np.nan
        return scores
'''
SILENT = "jumps left"  # on this prompt one sample of a group is scored, and three fail


@pytest.fixture(scope="module")
def own(train, head, tmp_path_factory):
    """Two iterations of two groups: each of the four training prompts once."""
    folder = tmp_path_factory.mktemp("users")
    (folder / "users_rewards.py").write_text(MODULE)
    flags = [
        "--reward.components.tmr.path", "tmr.cosine", "--reward.components.tmr.normalise", "std",
        "--reward.components.hands.path", "users_rewards:RaisedHands", "--reward.components.hands.weight", "0.25",
        "--reward.components.hands.silent_on", SILENT, "--reward.components.hands.normalise", "percentile",
        "--cluster.reward_actors", 2, "--cluster.samplers", 1,
    ]  # fmt: skip
    return train("own", *flags, head=head, folder=folder)


def test_it_trains(own):
    assert (own.done.returncode, own.done.stderr) == (0, "")
    assert own.summary["status"] == "finished" and own.summary["max_log_prob_gap"] == 0


def test_values_of_every_component_are_in_the_record_and_the_metrics(own):
    for entry, rows in zip(own.metrics, own.rollouts, strict=True):
        for name in ("tmr", "hands"):
            values = np.array([row["components"][name] for row in rows])
            scored = values[np.isfinite(values)]
            assert entry[f"component_{name}_mean"] == pytest.approx(scored.mean(), rel=1e-5)
            assert entry[f"component_{name}_std"] == pytest.approx(scored.std(), rel=1e-4)
            assert entry[f"component_{name}_failed"] == len(values) - len(scored)
    assert own.summary["heldout"]["components"].keys() == {"tmr", "hands"}
    components = own.summary["heldout"]["components"].values()
    assert np.isfinite([[entry["before"], entry["after"], entry["gain"]["mean"]] for entry in components]).all()


def test_a_group_of_which_one_sample_is_left_is_dropped_counted_and_told(own):
    rows = [row for iteration in own.rollouts for row in iteration]
    failed = [np.isnan(row["reward"]) for row in rows]
    assert sum(failed) == 3 and all(row["prompt"] == SILENT for row, bad in zip(rows, failed) if bad)
    assert all((row["advantage"] == 0) == (row["prompt"] == SILENT) for row in rows)
    assert sum(entry["dropped_groups"] for entry in own.metrics) == 1
    assert sum(entry["failed_samples"] for entry in own.metrics) == 3
    assert own.done.stdout.count("3 samples could not be scored, such as: hands: gave nan") == 1


def test_rewards_are_normalised_in_their_group_by_one_adaptive_scale_for_all(own):
    sizes = []
    for rows in own.rollouts:
        for group in (rows[:4], rows[4:]):
            kept = [row for row in group if np.isfinite(row["reward"])]
            tmr, hands = (np.array([row["components"][name] for row in kept], float) for name in ("tmr", "hands"))
            sizes += np.abs(hands).tolist()
            z = (tmr - tmr.mean()) / tmr.std() if len(kept) > 1 else 0 * tmr
            expected = z + 0.25 * hands / np.percentile(sizes, 95)
            np.testing.assert_allclose([row["reward"] for row in kept], expected, rtol=1e-4, atol=1e-5)
