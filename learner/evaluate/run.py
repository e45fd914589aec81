"""One evaluation: every replication draws captions and noise anew, the same for every row; samplers generate pools of 32 motions, an
evaluator actor reads them, and the numbers are their mean and 95 % interval over replications.
"""

import functools
import time

import numpy as np

from cluster.connect import connected
from cluster.evaluation_pool import EvaluationPool
from cluster.gpu import use_gpu
from learner.config.parse import write_config
from learner.evaluate.measures import Measured, Reader, repeats_spread
from learner.evaluate.plan import EncodedPools, EvaluatedModel, Evaluation
from learner.evaluate.protocol import REPEATS, RealStored
from learner.evaluate.report import EvaluationReport, Row
from learner.evaluate.settings import POOL, EvaluateConfig
from learner.run.folder import Folder
from learner.run.platforms import require_platform
from learner.run.progress import Progress
from learner.run.tracking import Tracker
from rewards.motion.metrics import fid_to, statistics
from rollout.io.command import stop_on_signals


def evaluate(evaluation: Evaluation, pool: EvaluationPool, report: EvaluationReport, progress: Progress) -> None:
    """Ground truth first, as proof of the pipeline, then the base model, then each adapter."""
    reference = evaluate_real(evaluation, pool, report, progress)
    loaded = evaluation.models[0].settings
    for model in evaluation.models:
        if model.settings != loaded:
            pool.reload(model.build)
            loaded = model.settings
        pool.publish(model.adapter)
        evaluate_model(evaluation, model, reference, pool, report, progress)


def evaluate_real(evaluation: Evaluation, pool: EvaluationPool, report: EvaluationReport, progress: Progress) -> list[tuple]:
    """The row of real motion. Returns mean and covariance of its T2M embeddings by replication, for FID.

    Its own FID is to the next replication's crops and captions of the same motions.
    """
    rounds, found, embeddings = evaluation.config.rounds, [], []
    for replication in range(rounds):
        started = time.perf_counter()
        progress.stage(f"ground truth, replication {replication + 1}", line=False)
        draws = evaluation.replications.real_draws(replication)
        if isinstance(evaluation.real, RealStored):
            measured = evaluation.real.measured(draws)
        else:
            pools = (draws[first : first + POOL] for first in range(0, len(draws), POOL))
            measured = Measured.joined(pool.measure((*evaluation.real.crops(each), False) for each in pools))
        found.append(evaluation.metrics(replication, [draw.prompt for draw in draws], measured))
        embeddings.append(measured.t2m)
        progress.step("ground truth", time.perf_counter() - started)
    reference = [statistics(each) for each in embeddings]
    for replication, metrics in enumerate(found):
        metrics["fid"] = fid_to(reference[(replication + 1) % rounds], embeddings[replication])
    report.add(Row("ground truth", None, None, _by_metric(found)))
    return reference


def evaluate_model(
    evaluation: Evaluation, model: EvaluatedModel, reference: list[tuple], pool: EvaluationPool, report: EvaluationReport, progress: Progress
) -> None:
    """The row of one model; the pools of all replications are spread over the samplers together."""
    draws = evaluation.replications
    drawn = [draws.batches(replication) for replication in range(evaluation.config.rounds)]
    batches = [batch for each in drawn for batch in each]
    ends = np.cumsum([len(each) for each in drawn])
    started = time.perf_counter()

    def arrived(done: int) -> None:
        nonlocal started
        progress.stage(model.name, done * POOL, len(batches) * POOL, line=False)
        if done in ends:
            now = time.perf_counter()
            progress.step(model.name, now - started)
            started = now

    results = iter(pool.generate(EncodedPools(batches, evaluation.encoded), arrived))
    found = []
    for replication, each in enumerate(drawn):
        own = list(zip(each, results))
        prompts = [prompt for batch, _ in own if batch.repeat == 0 for prompt in batch.prompts]
        measured = Measured.joined([each for batch, each in own if batch.repeat == 0])
        metrics = evaluation.metrics(replication, prompts, measured)
        metrics["fid"] = fid_to(reference[replication], measured.t2m)
        if repeated := {batch.pool for batch, _ in own if batch.repeat}:
            repeats = [[each for batch, each in own if batch.pool in repeated and batch.repeat == i] for i in range(REPEATS)]
            metrics["multimodality"] = repeats_spread([Measured.joined(each) for each in repeats], draws.pairs_seed(replication))
        found.append(metrics)
        if broken := int((~np.isfinite(measured.t2m)).any(axis=1).sum()):
            progress.note(f"{model.name}, replication {replication + 1}: {broken} motions are not finite")
    report.add(Row(model.name, model.source, model.adapter.sha256, _by_metric(found)))


def _by_metric(found: list[dict[str, float]]) -> dict[str, list[float]]:
    """The values of every replication that has the metric, by metric; none of one that there were too few motions for."""
    names = dict.fromkeys(name for metrics in found for name in metrics)
    return {name: [metrics[name] for metrics in found if isinstance(metrics.get(name), float)] for name in names}


def run(config: EvaluateConfig) -> str:
    """Validates everything, starts or joins Ray, evaluates; returns the status.

    An evaluation that ends before it began leaves nothing behind.
    """
    require_platform(config.tracking.platform)
    use_gpu(config.cluster.device)
    stop_on_signals()
    rows = 2 + len(config.adapter)
    report = folder = None
    try:
        with Progress(config.rounds * rows, unit="replication") as progress:
            progress.stage("reading model, evaluators and captions", line=False)
            evaluation = Evaluation.make(config, lambda done, total: progress.stage("encoding", done, total, unit="captions"))
            folder = Folder.claim(config.out, "out", f"evaluation-seed{config.seed}")
            write_config(config, folder.path / "config.yaml")
            progress.stage("starting Ray")
            with connected():
                stop_on_signals()  # again: `ray.init` has a handler of its own
                pool = EvaluationPool(config.cluster, evaluation.models[0].build, functools.partial(Reader, config.reward), progress.note)
                tracker = Tracker.start(config, folder.path, progress.note)
                report = EvaluationReport(config, folder.path, progress, tracker, evaluation.notes)
                status = "failed"
                try:
                    evaluate(evaluation, pool, report, progress)
                    status = "finished"
                except KeyboardInterrupt:
                    status = "killed"
                finally:
                    report.close(status)
                return status
    except (KeyboardInterrupt, SystemExit):  # the last one: SIGTERM while Ray starts
        return "killed"
    finally:
        if folder and report is None:
            folder.discard()
