"""A checkpoint comes back bit for bit or is refused by name; at no moment is the last one lost."""

import errno
import json
import logging
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from learner.run.checkpoint import Checkpoint, Checkpoints
from rollout.io.errors import InputError

RANDOM = np.random.default_rng(0)


def checkpoint(iterations, size=3):
    arrays = {
        "adapter/q": np.full((2, size), iterations, np.float32), "adapter/v": np.full((2, size), -iterations, np.float32),
        "step": np.asarray(np.float32(iterations)), "heldout/0/reward": np.zeros((0, 4)),
    }  # fmt: skip
    return Checkpoint(iterations, arrays, {"mlflow_run": "abc", "digests": ["é", None], "rate": 0.1 + 0.2})


def same(found, expected):
    assert (found.iterations, found.facts) == (expected.iterations, expected.facts)
    assert found.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        assert (found.arrays[name].dtype, found.arrays[name].shape) == (array.dtype, array.shape), name
        assert found.arrays[name].tobytes() == array.tobytes(), name


def refusal(checkpoints, iterations):
    with pytest.raises(InputError) as caught:
        checkpoints.load(iterations)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"{checkpoints.place}/{iterations:06d}.safetensors: ")
    return message


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("place", ["{}/deep/down", "file://{}/with space", "mock:///run/one"])
def test_what_is_saved_comes_back_from_any_place(place, tmp_path):
    arrays = {str(kind): RANDOM.integers(0, 2, (2, 3)).astype(kind) for kind in ("f4", "f8", "f2", "i8", "i4", "u1", "?", "c8")}
    arrays |= {"none": np.zeros((0, 3)), "one": np.asarray(np.float64(np.pi)), "turned": np.arange(6).reshape(2, 3).T}
    arrays |= {"nan": np.array([np.nan, np.inf, -0.0], np.float32)}
    saved = Checkpoint(12, arrays, {"nested": {"list": [1, 2.5, "text\n", True, None]}, "small": 5e-324})
    checkpoints = Checkpoints(place.format(tmp_path).replace(" ", "%20"), keep=1)
    assert checkpoints.latest() is None
    where = checkpoints.save(saved)
    assert where == f"{checkpoints.place}/000012.safetensors" and checkpoints.saved() == [12]
    same(checkpoints.latest(), saved)
    same(checkpoints.load(12), saved)


def test_a_flipped_bit_anywhere_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    file = tmp_path / "000005.safetensors"
    checkpoints.save(checkpoint(5))
    whole = file.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(RANDOM.integers(8))
        file.write_bytes(damaged)
        refusal(checkpoints, 5)


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    file = tmp_path / "000005.safetensors"
    checkpoints.save(checkpoint(5))
    whole = file.read_bytes()
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        refusal(checkpoints, 5)


def test_swapped_tensors_and_files_that_are_not_its_own_are_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    saved = checkpoint(5)
    file = tmp_path / "000005.safetensors"
    checkpoints.save(saved)
    with safetensors.safe_open(file, "numpy") as opened:
        metadata = opened.metadata()
    swapped = saved.arrays | {"adapter/q": saved.arrays["adapter/v"], "adapter/v": saved.arrays["adapter/q"]}
    safetensors.numpy.save_file(swapped, file, metadata)
    assert "damaged" in refusal(checkpoints, 5)
    safetensors.numpy.save_file(saved.arrays, file, metadata | {"run": json.dumps({"iterations": 5, "facts": {}})})
    assert "damaged" in refusal(checkpoints, 5)
    safetensors.numpy.save_file(saved.arrays, file)
    assert "not a checkpoint of a run" in refusal(checkpoints, 5)
    checkpoints.save(saved)
    file.rename(tmp_path / "000007.safetensors")
    assert "holds the run after 5 iterations, expected 7" in refusal(checkpoints, 7)
    assert "no such checkpoint" in refusal(checkpoints, 5)
    file.mkdir()
    assert "cannot be read" in refusal(checkpoints, 5)


@pytest.mark.parametrize("found", [None, "2", "4", "nonsense"])
def test_a_checkpoint_of_another_version_is_refused_by_name(found, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(checkpoint(5))
    with safetensors.safe_open(tmp_path / "000005.safetensors", "numpy") as opened:
        header = opened.metadata() | {"format": found}
    safetensors.numpy.save_file(checkpoint(5).arrays, tmp_path / "000005.safetensors", {k: v for k, v in header.items() if v})
    words = f"checkpoint format {found or 1}, this version of the project goes on from format 3 alone"
    assert refusal(checkpoints, 5).endswith(words)
    with pytest.raises(InputError, match=words):
        checkpoints.latest()


def test_the_newest_whole_one_is_found_and_broken_newer_ones_are_told(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for iterations in (1, 2, 3):
        checkpoints.save(checkpoint(iterations))
    (tmp_path / "000003.safetensors").write_bytes(b"")
    for name in ("000009.safetensors.bak", "9.safetensors", "0000009.safetensors", "notes.txt"):
        (tmp_path / name).write_text("not a checkpoint by its name")
    with caplog.at_level(logging.WARNING):
        same(checkpoints.latest(), checkpoint(2))
    (warning,) = caplog.messages
    assert str(tmp_path / "000003.safetensors") in warning and warning.endswith("going on from 000002.safetensors")
    for iterations in (1, 2):
        (tmp_path / f"00000{iterations}.safetensors").write_bytes(b"{}")
    with pytest.raises(InputError, match=r"000003\.safetensors: not a whole .*no older checkpoint is whole"):
        checkpoints.latest()


def test_the_newest_are_kept_and_those_of_iterations_taken_back_are_not(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    (tmp_path / "notes.txt").write_text("mine")
    for iterations in (1, 2, 3, 1000000):
        checkpoints.save(checkpoint(iterations))
    assert checkpoints.saved() == [3, 1000000]
    checkpoints.save(checkpoint(4))  # the run went back behind 1000000
    assert checkpoints.saved() == [3, 4] and names(tmp_path) == ["000003.safetensors", "000004.safetensors", "notes.txt"]
    checkpoints.save(checkpoint(4, size=5))
    same(checkpoints.latest(), checkpoint(4, size=5))


def test_a_broken_newer_one_costs_no_whole_one(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    (tmp_path / "000009.safetensors").write_bytes(b"broken")
    checkpoints.save(checkpoint(7))
    assert checkpoints.saved() == [7]


def test_what_a_killed_save_left_is_ignored_and_cleared(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(checkpoint(1))
    (tmp_path / ".000002.safetensors.writing").write_bytes((tmp_path / "000001.safetensors").read_bytes()[:100])
    same(checkpoints.latest(), checkpoint(1))
    checkpoints.save(checkpoint(3))
    assert names(tmp_path) == ["000001.safetensors", "000003.safetensors"]


def test_killed_while_it_saves_the_last_one_is_whole(tmp_path):
    code = (
        "import sys; import numpy as np; from learner.run.checkpoint import Checkpoint, Checkpoints\n"
        "checkpoints = Checkpoints(sys.argv[1], keep=2)\n"
        "for n in range(1, 10000):\n"
        "    checkpoints.save(Checkpoint(n, {'a': np.full(500000, n, np.float32)}, {'n': n})); print(n, flush=True)"
    )
    saving = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    told = [int(saving.stdout.readline()) for _ in range(4)]
    saving.send_signal(signal.SIGKILL)
    told += [int(line) for line in saving.communicate(timeout=60)[0].split()]
    found = Checkpoints(tmp_path, keep=2).latest()
    assert told[-1] <= found.iterations <= told[-1] + 1
    assert found.facts == {"n": found.iterations} and (found.arrays["a"] == found.iterations).all()


def test_a_full_disk_goes_up_and_leaves_what_was_there(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(checkpoint(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        for iterations in (2, 1):
            with pytest.raises(OSError) as caught:
                checkpoints.save(checkpoint(iterations, size=100_000))
            assert caught.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == ["000001.safetensors"]
    same(checkpoints.latest(), checkpoint(1))


@pytest.mark.parametrize("place", ["{}/file", "{}/file/below", "/proc/nowhere", "nonsense://x", "file://host/x"])
def test_a_place_that_cannot_be_used_is_one_line(place, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="checkpoint.path: cannot use ") as caught:
        Checkpoints(place.format(tmp_path), keep=1)
    assert "\n" not in str(caught.value)


def test_no_message_shows_credentials():
    with pytest.raises(InputError) as caught:
        Checkpoints("nonsense://key:sesame@bucket/run", keep=1)
    assert "sesame" not in str(caught.value) and "nonsense://***@bucket/run" in str(caught.value)
    checkpoints = Checkpoints("mock://key:sesame@bucket/run", keep=1)
    assert checkpoints.place == "mock://***@bucket/run" == os.path.dirname(checkpoints.save(checkpoint(1)))


def test_a_new_run_takes_no_other_runs_place(tmp_path):
    Checkpoints(tmp_path, keep=1).require_none()
    Checkpoints(tmp_path, keep=1).save(checkpoint(1))
    with pytest.raises(InputError, match="holds checkpoints of another run"):
        Checkpoints(tmp_path, keep=1).require_none()
