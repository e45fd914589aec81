"""Settings of somebody else's run import nothing: who somebody else is, and what the command line allows."""

import json
import os
import shutil

import pytest

from learner.run.folder import RunFolder
from rewards.trust import require_trust
from rollout.io.errors import InputError

MINE = {"text": {"path": "tmr.cosine"}, "mine": {"path": "my_rewards.hands:Hands"}, "served": {"path": "http://127.0.0.1:1/"}}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder that was begun here."""
    monkeypatch.chdir(tmp_path)
    return RunFolder.create("run").path


def test_the_run_that_one_began_here_imports_what_it_says(run):
    require_trust(run / "config.yaml", MINE, [])
    require_trust("run/config.yaml", MINE, [])
    run.rename(run.with_name("moved"))
    require_trust("moved/config.yaml", MINE, [])


def test_a_file_in_no_run_folder_is_the_users_own_word(tmp_path):
    require_trust(tmp_path / "config.yaml", MINE, [])


def said(run, **changes):
    """`run.json` with `changes`, None for a key that is left out."""
    content = json.loads((run / "run.json").read_text()) | changes
    (run / "run.json").write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.mark.parametrize(
    "estrange",
    [
        lambda run: said(run, user=os.getuid() + 1),
        lambda run: said(run, user=None),
        lambda run: said(run, started_in="/home/somebody"),
        lambda run: said(run, inode=1),
        lambda run: (run / "run.json").unlink(),
        lambda run: (run / "run.json").write_text("{"),
        lambda run: (run / "run.json").write_text("[1]"),
        lambda run: (run.rename(run.with_name("theirs")), shutil.copytree(run.with_name("theirs"), run)),
    ],
    ids=["another user", "no user", "another working folder", "another disk", "unsigned", "cut off", "no object", "a copy"],
)
def test_anybody_elses_imports_nothing_unless_it_is_named(run, estrange):
    estrange(run)
    with pytest.raises(InputError) as caught:
        require_trust(run / "config.yaml", MINE, ["hands", "my_rewards"])
    assert str(caught.value) == (
        f"reward.components.mine.path: {run}/config.yaml would have module 'my_rewards.hands' run, and you did not begin that run in "
        f"{os.getcwd()}; --trust my_rewards.hands allows it"
    )
    require_trust(run / "config.yaml", MINE, ["other", "my_rewards.hands"])
    require_trust(run / "config.yaml", {name: MINE[name] for name in ("text", "served")}, [])


@pytest.mark.parametrize("part", ["run.json", "metrics.jsonl", "summary.json", "log.txt", "checkpoints", "rollouts"])
def test_a_folder_is_a_runs_by_anything_that_runs_leave(tmp_path, part):
    (tmp_path / "run" / part).mkdir(parents=True)
    (tmp_path / "somewhere.yaml").symlink_to(tmp_path / "run" / "config.yaml")
    for file in (tmp_path / "run" / "config.yaml", tmp_path / "somewhere.yaml"):
        with pytest.raises(InputError, match="--trust my_rewards.hands allows it"):
            require_trust(file, MINE, [])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_that_another_user_owns_is_theirs_whatever_it_says(run):
    os.chown(run, os.getuid() + 1, -1)
    with pytest.raises(InputError, match="--trust my_rewards.hands allows it"):
        require_trust(run / "config.yaml", MINE, [])
