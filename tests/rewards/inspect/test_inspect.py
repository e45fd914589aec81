"""`python -m rewards.inspect`: five rewards that cannot teach are each told by their fault, and the default is not."""

import json

import numpy as np
import pytest
from PIL import Image

from rewards.inspect import __main__ as inspect
from rewards.motion.motion_files import read_motions
from rollout.motion.record import COLUMNS
from rollout.record import write_rollout
from tests.tiny import FRAMES, TRAINING, make_policy, sample_group

PROMPTS, SIZE = TRAINING, 6
OWN_HEIGHT = {}  # by prompt, of the head, m: the mean of the motions made for it


def heights(motions):
    """Mean height of the head, m."""
    return np.array([joints[:length, 15, 1].mean() for joints, length in zip(motions.joints, motions.lengths)])


class Sound:
    """Nearness of the head's height to the prompt's own: reads both, and each motion for itself."""

    def gap(self, motions):
        return np.abs(heights(motions) - [OWN_HEIGHT[prompt] for prompt in motions.prompts])

    def __call__(self, motions):
        return np.exp(-self.gap(motions)).astype(np.float32)


class Saturated(Sound):
    """Linear with a max_distance that few motions come below."""

    def __call__(self, motions):
        return np.maximum(0, 1 - self.gap(motions) / OWN_HEIGHT["near"]).astype(np.float32)


class Constant:
    def __call__(self, motions):
        return np.full(len(motions), 0.7, np.float32)


class PromptBlind:
    def __call__(self, motions):
        return heights(motions).astype(np.float32)


class SortsByLength(Sound):
    """Scores are returned in the order of lengths, as an encoder does that sorts its batch and does not sort back."""

    def __call__(self, motions):
        return super().__call__(motions)[np.argsort(-motions.lengths, kind="stable")]


class SometimesNaN(Sound):
    def __call__(self, motions):
        scores = super().__call__(motions)
        return np.where(heights(motions) > OWN_HEIGHT[TRAINING[0]], np.nan, scores).astype(np.float32)


class AlwaysNaN(Sound):
    def __call__(self, motions):
        return np.full(len(motions), np.nan, np.float32)


class ReadsPadding(Sound):
    def __call__(self, motions):
        return super().__call__(motions) + motions.features.mean(axis=(1, 2)).astype(np.float32)


class ComparesWithBatch(Sound):
    """The best of the batch gets 1: what a score is depends on who else is there."""

    def __call__(self, motions):
        scores = super().__call__(motions)
        return scores / scores.max()


@pytest.fixture(scope="module")
def folder(mdm_folder, tmp_path_factory):
    """Six motions of each of four prompts, as `rollout.sample` writes them."""
    out = tmp_path_factory.mktemp("motions")
    policy = make_policy(mdm_folder)
    index = []
    for p, prompt in enumerate(PROMPTS):
        for features in sample_group(policy, SIZE, 0, seed=(0, p), text=prompt).outputs:
            name = f"{len(index):03d}"
            features[:, 0] *= 0.1
            np.save(out / f"{name}.features.npy", features)
            index.append({"motion": name, "prompt": prompt, "frames": FRAMES})
    (out / "prompts.json").write_text(json.dumps(index))
    motions = read_motions(out)
    heads = heights(motions)
    OWN_HEIGHT.update({prompt: heads[np.array(motions.prompts) == prompt].mean() for prompt in PROMPTS})
    OWN_HEIGHT["near"] = np.quantile(Sound().gap(motions), 0.2)
    return out


@pytest.fixture
def look(folder, tmp_path, capsys):
    """Inspects the reward of some flags: exit status and what was printed."""

    def look(*flags, motions=folder):
        status = inspect.main([str(motions), "--picture", str(tmp_path / "it.png"), *map(str, flags)])
        return status, capsys.readouterr().out.splitlines()

    return look


def of(name, *more):
    return ["--reward.components.it.path", f"{__name__}:{name}", *more]


def faults(lines):
    return [line for line in lines if line.startswith("FAULT")]


def test_a_sound_reward_has_no_fault(look):
    status, lines = look(*of("Sound"))
    assert (status, faults(lines)) == (0, []) and "no fault found: this reward can teach these groups" in lines
    assert lines[0] == "24 motions in 4 groups"


@pytest.mark.parametrize(
    "name, words",
    [
        ("Saturated", "saturated: "),
        ("Constant", "constant: every motion scores 0.7; there is nothing to learn"),
        ("PromptBlind", "blind to the prompt"),
        ("SortsByLength", "depends on the order of the batch"),
        ("SometimesNaN", "of 24 motions (an error, NaN or infinite)"),
        ("AlwaysNaN", "fails on 24 of 24 motions"),
        ("ReadsPadding", "reads frames past a motion's length"),
        ("ComparesWithBatch", "depends on its neighbours"),
    ],
)
def test_each_planted_fault_is_found(look, name, words):
    status, lines = look(*of(name))
    assert status == 1 and any(words in line for line in faults(lines)), lines


def test_a_gameable_reward_is_told_before_it_trains(look):
    status, lines = look("--reward.components.it.path", "tests.gameable:RawSmoothness")
    assert status == 1 and any("standing still pays" in line for line in faults(lines))


def test_a_reward_about_the_group_may_read_its_group(look):
    _, lines = look(*of("Sound"), "--reward.components.variety.path", "diversity", "--reward.components.variety.weight", "0.01")
    assert not [line for line in faults(lines) if "neighbours" in line]
    assert any("variety: reads the other motions of its group" in line for line in lines)


def test_physical_terms_are_shown_beside_real_motion(look):
    _, lines = look(*of("Sound"), "--reward.components.jerk.path", "jerk")
    (line,) = [line for line in lines if line.startswith("real   jerk: real motion ")]
    assert "m/s^3" in line and "these motions" in line


def test_only_the_planted_fault_is_found(look):
    for name in ("Constant", "SortsByLength", "ReadsPadding", "ComparesWithBatch"):
        _, lines = look(*of(name))
        assert len(faults(lines)) == 1, faults(lines)


def test_what_a_term_lacks_beside_others_is_a_note_and_no_fault(look):
    status, lines = look(*of("Sound"), "--reward.components.height.path", f"{__name__}:PromptBlind", "--reward.components.height.weight", "0.01")
    assert status == 0 and any(line.startswith("note   height: blind to the prompt") for line in lines)
    table = next(i for i, line in enumerate(lines) if line.startswith("correlation in groups"))
    assert [line.split()[0] for line in lines[table + 1 : table + 4]] == ["it", "height", "reward"]
    assert float(lines[table + 1].split()[1]) == 1


def test_normalisations_are_compared(look):
    _, lines = look(*of("Sound"))
    head = next(i for i, line in enumerate(lines) if line.startswith("advantages against raw"))
    kinds, numbers = lines[head].split()[3:], lines[head + 1].split()[1:]
    found = dict(zip(kinds, map(float, numbers), strict=True))
    assert found["raw"] == found["std"] == found["minmax"] == 1 and 0.8 < found["rank"] < 1


def test_the_picture_can_be_opened(look, tmp_path):
    look(*of("Sound"))
    assert min(Image.open(tmp_path / "it.png").size) > 600


def test_a_shipped_reward_by_config_gets_suggested_scales(look, tmp_path, tmr_folder):
    config = tmp_path / "run.yaml"
    config.write_text(f"iterations: 3\nreward:\n  tmr_path: {tmr_folder}\n  components: {{tmr: {{path: tmr.cosine}}}}\n")
    _, lines = look("--config", config)
    (line,) = [line for line in lines if line.startswith("scale  tmr")]
    assert "max_distance" in line and "exponential scale" in line and "sigmoid scale" in line


def test_the_rollout_of_a_run_is_read_group_by_group(look, folder, tmp_path):
    motions = read_motions(folder)
    rows = [
        {
            "iteration": 0, "group": i % 2, "sample": i // 2, "prompt": PROMPTS[i % 2], "seed": "0", "length": FRAMES, "adapter_version": 0,
            "adapter_sha256": "", "advantage": 0.0, "reward": 0.0, "components": {}, "log_probs": np.zeros(1), "timesteps": np.zeros(1, int),
            "motion": motions.produced[i],
        }
        for i in range(8)
    ]  # fmt: skip
    write_rollout(tmp_path / "000000.parquet", rows, COLUMNS)
    for place in (tmp_path / "000000.parquet", tmp_path):
        found = read_motions(place)
        assert found.groups.tolist() == [0, 1] * 4 and found.prompts == PROMPTS[:2] * 4
        np.testing.assert_allclose(found.produced, motions.produced[:8], atol=1e-3)
    assert look(*of("Sound"), motions=tmp_path)[1][0] == "8 motions in 2 groups"


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--reward.components.it.path", "no.such:Thing"], "reward.components.it.path: found 'no.such:Thing', expected a class of a file in the working folder"),
        (["--reward.components.it.path", "nonsense"], "reward.components.it.path: found 'nonsense'"),
        (["--config", "absent.yaml"], "--config: cannot read absent.yaml"),
        (["--reward_model_type", "tmr"], "--reward_model_type: given beside reward.components"),
        (["--rewards", "x"], "unknown flag --rewards"),
        (["--picture", "/no/such/place.png"], "--picture: cannot write /no/such/place.png"),
    ],
)
def test_bad_input_is_one_line(folder, capsys, flags, words):
    more = [] if "components" in flags[0] else of("Constant")
    assert inspect.main([str(folder), *more, *flags]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and words in printed.err and printed.err.count("\n") == 1


def test_a_folder_without_motions_is_one_line(tmp_path, capsys):
    assert inspect.main([str(tmp_path)]) == 2
    assert "neither prompts.json nor a .parquet file in it" in capsys.readouterr().err
