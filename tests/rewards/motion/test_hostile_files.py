"""Whatever a file holds, a loader of `rewards` gives a result or one line that names it: no other exception, no code run."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from rewards.inspect.__main__ import main as inspect
from rewards.motion.motion_files import read_motions, read_real
from rewards.motion.plain_pickle import read_plain_pickle
from rewards.motion.t2m import T2MReward
from rewards.motion.tmr import TMRReward
from rewards.motion.words import EOS, SOS
from rollout.motion.record import COLUMNS
from rollout.record import write_rollout
from tests.hostile import ARRAYS, JUNK, TEXTS, bounded, changed, changes, refused, survives, trapped
from tests.mistreated import mistreated
from tests.rollout.test_record import rows
from tests.tiny import WORDS, write_t2m, write_tmr

TMR_FILES = [
    "config.json",
    "vocabulary.json",
    "word_embeddings.pt",
    "stats/mean.pt",
    "stats/std.pt",
    "last_weights/text_encoder.pt",
    "last_weights/motion_encoder.pt",
]
T2M_FILES = ["finest.tar", "mean.npy", "std.npy", "vocabulary.json", "word_vectors.npy"]
GLOVE_FILES = ["glove/our_vab_data.npy", "glove/our_vab_words.pkl", "glove/our_vab_idx.pkl", "t2m_mean.npy", "t2m_std.npy"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def tmr(tmp_path_factory):
    return write_tmr(tmp_path_factory.mktemp("hostile") / "tmr")


@pytest.fixture(scope="module")
def t2m(tmp_path_factory):
    return write_t2m(tmp_path_factory.mktemp("hostile") / "t2m")


@pytest.fixture(scope="module")
def official(t2m, tmp_path_factory):
    """A T2M evaluator as an MDM checkout has it, with a GloVe vocabulary of pickles."""
    folder = tmp_path_factory.mktemp("hostile") / "checkout"
    (folder / "glove").mkdir(parents=True)
    shutil.copy(t2m / "finest.tar", folder / "finest.tar")
    shutil.copy(t2m / "mean.npy", folder / "t2m_mean.npy")
    shutil.copy(t2m / "std.npy", folder / "t2m_std.npy")
    words = [SOS, EOS, "unk", *WORDS, *(f"word{i}" for i in range(300))]  # past 256 a pickle remembers by four bytes
    np.save(folder / "glove" / "our_vab_data.npy", np.zeros((len(words), 10)))
    for name, content in (("words", words), ("idx", {word: i for i, word in enumerate(words)})):
        (folder / "glove" / f"our_vab_{name}.pkl").write_bytes(pickle.dumps(content, 2))
    return folder


def check(load, folder):
    """What is loaded embeds a caption without more ado."""
    with bounded():
        found = survives(lambda: load(folder), folder, "TMR statistics", "T2M evaluator")
        if not isinstance(found, str):
            survives(lambda: found.embed_text(["a person walks"], [("a/DET", "person/NOUN", "walks/VERB")]))


@pytest.mark.parametrize("files, load", [(TMR_FILES, TMRReward.load), (T2M_FILES, T2MReward.load)], ids=["tmr", "t2m"])
@given(data=st.data(), change=changes())
def test_damaged_evaluators(request, files, load, data, change):
    folder = request.getfixturevalue(load.__self__.name)
    path = folder / data.draw(st.sampled_from(files))
    with changed(path, change(path.read_bytes())):
        check(load, folder)


@given(name=st.sampled_from([*GLOVE_FILES, *GLOVE_FILES[1:3]]), change=changes())
def test_damaged_glove_and_statistics(official, name, change):
    with changed(official / name, change((official / name).read_bytes())):
        check(T2MReward.load, official)


@given(data=st.data())
def test_mistreated_tensors_of_tmr(tmr, place, data):
    path = tmr / data.draw(st.sampled_from([name for name in TMR_FILES if "last_weights" in name]))
    torch.save(mistreated(torch.load(path, weights_only=True), data), place / "weights.pt")
    with changed(path, (place / "weights.pt").read_bytes()):
        check(TMRReward.load, tmr)


@given(data=st.data())
def test_mistreated_tensors_of_t2m(t2m, place, data):
    state = torch.load(t2m / "finest.tar", weights_only=True)
    part = data.draw(st.sampled_from(sorted(state)))
    torch.save({**state, part: mistreated(state[part], data)}, place / "weights.pt")
    with changed(t2m / "finest.tar", (place / "weights.pt").read_bytes()):
        check(T2MReward.load, t2m)


@given(array=ARRAYS, name=st.sampled_from(["mean.npy", "std.npy", "word_vectors.npy"]))
def test_statistics_of_any_array(t2m, place, array, name):
    np.save(place / "array.npy", array)
    with changed(t2m / name, (place / "array.npy").read_bytes()):
        check(T2MReward.load, t2m)


@given(content=JUNK, name=st.sampled_from(["config.json", "vocabulary.json"]))
def test_configs_and_vocabularies_of_any_json(tmr, content, name):
    with changed(tmr / name, json.dumps(content).encode()):
        check(TMRReward.load, tmr)


@given(widths=st.dictionaries(st.sampled_from(["num_heads", "latent_dim", "num_layers", "ff_size", "nfeats"]), JUNK, max_size=3))
def test_widths_of_any_json(tmr, widths):
    stated = json.loads((tmr / "config.json").read_text())
    stated["model"]["text_encoder"] |= widths
    with changed(tmr / "config.json", json.dumps(stated).encode()):
        check(TMRReward.load, tmr)


@given(content=JUNK | st.binary(max_size=60), name=st.sampled_from(["words", "idx"]))
def test_glove_of_any_pickle(official, content, name):
    with changed(official / "glove" / f"our_vab_{name}.pkl", content if isinstance(content, bytes) else pickle.dumps(content)):
        check(T2MReward.load, official)


def test_a_width_that_one_thin_tensor_claims_allocates_nothing(tmr, place):
    state = torch.load(tmr / "last_weights/text_encoder.pt", weights_only=True)
    torch.save({**state, "tokens": torch.zeros(2, 8000)}, place / "thin.pt")  # of a network of a gigabyte
    config = json.dumps({"model": {}}).encode()
    with changed(tmr / "last_weights/text_encoder.pt", (place / "thin.pt").read_bytes()), changed(tmr / "config.json", config), bounded():
        refused(lambda: TMRReward.load(tmr), "text_encoder.pt: wrong shapes")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickles_that_bring_code_run_none(tmr, t2m, official, tmp_path, protocol):
    sprung = trapped(tmp_path / "sprung", protocol)
    for folder, load, names in (
        (tmr, TMRReward.load, TMR_FILES),
        (t2m, T2MReward.load, T2M_FILES),
        (official, T2MReward.load, GLOVE_FILES),
    ):
        for name in names:
            with changed(folder / name, sprung):
                refused(lambda: load(folder), name)
    assert not (tmp_path / "sprung").exists()


def test_pickles_that_claim_gigabytes(tmp_path):
    bombs = {
        "remembered": b"\x80\x02]r\x00\x00\x00\x08.",
        "text": b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"a.",
        "bytes": b"\x80\x05\x96" + (2**33).to_bytes(8, "little") + b".",
        "number": b"\x80\x02\x8b" + (2**31 - 1).to_bytes(4, "little") + b"1.",
        "frame": b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"].",
        "deep": b"\x80\x02" + b"]" * 100_000,
    }
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
        with bounded():
            survives(lambda: read_plain_pickle(tmp_path / name), name)


# Motions to inspect -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "sampled"
    folder.mkdir()
    np.save(folder / "000.features.npy", np.random.default_rng(0).normal(0, 0.1, (20, 263)).astype(np.float32))
    (folder / "prompts.json").write_text(json.dumps([{"motion": "000", "prompt": "a person walks", "frames": 20}]))
    return folder


@example(entries=[{"motion": "9" * 5000, "prompt": ""}])
@given(entries=JUNK | st.lists(st.fixed_dictionaries({"motion": st.just("000") | TEXTS, "prompt": TEXTS}), max_size=3))
def test_lists_of_samples_of_any_json(sampled, entries):
    with changed(sampled / "prompts.json", json.dumps(entries).encode()):
        survives(lambda: read_motions(sampled), sampled)


@given(
    array=ARRAYS.filter(lambda array: array.ndim < 2)
    | st.sampled_from([np.full((20, 263), v) for v in (np.nan, np.inf, 1e300, -1e30, 0)]),
    change=st.none() | changes(),
)
def test_samples_of_any_array(sampled, place, array, change):
    np.save(place / "array.npy", array)
    content = (place / "array.npy").read_bytes()
    with changed(sampled / "000.features.npy", change(content) if change else content):
        survives(lambda: read_motions(sampled), sampled)


@given(change=changes())
def test_damaged_rollouts_to_inspect(place, change):
    write_rollout(place / "whole.parquet", rows(), COLUMNS)
    with changed(place / "r.parquet", change((place / "whole.parquet").read_bytes())) as path:
        survives(lambda: read_motions(path), path)
        survives(lambda: read_real(path), path)


def test_the_command_says_it_in_one_line_and_draws_nothing(sampled, tmp_path, capsys):
    with changed(sampled / "prompts.json", b"[" * 100_000):
        assert inspect([str(sampled), "--picture", str(tmp_path / "picture.png")]) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == "" and stderr.startswith("error: ") and stderr.count("\n") == 1 and not list(tmp_path.iterdir())
