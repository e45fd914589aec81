"""The adapter as it travels: one flat fp32 buffer, an index, and the digest of both."""

import hashlib
from dataclasses import dataclass

import numpy as np

from rollout.io.errors import InputError


@dataclass(frozen=True)
class Adapter:
    """An immutable version of the trainable weights.

    `buffer` is fp32 [total]; `index` names every tensor with its shape, in buffer order; `sha256` covers index and
    buffer. Equal digests mean equal weights, bit for bit.
    """

    version: int
    buffer: np.ndarray
    index: tuple[tuple[str, tuple[int, ...]], ...]
    sha256: str

    @classmethod
    def pack(cls, version: int, state: dict[str, np.ndarray]) -> "Adapter":
        """Raises InputError naming the first tensor that is not finite."""
        for name, tensor in state.items():
            if not np.isfinite(tensor).all():
                raise InputError(f"adapter version {version}: tensor {name} contains NaN or infinity")
        names = sorted(state)
        buffer = np.concatenate([np.asarray(state[name], np.float32).ravel() for name in names])
        buffer.flags.writeable = False
        index = tuple((name, tuple(state[name].shape)) for name in names)
        return cls(version, buffer, index, flat_digest(buffer, index))

    def tensors(self) -> dict[str, np.ndarray]:
        """Views into the buffer by name. Raises InputError when index and buffer do not fit, or the digest is wrong."""
        total, what = sum(int(np.prod(shape)) for _, shape in self.index), f"adapter version {self.version}"
        if self.buffer.dtype != np.float32:
            raise InputError(f"{what}: wrong dtype, its buffer is {self.buffer.dtype}, expected float32")
        if self.buffer.shape != (total,):
            raise InputError(f"{what}: truncated or padded, its buffer is {self.buffer.shape}, its index needs ({total},)")
        found = flat_digest(self.buffer, self.index)
        if found != self.sha256:
            raise InputError(f"{what}: changed on its way, content has sha256 {found[:12]}, announced {self.sha256[:12]}")
        views, start = {}, 0
        for name, shape in self.index:
            size = int(np.prod(shape))
            views[name] = self.buffer[start : start + size].reshape(shape)
            start += size
        return views


def flat_digest(buffer: np.ndarray, index: tuple[tuple[str, tuple[int, ...]], ...]) -> str:
    digest = hashlib.sha256(repr(index).encode())
    digest.update(np.ascontiguousarray(buffer).data)
    return digest.hexdigest()
