"""Small folders in HumanML3D's layout, written by tests."""

from pathlib import Path

import numpy as np

WHOLE = "a person walks#a/DET person/NOUN walk/VERB#0.0#0.0\n"


def clip(frames: int = 50, width: int = 263, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, width), dtype=np.float32)


def write_folder(folder: Path, clips: dict[str, tuple], split: str = "test") -> Path:
    """`clips`: ID to (features or the bytes of its .npy or None, the text of its captions or its bytes or None)."""
    for part in ("new_joint_vecs", "texts"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, (motion, text) in clips.items():
        motion_file, text_file = folder / "new_joint_vecs" / f"{name}.npy", folder / "texts" / f"{name}.txt"
        if isinstance(motion, bytes):
            motion_file.write_bytes(motion)
        elif motion is not None:
            np.save(motion_file, motion)
        if text is not None:
            text_file.write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in clips))
    return folder
