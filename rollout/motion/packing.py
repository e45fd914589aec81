"""A motion as few bytes: within a millimetre of what was sampled at every joint, or exact where that does not hold.

The root's dims 0:4 are integrated over time and stay float32. Joint positions are kept in steps of 2^-12 m, rotations and contacts of
2^-9, velocities of 2^-9 m a frame, as 16-bit changes from frame to frame whose sign is the lowest bit, so that most high bytes are 0;
bytes of equal significance lie side by side. Compressed, that is a sixth of what it says.
"""

import numpy as np

from rollout.motion.features import joints_in_metres
from rollout.motion.skeleton import FORMATS, MotionFormat

ROOT = 4  # dims
BOUND = 1e-3  # metres, of any joint of the recovered skeleton
IN_STEPS, EXACT = b"s", b"x"  # the first byte


def pack(motion: np.ndarray) -> bytes:
    """`motion`: raw features [T, 263] or KIT's [T, 251], float32."""
    motion = np.asarray(motion, np.float32)
    with np.errstate(over="ignore"):
        steps = np.rint(motion[:, ROOT:] / _steps(FORMATS[motion.shape[1]]))
    if (np.abs(steps) < 2**15).all():  # not so for NaN
        changes = np.diff(steps.astype("<i2"), axis=0, prepend=np.zeros((1, steps.shape[1]), "<i2"))  # modulo 2^16, as their sum
        packed = IN_STEPS + _planes(motion[:, :ROOT]) + _planes(changes << 1 ^ changes >> 15)
        off = joints_in_metres(unpack(packed, len(motion))) - joints_in_metres(motion)
        if np.linalg.norm(off, axis=-1).max() <= BOUND:  # it is a fifth of that unless the root went too far for float32
            return packed
    return EXACT + _planes(motion)


def unpack(packed: bytes, length: int) -> np.ndarray:
    """The motion float32 [length, F], in the format that has as many features. ValueError for bytes that do not hold one."""
    kind, content = packed[:1], packed[1:]
    if kind == EXACT:
        return _array(content, "<f4", length, _format(len(content), 4 * length).features)
    if kind != IN_STEPS:
        raise ValueError(f"found {kind!r}")
    found = _format(len(content) - 2 * ROOT * length, 2 * length)
    root = _array(content[: 4 * ROOT * length], "<f4", length, ROOT)
    signed = _array(content[4 * ROOT * length :], "<u2", length, found.features - ROOT)
    steps = np.cumsum((signed >> 1).astype(np.int16) ^ -(signed & 1).astype(np.int16), axis=0, dtype=np.int16)
    return np.concatenate([root, steps * _steps(found)], axis=1, dtype=np.float32)


def _steps(kind: MotionFormat) -> np.ndarray:
    """Of each feature past the root, in the data's unit."""
    steps = np.full(kind.features, 2**-9, np.float32)
    steps[kind.positions], steps[kind.velocities] = 2**-12 / kind.metres, 2**-9 / kind.metres
    return steps[ROOT:]


def _format(size: int, of_a_feature: int) -> MotionFormat:
    """The format whose features fill so many bytes."""
    for features, found in FORMATS.items():
        if size == features * of_a_feature > 0:
            return found
    raise ValueError(f"found {size} bytes")


def _planes(array_TF: np.ndarray) -> bytes:
    """Dim after dim, and bytes of equal significance side by side."""
    little = np.ascontiguousarray(array_TF.T, array_TF.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(-1, little.itemsize).T.tobytes()


def _array(planes: bytes, dtype: str, length: int, dims: int) -> np.ndarray:
    flat = np.frombuffer(planes, np.uint8).reshape(np.dtype(dtype).itemsize, dims * length).T
    return np.ascontiguousarray(np.ascontiguousarray(flat).view(dtype).reshape(dims, length).T)
