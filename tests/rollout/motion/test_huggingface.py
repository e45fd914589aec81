"""CLIP and DistilBERT features are the official ones; every token counts, nothing is downloaded, damage is named."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, DistilBertConfig, DistilBertModel

from rollout.io.errors import InputError
from rollout.io.kept import Kept
from rollout.motion.huggingface import CLIP_TOKENS, SOURCES, ClipText, DistilBertText, text_encoder
from tests.hostile import trapped
from tests.parity import parameters

FORWARD = 5e-6


@pytest.mark.parametrize("folder", parameters("vocab.txt"))
def test_parity_distilbert(folder):
    recorded = np.load(folder / "fixtures.npz")
    encoder = DistilBertText(str(folder))
    for prompt, length, hidden in zip(recorded["prompts"], recorded["length"], recorded["last_hidden_state"]):
        features = encoder.encode(str(prompt))
        assert features.shape == (length, encoder.width) and features.dtype == np.float32
        np.testing.assert_allclose(features, hidden[:length], atol=FORWARD)
        column = list(recorded["prompts"]).index(prompt)
        if "mdm_text_embed" in recorded:
            np.testing.assert_allclose(features, recorded["mdm_text_embed"][:length, column], atol=FORWARD)


def clip_cases(folder) -> bool:
    return "clip_config" in json.loads((folder / "meta.json").read_text())


@pytest.mark.parametrize("folder", parameters("meta.json", clip_cases))
@torch.no_grad()
def test_parity_clip_text_tower(folder, tmp_path):
    recorded = np.load(folder / "fixtures.npz")
    write_clip(tmp_path, *official_clip(folder))
    encoder = ClipText(str(tmp_path))
    model = encoder._load(encoder.model_class).eval()
    for ids, expected in zip(recorded["token_ids"], recorded["text_embed_fp32"][0]):
        features = encoder._features(model, ids[: ids.argmax() + 1].tolist())  # up to the end token, the largest id
        assert features.shape == (1, encoder.width)
        np.testing.assert_allclose(features[0], expected, atol=FORWARD)


def official_clip(folder) -> tuple[CLIPTextConfig, dict]:
    """Configuration and weights of a recorded tower, under the names that `transformers` gives them."""
    meta = json.loads((folder / "meta.json").read_text())
    recipe, config = meta["files"]["clip_text_state_dict.pt"], meta["clip_config"]
    draw = np.random.Generator(np.random.PCG64(recipe["seed"]))
    state = {}
    for name, shape in recipe["shapes"].items():
        noise = draw.standard_normal(shape, np.float32)
        if len(shape) == 1:
            noise = 0.05 * noise + name.endswith("weight")
        else:
            noise = noise / np.float32(np.sqrt(np.prod(shape[1:])))
        state[name] = torch.from_numpy(np.asarray(noise, np.float32))
    renamed = {
        "token_embedding": "embeddings.token_embedding", "positional_embedding": "embeddings.position_embedding.weight",
        "ln_final": "final_layer_norm", "transformer.resblocks": "encoder.layers", "attn.out_proj": "self_attn.out_proj",
        "ln_1": "layer_norm1", "ln_2": "layer_norm2", "c_fc": "fc1", "c_proj": "fc2",
    }  # fmt: skip
    ours = {"text_projection.weight": state.pop("text_projection").T.contiguous()}
    for name, value in state.items():
        for official, other in renamed.items():
            name = name.replace(official, other)
        if "attn.in_proj_" in name:
            for part, tensor in zip("qkv", value.chunk(3)):
                ours["text_model." + name.replace("attn.in_proj_", f"self_attn.{part}_proj.")] = tensor.clone()
        else:
            ours[f"text_model.{name}"] = value
    width = config["transformer_width"]
    return CLIPTextConfig(
        vocab_size=config["vocab_size"], hidden_size=width, intermediate_size=4 * width, projection_dim=config["embed_dim"],
        num_hidden_layers=config["transformer_layers"], num_attention_heads=config["transformer_heads"],
        max_position_embeddings=config["context_length"], hidden_act="quick_gelu",
    ), ours  # fmt: skip


def write_clip(folder, config: CLIPTextConfig, state: dict) -> None:
    model = CLIPTextModelWithProjection(config)
    model.load_state_dict(state, strict=True)
    model.save_pretrained(folder)


@pytest.fixture
def clip_folder(tmp_path):
    """A random tower of two layers with a vocabulary of single letters."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, projection_dim=8, num_hidden_layers=2, num_attention_heads=2,
        bos_token_id=len(words) - 2, eos_token_id=len(words) - 1,
    )  # fmt: skip
    CLIPTextModelWithProjection(config).save_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    return tmp_path


def test_clip_reads_twenty_tokens_between_start_and_end(clip_folder):
    encoder = text_encoder("clip", str(clip_folder))
    twenty = " ".join("abcdefghijklmnopqrst")
    assert CLIP_TOKENS == 22 and encoder.encode(twenty).shape == (1, 8)
    np.testing.assert_array_equal(encoder.encode(twenty), encoder.encode(twenty + " u v w"))
    assert np.abs(encoder.encode(twenty) - encoder.encode(twenty[:-1] + "z")).max() > 1e-4
    np.testing.assert_array_equal(encoder.encode("A B"), encoder.encode("a  b"))
    np.testing.assert_array_equal(encoder.encode("a &amp;amp; b"), encoder.encode("a & b"))


CAPTIONS = ["a walk", "a b c d e", "turn left and wave", "z", "a walk", *(f"{letter} runs" for letter in "abcdefgh")]


def test_a_caption_has_the_bits_of_itself_alone_whatever_it_is_encoded_beside(clip_folder, cache_home):
    encoder = text_encoder("clip", str(clip_folder))
    assert text_encoder("clip", str(clip_folder)) is encoder
    beside, alone = Kept(encoder.encode, encoder.standing)(CAPTIONS), [encoder.encode(text) for text in CAPTIONS]
    for ours, own in zip(beside, alone, strict=True):
        np.testing.assert_array_equal(ours, own)


def test_what_was_encoded_before_needs_no_weights(clip_folder, cache_home):
    first = ClipText(str(clip_folder))
    made = Kept(first.encode, first.standing)(CAPTIONS)
    again = ClipText(str(clip_folder))
    found = Kept(again.encode, again.standing)(CAPTIONS)
    assert "_loaded" not in vars(again)
    for ours, own in zip(found, made, strict=True):
        np.testing.assert_array_equal(ours, own)


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.json", "config.json"])
def test_another_file_of_the_encoder_is_another_standing(clip_folder, name):
    before = ClipText(str(clip_folder)).standing
    with (clip_folder / name).open("ab") as file:
        file.write(b" ")
    after = ClipText(str(clip_folder)).standing
    assert {key for key in before if before[key] != after[key]} == {name}


def test_what_is_not_on_this_machine_is_named_and_not_fetched(tmp_path):
    with pytest.raises(InputError, match="no-one/nothing: neither a folder .* `hf download no-one/nothing`"):
        text_encoder("bert", "no-one/nothing")
    with pytest.raises(InputError, match="this folder has no readable CLIP text tower"):
        text_encoder("clip", str(tmp_path))


@pytest.mark.parametrize("folder", parameters("vocab.txt"))
def test_a_damaged_or_foreign_folder_is_named(folder, tmp_path):
    with pytest.raises(InputError, match="model of type 'distilbert', expected CLIP text tower"):
        ClipText(str(folder))
    for file in folder.iterdir():
        shutil.copy(file, tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.chmod(0o644)
    state = load_file(weights)
    save_file({name: tensor for name, tensor in state.items() if "layer.0.ffn.lin1.weight" not in name}, weights, {"format": "pt"})
    with pytest.raises(InputError, match=r"weights \['transformer.layer.0.ffn.lin1.weight'\] are missing"):
        DistilBertText(str(tmp_path)).encode("walk")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="no readable DistilBERT"):
        DistilBertText(str(tmp_path)).encode("walk")


def test_the_official_encoders_are_looked_for_under_every_name_they_have(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(SOURCES, "bert", ["no-one/first", "second"])
    with pytest.raises(InputError, match="text encoder no-one/first: neither a folder"):
        text_encoder("bert")
    DistilBertModel(DistilBertConfig(vocab_size=30, dim=8, hidden_dim=8, n_layers=1, n_heads=2)).save_pretrained("second")
    try:
        assert text_encoder("bert").width == 8
    finally:
        text_encoder.cache_clear()


@pytest.mark.parametrize("weights", ["auto_map", "pickle"])
def test_a_folder_that_brings_code_runs_none(tmp_path, weights):
    folder, sprung = tmp_path / "encoder", tmp_path / "sprung"
    folder.mkdir()
    config = {"model_type": "distilbert", "dim": 8, "hidden_dim": 8, "n_heads": 2, "n_layers": 1, "vocab_size": 8}
    if weights == "auto_map":
        config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
        (folder / "mine.py").write_text(f"import os\nos.mknod({str(sprung)!r})\nclass Config: dim = 8\n")
    else:
        (folder / "pytorch_model.bin").write_bytes(trapped(sprung, 2))
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="this folder has no readable DistilBERT"):
        DistilBertText(str(folder)).encode("a person walks")
    assert not sprung.exists()
