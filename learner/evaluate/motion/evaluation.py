"""One evaluation: every replication draws captions and noise anew, the same for every row; samplers generate pools of 32 motions, an
evaluator actor reads them, and the numbers are their mean and 95 % interval over replications.
"""

import functools
import os
import time
from collections.abc import Callable, Iterator

import numpy as np

from cluster.evaluation_pool import EvaluationPool
from learner.evaluate.models import EvaluatedModel, published
from learner.evaluate.motion.measures import Measured, Reader, Reference, repeats_spread
from learner.evaluate.motion.plan import REAL_ROW, EncodedPools, Evaluation
from learner.evaluate.motion.protocol import REPEATS, DrawnPool, RealStored, Replications
from learner.evaluate.motion.report import EvaluationReport, Row, best_of
from learner.evaluate.motion.settings import POOL, EvaluateConfig
from learner.evaluate.parts import Parts
from learner.run.progress import Progress

Generate = Callable[[str, EncodedPools, Callable[[int], None]], list[Measured]]  # what is read of a row's batches; told how many are in


class MotionProtocol:
    """See `learner.evaluate.family.EvaluationProtocol`."""

    unit = "replication"
    report = EvaluationReport
    read = staticmethod(Measured.read)

    def units(self, config: EvaluateConfig) -> int:
        return config.rounds * (1 + (1 + len(config.adapter)) * (1 + len(config.prompts)) + config.chooses)

    def plan(self, config: EvaluateConfig, progress: Progress) -> Evaluation:
        progress.stage("reading model, evaluators and captions", line=False)
        return Evaluation.make(config, lambda done, total: progress.stage("encoding", done, total, unit="captions"))

    def reader(self, plan: Evaluation) -> Callable[[str], Reader]:
        return functools.partial(Reader, plan.config.reward, plan.config.cluster.reward_deadline, os.getcwd(), plan.embedded)

    def rows(self, plan: Evaluation, pool: EvaluationPool, parts: Parts, progress: Progress) -> Iterator[Row]:
        """Ground truth first, as proof of the pipeline, then the base model, then each adapter; each model on every split. After the base
        model the best of several motions of it."""
        row, references = real_row(plan, pool, progress)
        yield row
        generate = functools.partial(parts.generate, pool)
        for model in published(plan.models, pool):
            yield model_row(plan, plan.replications, model, model.name, references, generate, progress)
            for split, draws in plan.further.items():
                yield model_row(plan, draws, model, f"{model.name} on {split}", None, generate, progress)
            if model is plan.models[0] and plan.config.chooses and plan.rewarded:
                yield best_row(plan, model, references, generate, progress)


def real_row(evaluation: Evaluation, pool: EvaluationPool, progress: Progress) -> tuple[Row, list[Reference]]:
    """The row of real motion; and what FID is to, by replication.

    Its own FID is to the next replication's crops and captions of the same motions.
    """
    rounds, found, embeddings = evaluation.config.rounds, [], []
    for replication in range(rounds):
        started = time.perf_counter()
        progress.stage(f"{REAL_ROW}, replication {replication + 1}", line=False)
        draws = evaluation.replications.real_draws(replication)
        if isinstance(evaluation.real, RealStored):
            measured = evaluation.real.measured(draws)
        else:
            pools = (draws[first : first + POOL] for first in range(0, len(draws), POOL))
            cropped = ((*evaluation.real.crops(each), False, [draw.prompt for draw in each]) for each in pools)
            measured = Measured.joined(pool.measure(cropped))
        found.append(evaluation.metrics(replication, [draw.prompt for draw in draws], measured))
        embeddings.append(measured.t2m)
        progress.step(REAL_ROW, time.perf_counter() - started)
    references = [Reference(each) for each in embeddings]
    for replication, metrics in enumerate(found):
        metrics |= references[(replication + 1) % rounds].fids(embeddings[replication])
    return Row(REAL_ROW, None, None, _by_metric(found)), references


def model_row(
    evaluation: Evaluation, draws: Replications, model: EvaluatedModel, name: str, references: list[Reference] | None,
    generate: Generate, progress: Progress,
) -> Row:  # fmt: skip
    """The row of one model on one split."""
    found, drawn = [], [draws.batches(replication) for replication in range(evaluation.config.rounds)]
    for replication, own in enumerate(generated(evaluation, name, drawn, generate, progress)):
        prompts = [prompt for batch, _ in own if batch.repeat == 0 for prompt in batch.prompts]
        measured = Measured.joined([each for batch, each in own if batch.repeat == 0])
        metrics = evaluation.metrics(replication, prompts, measured)
        if references:
            metrics |= references[replication].fids(measured.t2m)
        if repeated := {batch.pool for batch, _ in own if batch.repeat}:
            repeats = [[each for batch, each in own if batch.pool in repeated and batch.repeat == i] for i in range(REPEATS)]
            metrics["multimodality"] = repeats_spread([Measured.joined(each) for each in repeats], draws.pairs_seed(replication))
        found.append(metrics)
        if broken := int((~np.isfinite(measured.t2m)).any(axis=1).sum()):
            progress.note(f"{name}, replication {replication + 1}: {broken} motions are not finite")
    return Row(name, model.source, model.adapter.sha256, _by_metric(found))


def best_row(
    evaluation: Evaluation, model: EvaluatedModel, references: list[Reference], generate: Generate, progress: Progress
) -> Row:  # fmt: skip
    """Of each caption that of several motions which the reward likes best: what the same reward gives without training."""
    count, found = evaluation.config.best_of, []
    name = best_of(count)
    drawn = [evaluation.replications.candidates(replication) for replication in range(evaluation.config.rounds)]
    for replication, own in enumerate(generated(evaluation, name, drawn, generate, progress)):
        pools = [own[first : first + count] for first in range(0, len(own), count)]
        prompts = [prompt for (batch, _), *_ in pools for prompt in batch.prompts]
        measured = Measured.joined([chosen([each for _, each in candidates]) for candidates in pools])
        found.append(evaluation.metrics(replication, prompts, measured) | references[replication].fids(measured.t2m))
    return Row(name, None, model.adapter.sha256, _by_metric(found))


def chosen(candidates: list[Measured]) -> Measured:
    """Of each motion that one of its candidates whose reward is the highest; of none that is no number unless all are."""
    rewards_CN = np.stack([each.reward for each in candidates])
    best_N = np.where(np.isfinite(rewards_CN), rewards_CN, -np.inf).argmax(axis=0)
    return Measured.joined(candidates).rows(best_N * len(best_N) + np.arange(len(best_N)))


def generated(
    evaluation: Evaluation, name: str, drawn: list[list[DrawnPool]], generate: Generate, progress: Progress
) -> Iterator[list[tuple[DrawnPool, Measured]]]:  # fmt: skip
    """By replication every pool with what was read of it; `generate` spreads those of all replications over the samplers together."""
    batches = [batch for each in drawn for batch in each]
    ends = np.cumsum([len(each) for each in drawn])
    started = time.perf_counter()

    def arrived(done: int) -> None:
        nonlocal started
        progress.stage(name, done * POOL, len(batches) * POOL, line=False)
        if done in ends:
            now = time.perf_counter()
            progress.step(name, now - started)
            started = now

    results = iter(generate(name, EncodedPools(batches, evaluation.encoded), arrived))
    for each in drawn:
        yield list(zip(each, results))


def _by_metric(found: list[dict[str, float]]) -> dict[str, list[float]]:
    """The values of every replication that has the metric, by metric; none of one that there were too few motions for."""
    names = dict.fromkeys(name for metrics in found for name in metrics)
    return {name: [metrics[name] for metrics in found if isinstance(metrics.get(name), float)] for name in names}


PROTOCOL = MotionProtocol()
