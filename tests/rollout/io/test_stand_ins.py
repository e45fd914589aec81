"""A Git LFS pointer or a saved web page in place of a file is called what it is, by whatever reads that kind of file."""

import pytest

from learner.config.files import read_yaml
from rewards.motion.plain_pickle import read_plain_pickle
from rollout.io.errors import InputError
from rollout.io.files import refuse_stand_in
from rollout.io.parquet import read_table
from rollout.io.text_files import read_json
from rollout.io.weights import read_array, read_torch
from rollout.motion.adapter_folder import load_policy
from rollout.motion.diffusion_policy import MotionPolicySettings
from rollout.motion.huggingface import text_encoder
from rollout.motion.prompts import read_prompts

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
PAGES = ["<!DOCTYPE html>\n<title>Sign in</title>", "\ufeff \n<html lang=en>\n<head>"]
READERS = {
    "model.pt": read_torch,
    "Mean.npy": read_array,
    "args.json": read_json,
    "motions.parquet": read_table,
    "words.pkl": read_plain_pickle,
    "prompts.txt": lambda path: read_prompts(path, 40),
    "run.yaml": read_yaml,
    "denoiser.safetensors": lambda path: load_policy(MotionPolicySettings(), path.parent),
    "config.json": lambda path: text_encoder("bert", str(path.parent)),
}


@pytest.mark.parametrize("content, what", [(POINTER, "Git LFS pointer"), *((page, "web page") for page in PAGES)], ids=["lfs", "html", "html2"])
@pytest.mark.parametrize("name", READERS)
def test_what_stands_for_a_file(name, content, what, tmp_path):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=f"{name}: is a {what}"):
        READERS[name](tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"a person walks", b"version 2", b"\x93NUMPY", b"<svg>"])
def test_anything_else_is_left_to_its_reader(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    refuse_stand_in(tmp_path / "file")
    refuse_stand_in(tmp_path / "missing")
    refuse_stand_in(tmp_path)
