"""Images, videos, recordings and masks are opened whole or refused in one line, before they are unpacked."""

import hashlib
import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from rollout.io.errors import InputError
from rollout.language.items import Target
from rollout.language.media import mask_of_rle, read_frames, read_image, read_mask, read_medium, read_sound, rle_of_mask


def shades(count: int, size=(4, 4)) -> list[Image.Image]:
    return [Image.new("RGB", size, (10 * k, 0, 0)) for k in range(count)]


def animated(path: Path, images: list[Image.Image], duration: int = 250) -> Path:
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    images[0].save(path, save_all=True, append_images=images[1:], duration=duration, **lossless)
    return path


def reds(frames) -> list[int]:
    return [image.getpixel((0, 0))[0] for image in frames.images]


@pytest.mark.parametrize("suffix", [".webp", ".png", ".gif"])
def test_frames_of_an_animation_are_evenly_apart(tmp_path, suffix):
    frames = read_frames(animated(tmp_path / f"a{suffix}", shades(10)), 4)
    assert reds(frames) == [0, 30, 60, 90] and frames.per_second == pytest.approx(4 / 2.5)
    assert all(image.mode == "RGB" for image in frames.images)


def test_frames_of_a_folder_and_of_an_array(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for k, image in enumerate(shades(10)):
        image.save(folder / f"{k:03}.png")
    array = np.stack([np.asarray(image) for image in shades(10)])
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", frames=array)
    for path in (folder, tmp_path / "a.npy", tmp_path / "a.npz"):
        assert reds(read_frames(path, 4)) == [0, 30, 60, 90]


def test_a_folder_of_frames_does_not_lead_out_of_itself(tmp_path):
    (tmp_path / "frames").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (tmp_path / "frames" / "0.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match="leads out of the folder"):
        read_frames(tmp_path / "frames", 4)


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def good_png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"text", good_png()[:2000], png_of(100_000, 100_000), png_of(30_000, 30_000), png_of(8000, 8000), b"%!PS-Adobe-3.0 EPSF-3.0\n",
     b"version https://git-lfs.github.com/spec/v1\n", None],
)  # fmt: skip
def test_an_image_that_cannot_be_trusted_is_one_line(tmp_path, content):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    for read in (read_image, lambda path: read_frames(path, 4)):
        with pytest.raises(InputError, match="a.png") as error:
            read(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_an_animation_of_thousands_of_frames_is_refused(tmp_path, suffix):
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (2, 2, 3), np.uint8)) for _ in range(2200)]
    with pytest.raises(InputError, match="2200 frames|21.. frames"):
        read_frames(animated(tmp_path / f"a{suffix}", images), 4)


def test_arrays_that_run_code_or_hold_more_than_they_say_are_refused(tmp_path):
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "grey.npy", np.zeros((4, 4, 4), np.uint8))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**4, 10**4, 3)})
    (tmp_path / "huge.npy").write_bytes(header.getvalue())
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a.npy", "w", force_zip64=True) as member:
            for _ in range(600):
                member.write(bytes(2**20))
    for name in ("pickled.npy", "grey.npy", "huge.npy", "bomb.npz"):
        with pytest.raises(InputError, match=name):
            read_frames(tmp_path / name, 4)


def test_a_video_file_without_its_reader_says_what_is_missing(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match="a.mp4: (a video file needs PyAV|not a readable video)"):
        read_frames(tmp_path / "a.mp4", 4)


@pytest.mark.parametrize("kind", [np.int16, np.float32, np.uint8])
def test_sound_is_mono_at_the_rate_of_the_model(tmp_path, kind):
    tone = np.sin(np.arange(8000) / 8000 * 440 * 2 * np.pi)
    scaled = tone if kind is np.float32 else tone * 32767 if kind is np.int16 else tone * 127 + 128
    wavfile.write(tmp_path / "a.wav", 8000, np.stack([scaled, scaled], 1).astype(kind))
    sound = read_sound(tmp_path / "a.wav", 16000)
    assert sound.shape == (16000,) and sound.dtype == np.float32 and 0.95 < np.abs(sound).max() < 1.1
    (tmp_path / "b.wav").write_bytes(b"RIFFxxxx")
    with pytest.raises(InputError, match="b.wav"):
        read_sound(tmp_path / "b.wav", 16000)


def test_a_mask_as_run_lengths_is_the_mask_again():
    draw = np.random.default_rng(0)
    for share in (0.0, 0.2, 0.5, 1.0):
        mask = draw.random((5, 3)) < share
        found = rle_of_mask(mask)
        assert np.array_equal(mask_of_rle(found, "x"), mask) and 0 not in found["counts"][1:]



def test_a_mask_is_the_same_as_a_picture_and_in_both_encodings(tmp_path):
    mask = np.array([[0, 0, 0], [0, 0, 0], [1, 1, 0], [1, 1, 0]], bool)
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "m.png")
    target = Target((3, 4), str(tmp_path / "m.png"), (0, 2, 2, 4), ((0, 2),))
    assert np.array_equal(read_mask(target), mask)
    assert np.array_equal(mask_of_rle({"size": [4, 3], "counts": [2, 2, 2, 2, 4]}, "x"), mask)
    assert np.array_equal(mask_of_rle({"size": [4, 3], "counts": "22202"}, "x"), mask)  # 2, 2, 2, then 0 and 2 more than those before
    long = [1000, 40, 960]
    assert np.array_equal(mask_of_rle({"size": [50, 40], "counts": "Xo0X1Pn0"}, "x"), mask_of_rle({"size": [50, 40], "counts": long}, "x"))
    with pytest.raises(InputError, match="mask: 3 x 4 pixels, expected those of the image, 4 x 4"):
        read_mask(Target((4, 4), target.mask, target.box, target.points))


@pytest.mark.parametrize("counts", ["o", "\x00", "ooooooooooooooooo", "1", [12, -1, 1], [True], [1.5], "0" * 20, None])
def test_a_broken_encoding_is_one_line(counts):
    with pytest.raises(InputError, match="row 3"):
        mask_of_rle({"size": [4, 3], "counts": counts}, "row 3")


def test_a_medium_is_read_once_and_known_by_its_bytes(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4), (200, 0, 0)).save(tmp_path / "a.png")
    animated(tmp_path / "v.webp", shades(10))
    opened = []
    monkeypatch.setattr(Path, "read_bytes", lambda path, own=Path.read_bytes: opened.append(path.name) or own(path))
    (picture, known), (video, _) = (read_medium(kind, str(tmp_path / name), 4) for kind, name in (("image", "a.png"), ("video", "v.webp")))
    assert opened == ["a.png", "v.webp"]
    assert picture.size == (4, 4) and len(video.images) == 4
    with (tmp_path / "a.png").open("rb") as file:
        assert known == hashlib.sha256(file.read()).hexdigest()
