"""The space that an evaluator embeds motions and their captions in, and rewards that read nothing but two embeddings."""

import numpy as np
import torch
from torch import Tensor, nn

from rewards.motion.motions import Motions
from rewards.motion.texts import Caption, TextEmbeddings
from rollout.io.errors import InputError
from rollout.policy import arrays_digest


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines [N] of the rows of a and b [N, D]; NaN for a row of zeros."""
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


class OfEmbeddings:
    """A reward that `evaluator`'s embeddings of a motion and of its prompt decide."""

    evaluator: "Evaluator"

    def __call__(self, motions: Motions) -> np.ndarray:
        """float32 [N]; NaN for a motion that is not finite. InputError for a prompt that cannot be read."""
        text = self.evaluator.embed_text(motions.prompts, motions.tokens)
        return self.of(text, self.evaluator.embed_motion(motions.features, motions.lengths))

    def of(self, text: np.ndarray, motion: np.ndarray) -> np.ndarray:
        """The reward of embeddings [N, D] of captions and of motions."""
        raise NotImplementedError


class Evaluator(OfEmbeddings):
    """Networks that read motions and captions into one space; by itself the plainest reward made of it."""

    name: str
    evaluator = property(lambda self: self)

    def __init__(self, device: str, mean: Tensor, std: Tensor, **networks: nn.Module):
        """mean, std: of what is read of a motion, such as its raw features [F]. `networks` become attributes, in eval mode."""
        self.device = torch.device(device)
        self.mean, self.std = mean.to(self.device), std.to(self.device)
        self.width = len(mean)
        for name, network in networks.items():
            setattr(self, name, network.to(self.device).eval())
        self.texts = TextEmbeddings(self._embed_captions)

    def embed_text(self, prompts: list[str], tokens: list[tuple[str, ...]] | None = None) -> np.ndarray:
        """float32 [N, D]; tokens: the `word/POS` strings of each prompt, () for none. InputError when one cannot be read."""
        return self.texts(prompts, tokens)

    def embed_motion(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Raw features [N, T, F] and lengths [N] to float32 [N, D], in input order. InputError for another F."""
        raise NotImplementedError

    def weights_sha256(self) -> str:
        """Of all that it reads motion with: networks and statistics, by content."""
        networks = {name: part.state_dict() for name, part in vars(self).items() if isinstance(part, nn.Module)}
        arrays = {f"{name}.{key}": tensor.cpu().numpy() for name, state in networks.items() for key, tensor in state.items()}
        return arrays_digest(arrays | {"mean": self.mean.cpu().numpy(), "std": self.std.cpu().numpy()})

    def _embed_captions(self, captions: list[Caption]) -> list[np.ndarray]:
        """float32 [D] each, one at a time: an embedding then cannot depend on its neighbours, to the last bit."""
        return [self._embed_caption(*caption) for caption in captions]

    def _embed_caption(self, text: str, tokens: tuple[str, ...]) -> np.ndarray:
        """float32 [D]."""
        raise NotImplementedError

    def require(self, features: int) -> None:
        """Raises InputError for motions of another width than it reads."""
        if features != self.width:
            reads = f"motions of {features} features, the evaluator reads {self.width}"
            raise InputError(f"{self.name}: {reads} (reward.{self.name}_path, expected one of the model's format)")
