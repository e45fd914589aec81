"""What the language family promises the loop: groups as answers, what is refused before a run, and what an evaluation says."""

from types import SimpleNamespace

import numpy as np
import pytest

from rewards.family import rewards_of, sections, shorthands
from rewards.language.settings import Reward
from rollout.io.errors import InputError, RunFailed
from rollout.language.items import Item
from rollout.policy import Group
from tests.rewards.language.rows import whole
from tests.rewards.language.test_negative_points import LEFT, RIGHT, said, scene  # noqa: F401 (a fixture)

LANGUAGE = rewards_of("language")


def config(deadline=60.0, **components):
    reward = Reward(components=components) if components else Reward()
    return SimpleNamespace(reward=reward, cluster=SimpleNamespace(reward_deadline=deadline))


def group(item, *texts) -> Group:
    size = len(texts)
    columns = {"text": np.array(texts, object), "truncated": np.zeros(size, bool)}
    return Group(item, "sha", np.zeros((size, 4), np.int32), np.full(size, 4), np.zeros((size, 4), np.float32), None, columns, (0,), 0, "sha")


RIGHT_LETTER = Item("who?", problem_type="multiple choice", solution=whole("B"))
YES = Item("is it?", problem_type="judge", solution=whole("Yes"))


def test_groups_become_answers_and_their_rows():
    answers = LANGUAGE.subjects(group(RIGHT_LETTER, "a", "b"), group(YES, "c"))
    assert answers.completions == ["a", "b", "c"] and answers.groups.tolist() == [0, 0, 1] and answers.prompts == ["who?", "who?", "is it?"]
    part = answers.rows([2, 0])
    assert part.completions == ["c", "a"] and part.groups.tolist() == [1, 0] and part.items == [YES, RIGHT_LETTER]


def test_an_evaluation_says_accuracy_by_type_form_and_people():
    settings = config()
    scorer, judge = LANGUAGE.load(settings, "cpu", None)
    groups = group(RIGHT_LETTER, whole("B"), whole("A"), "B", ""), group(YES, whole("yes"), whole("I know: no"))
    results = LANGUAGE.examine(groups, scorer, judge)
    assert judge is None and [len(each.reward) for each in results] == [4, 2] and results[0].judge is None
    np.testing.assert_allclose(results[0].reward, [0.2 + 1 + 0.2 * 0.05, 0.2 + 0.2 * 0.05, 0, 0], rtol=1e-6)
    assert LANGUAGE.quality(settings, results) == pytest.approx({
        "accuracy": 2 / 6, "accuracy_official": 2 / 6, "accuracy_intentbench": 2 / 6, "format_rate": 4 / 6, "people_focus": 0.2 / 6,
        "accuracy_judge": 1 / 2, "accuracy_multiple_choice": 1 / 4,
    })  # fmt: skip


def test_an_evaluation_of_points_says_the_gain(scene):  # noqa: F811
    settings = config(points={"path": "negative_points"}, format={"path": "format", "tags": ["think", "answer"]})
    scorer, _ = LANGUAGE.load(settings, "cpu", None)
    results = LANGUAGE.examine([group(scene, said(LEFT, RIGHT), said(), "x")], scorer, None)
    assert LANGUAGE.quality(settings, results) == pytest.approx(
        {"mean_iou": 0.75, "baseline_iou": 0.5, "iou_gain": 0.25, "parsed_rate": 2 / 3, "format_rate": 2 / 3, "people_focus": 0}
    )


@pytest.mark.parametrize(
    "component, item, message",
    [
        ({"path": "accuracy"}, Item("q", problem_type="riddle", solution="x", source="a.json row 3"), "reward.components.it: unknown problem type 'riddle'"),
        ({"path": "accuracy"}, Item("q", problem_type="free-form", solution="x"), "reward.components.it: problem type 'free-form' needs a judge, and"),
        ({"path": "judge"}, YES, "reward.components.it: the environment has no judge: set API"),
        ({"path": "negative_points"}, YES, "reward.components.it: problem type 'judge' has no image and target"),
        ({"path": "negative_points", "segmenter": "/nowhere"}, YES, "reward.components.it: /nowhere: has no config.json, expected a folder of a SAM2"),
        ({"path": "negative_points", "space": "miles"}, YES, "reward.components.it: space: found 'miles'"),
    ],
)
def test_what_cannot_work_is_refused_before_the_run(monkeypatch, component, item, message):
    monkeypatch.delenv("API", raising=False)
    with pytest.raises(InputError) as caught:
        LANGUAGE.check(config(it=component), [YES, item] if item is not YES and component["path"] == "accuracy" else [item])
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_a_wrong_key_and_a_judge_that_is_out_are_told_before_the_run(monkeypatch):
    monkeypatch.setenv("API", "http://127.0.0.1:9/v1")
    with pytest.raises(RunFailed, match="^reward.components.it: http://127.0.0.1:9/v1/chat/completions: no answer in 1 tries"):
        LANGUAGE.check(config(it={"path": "judge", "tries": 1}), [YES])


def test_a_single_bad_row_refuses_no_run():
    LANGUAGE.check(config(), [Item("q", problem_type="numerical", solution="many"), Item("q", problem_type="numerical", solution="3")])


def test_what_can_work_is_not_refused(scene, caplog):  # noqa: F811
    LANGUAGE.check(config(), [RIGHT_LETTER, YES])
    LANGUAGE.check(config(it={"path": "negative_points"}), [scene])
    assert "it is not SAM" in caplog.text


def test_kinds_belong_to_their_family():
    with pytest.raises(InputError, match="found 'foot_skate', expected one of format, accuracy, people_focus, judge"):
        config(it={"path": "foot_skate"})
    with pytest.raises(InputError, match="found 'http://x/', expected one of format"):
        config(it={"path": "http://x/"})
    with pytest.raises(InputError, match="found 'people_focus', expected one of tmr.cosine"):
        sections("motion")["reward"](components={"it": {"path": "people_focus"}})
    assert not shorthands("language").model_fields and shorthands("motion").model_fields
