"""Tiny models that tests of every room may use. They are imported on use: half the tests need no torch.

The folders of a session are read only; those written anew for each test may be damaged by it.
"""

import os
import secrets

import pytest
from hypothesis import HealthCheck, settings

# Before torch is imported: one thread each, for tests that compare bit for bit with actors of one thread, and because
# several processes with a thread for every core each stand in each other's way.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # of every Ray that this process starts: Ray reads it once
os.environ.setdefault("RAY_worker_niceness", "0")  # else actors, of which runs are made, wait for every other test
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # workers that no actor of ours takes: each has an environment of its own

# Properties of hostile input: the same cases in every run. HYPOTHESIS_PROFILE=torture has many times as many.
for profile, examples in (("quick", 15), ("torture", 250)):
    settings.register_profile(
        profile, max_examples=examples, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def tiny():
    from tests import tiny

    return tiny


@pytest.fixture(scope="session")
def mdm_folder(tiny, tmp_path_factory):
    """Trained without `mask_frames`: it sees its padding. Read only."""
    return tiny.write_mdm(tmp_path_factory.mktemp("mdm"))


@pytest.fixture(scope="session")
def masked_mdm_folder(tiny, tmp_path_factory):
    """Trained with `mask_frames`: it never sees padding. Read only."""
    return tiny.write_mdm(tmp_path_factory.mktemp("masked_mdm"), mask_frames=True)


@pytest.fixture(scope="session")
def decoder_mdm_folder(tiny, tmp_path_factory):
    """A transformer decoder with a class token, trained with `mask_frames`. Read only."""
    return tiny.write_mdm(tmp_path_factory.mktemp("decoder"), arch="trans_dec", mask_frames=True, emb_trans_dec=True)


@pytest.fixture
def tmr_folder(tiny, tmp_path):
    return tiny.write_tmr(tmp_path / "tmr")


@pytest.fixture
def t2m_folder(tiny, tmp_path):
    return tiny.write_t2m(tmp_path / "t2m")


@pytest.fixture
def cache_home(tmp_path, monkeypatch):
    """Where this project keeps what it made of texts, for one test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "motion-grpo"
