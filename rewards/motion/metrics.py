"""Metrics of text-to-motion retrieval and distribution, on evaluator embeddings (T2M, Guo et al. 2022, official code).

Embeddings are used raw. To rank by cosine (TMR), pass rows of unit length: the order is then the same.
"""

import numpy as np

from rollout.io.errors import InputError

TOO_FEW = "too few motions"
DIVERSITY_PAIRS, MULTIMODALITY_PAIRS = 300, 10  # of the official protocol


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances [N, M] between the rows of a [N, D] and of b [M, D], in float64."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0))


def r_precision(text: np.ndarray, motion: np.ndarray, top_k: int = 3, pool: int = 32) -> np.ndarray:
    """R@1..R@top_k, float64 [top_k]: how often a text's own motion is among the k nearest of its pool.

    text, motion: [N, D], row i of one belongs to row i of the other. Consecutive rows form pools of `pool`; an
    incomplete last pool is dropped, as in the official protocol. InputError when there is not one full pool.
    """
    if len(text) != len(motion) or len(text) < pool:
        raise InputError(f"r_precision: {len(text)} texts, {len(motion)} motions, expected equal and at least {pool}")
    ranks = []
    for start in range(0, len(text) - pool + 1, pool):
        order = distances(text[start : start + pool], motion[start : start + pool]).argsort(axis=1, kind="stable")
        ranks.append((order == np.arange(pool)[:, None]).argmax(axis=1))
    return np.array([(np.concatenate(ranks) < k).mean() for k in range(1, top_k + 1)])


def matching_score(text: np.ndarray, motion: np.ndarray) -> float:
    """Mean distance between a text's embedding and its own motion's (MM-Dist), lower is better."""
    return float(np.linalg.norm(np.asarray(text, np.float64) - np.asarray(motion, np.float64), axis=1).mean())


def statistics(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and covariance [D, D] (ddof 1) of embeddings [N, D]."""
    return embeddings.mean(axis=0), np.cov(embeddings, rowvar=False)


def fid(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """Frechet distance |m1-m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) between two Gaussians."""
    from scipy import linalg

    root = linalg.sqrtm(cov_a @ cov_b)
    if not np.isfinite(root).all():
        # A singular product: the official remedy is a small ridge on both.
        ridge = 1e-6 * np.eye(len(cov_a))
        root = linalg.sqrtm((cov_a + ridge) @ (cov_b + ridge))
    if np.iscomplexobj(root):
        if np.abs(root.diagonal().imag).max() > 1e-3:
            raise InputError(f"fid: imaginary part {np.abs(root.diagonal().imag).max():.2g} in the matrix root")
        root = root.real
    gap = mean_a - mean_b
    return float(gap @ gap + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root))


def fid_to(real: tuple[np.ndarray, np.ndarray], embeddings: np.ndarray) -> float | str:
    """FID of embeddings [N, D] to the mean and covariance of real ones; NaN when an embedding is not finite. TOO_FEW unless N
    exceeds D: their covariance then lacks directions, and the distance says more of N than of the motions."""
    if len(embeddings) <= embeddings.shape[1]:
        return TOO_FEW
    return fid(*real, *statistics(embeddings)) if np.isfinite(embeddings).all() else float("nan")


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Rows [N, D] at length 1; NaN for a row of zeros."""
    with np.errstate(invalid="ignore"):
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def diversity(embeddings: np.ndarray, pairs: int = DIVERSITY_PAIRS, seed: int = 0) -> float:
    """Mean distance between `pairs` random pairs of embeddings [N, D]; N must exceed `pairs`."""
    if len(embeddings) <= pairs:
        raise InputError(f"diversity: {len(embeddings)} embeddings, expected more than {pairs}")
    draw = np.random.RandomState(seed)  # the legacy generator: the official numbers depend on it
    first, second = (draw.choice(len(embeddings), pairs, replace=False) for _ in range(2))
    return float(np.linalg.norm(embeddings[first] - embeddings[second], axis=1).mean())


def multimodality(embeddings: np.ndarray, pairs: int = MULTIMODALITY_PAIRS, seed: int = 0) -> float:
    """Mean distance between `pairs` random pairs of the repeats of one caption, over all captions.

    embeddings: [N, R, D], R motions of each of N captions; the same pairs serve every caption. InputError when R < pairs.
    """
    if embeddings.ndim != 3 or embeddings.shape[1] < pairs:
        raise InputError(f"multimodality: embeddings of shape {embeddings.shape}, expected (N, at least {pairs}, D)")
    draw = np.random.RandomState(seed)
    first, second = (draw.choice(embeddings.shape[1], pairs, replace=False) for _ in range(2))
    return float(np.linalg.norm(embeddings[:, first] - embeddings[:, second], axis=2).mean())


def mean_and_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over replications (first axis) and its 95 % half-width as the field reports it: 1.96 sd (ddof 0) / sqrt(R)."""
    values = np.asarray(values, np.float64)
    return values.mean(axis=0), 1.96 * values.std(axis=0) / np.sqrt(len(values))
