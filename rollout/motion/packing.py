"""A motion as few bytes: within a millimetre of what was sampled at every joint, or exact where that does not hold.

The root's dims 0:4 are integrated over time and stay float32. Joint positions are kept in steps of 2^-12 m, all other dims
(rotations, velocities, contacts) of 2^-9 of their unit, as 16-bit changes from frame to frame whose sign is the lowest bit, so that
most high bytes are 0; bytes of equal significance lie side by side. Compressed, that is a sixth of what it says.
"""

import numpy as np

from rollout.motion.features import features_to_joints
from rollout.motion.skeleton import FEATURES

ROOT, POSITIONS = 4, 63  # dims
BOUND = 1e-3  # metres, of any joint of the recovered skeleton
STEP = np.repeat(np.float32([2**-12, 2**-9]), [POSITIONS, FEATURES - ROOT - POSITIONS])
IN_STEPS, EXACT = b"s", b"x"  # the first byte


def pack(motion: np.ndarray) -> bytes:
    """`motion`: raw features [T, 263], float32."""
    motion = np.asarray(motion, np.float32)
    with np.errstate(over="ignore"):
        steps = np.rint(motion[:, ROOT:] / STEP)
    if (np.abs(steps) < 2**15).all():  # not so for NaN
        changes = np.diff(steps.astype("<i2"), axis=0, prepend=np.zeros((1, steps.shape[1]), "<i2"))  # modulo 2^16, as their sum
        packed = IN_STEPS + _planes(motion[:, :ROOT]) + _planes(changes << 1 ^ changes >> 15)
        off = features_to_joints(unpack(packed, len(motion))) - features_to_joints(motion)
        if np.linalg.norm(off, axis=-1).max() <= BOUND:  # it is a fifth of that unless the root went too far for float32
            return packed
    return EXACT + _planes(motion)


def unpack(packed: bytes, length: int) -> np.ndarray:
    """The motion float32 [length, 263]. ValueError for bytes that do not hold one."""
    kind, content = packed[:1], packed[1:]
    if kind == EXACT:
        return _array(content, "<f4", length, FEATURES)
    if kind != IN_STEPS:
        raise ValueError(f"found {kind!r}")
    root = _array(content[: 4 * ROOT * length], "<f4", length, ROOT)
    signed = _array(content[4 * ROOT * length :], "<u2", length, FEATURES - ROOT)
    steps = np.cumsum((signed >> 1).astype(np.int16) ^ -(signed & 1).astype(np.int16), axis=0, dtype=np.int16)
    return np.concatenate([root, steps * STEP], axis=1, dtype=np.float32)


def _planes(array_TF: np.ndarray) -> bytes:
    """Dim after dim, and bytes of equal significance side by side."""
    little = np.ascontiguousarray(array_TF.T, array_TF.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(-1, little.itemsize).T.tobytes()


def _array(planes: bytes, dtype: str, length: int, dims: int) -> np.ndarray:
    flat = np.frombuffer(planes, np.uint8).reshape(np.dtype(dtype).itemsize, dims * length).T
    return np.ascontiguousarray(np.ascontiguousarray(flat).view(dtype).reshape(dims, length).T)
