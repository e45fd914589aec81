"""Unit quaternions as float arrays [..., 4] in (w, x, y, z) order, broadcasting over the leading dimensions."""

import numpy as np


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product: the rotation `b` followed by the rotation `a`."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def inverse(q: np.ndarray) -> np.ndarray:
    """The conjugate, which is the inverse of a unit quaternion."""
    return q * np.array([1, -1, -1, -1], dtype=q.dtype)


def rotate(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """`v` [..., 3] rotated by `q`."""
    axis = np.broadcast_to(q[..., 1:], np.broadcast_shapes(q[..., 1:].shape, v.shape))
    once = np.cross(axis, v)
    return v + 2 * (q[..., :1] * once + np.cross(axis, once))


def between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The shortest rotation from `source` [..., 3] to `target` [..., 3]; NaN for exactly opposite or zero vectors."""
    source, target = np.broadcast_arrays(source, target)
    norms = np.sqrt((source**2).sum(-1, keepdims=True) * (target**2).sum(-1, keepdims=True))
    w = norms + (source * target).sum(-1, keepdims=True)
    q = np.concatenate([w, np.cross(source, target)], axis=-1)
    return normalised(q)


def normalised(v: np.ndarray) -> np.ndarray:
    """`v` [..., D] of length 1; NaN where it has none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return v / np.linalg.norm(v, axis=-1, keepdims=True)


def matrix_columns(q: np.ndarray) -> np.ndarray:
    """First column of the rotation matrix, then the second: the 6D rotation [..., 6] of Zhou et al. (CVPR 2019)."""
    w, x, y, z = np.moveaxis(q, -1, 0)
    first = [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)]
    second = [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)]
    return np.stack(first + second, axis=-1)
