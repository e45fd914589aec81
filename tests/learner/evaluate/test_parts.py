"""A killed evaluation goes on in its folder under the arguments and files that it was begun with, and under no others."""

import pytest

from learner.evaluate.language.settings import EvaluateConfig as Answers
from learner.evaluate.motion.settings import EvaluateConfig as Motions
from learner.evaluate.parts import Parts
from rollout.io.errors import InputError

STANDING = {"base model": "ab" * 32, "adapter tuned": "cd" * 32}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def begin(out, kind=Motions, standing=STANDING, **settings) -> Parts:
    return Parts.begin(kind(out=str(out), **settings), standing, dict)


def refused(*given, **settings) -> str:
    with pytest.raises(InputError) as error:
        begin(*given, **settings)
    return str(error.value)


@pytest.mark.parametrize("kind", [Motions, Answers])
def test_the_same_arguments_go_on_and_others_are_named(out, kind):
    assert not begin(out, kind).begun
    assert begin(out, kind).begun
    assert begin(out, kind, cluster={"samplers": 5, "sampler_deadline": 9.0}).begun
    assert f"out: the evaluation in {out} was begun otherwise: seed 0 -> 1; another --out begins anew" == refused(out, kind, seed=1)
    message = refused(out, kind, adapter=("tuned",), cluster={"sampler_cpus": 2})
    assert "adapter [] -> [\"tuned\"]" in message and "cluster.sampler_cpus 1 -> 2" in message
    assert "device \"CPU\" -> \"GPU\"" in refused(out, kind, cluster={"gpus_per_actor": 1.0})
    assert begin(out, kind).begun


def test_another_file_behind_the_same_name_is_named(out):
    begin(out)
    assert 'adapter tuned "cdcdcdcdcdc... -> "efefefefefe...;' in refused(out, standing={**STANDING, "adapter tuned": "ef" * 32})
    assert "base model" in refused(out, standing={"adapter tuned": "cd" * 32})


def test_two_at_once_do_not_share_a_folder(out):
    first = begin(out)
    assert f"out: {out / 'parts'} is in use by process" in refused(out)
    first.discard()
    assert not out.exists()


def test_one_that_went_on_and_ended_before_it_did_anything_leaves_what_there_was(out):
    begin(out)
    before = sorted(out.rglob("*"))
    begin(out).discard()
    assert sorted(out.rglob("*")) == before


def test_one_that_finished_leaves_only_results_and_is_not_gone_on_with(out):
    begin(out).finish()
    assert [path.name for path in out.iterdir()] == ["config.yaml"]
    assert f"out: {out} is not empty" in refused(out)


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_a_damaged_beginning_is_named(out, content):
    begin(out)
    (out / "parts" / "begun.json").write_text(content)
    assert "begun.json" in refused(out)
