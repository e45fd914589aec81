"""An evaluation of answers: every question is put once to each model, with the same noise, and its answers are scored by what trains."""

import functools
import os
import time
from collections.abc import Callable, Iterator

from cluster.evaluation_pool import EvaluationPool
from learner.evaluate.language.measures import Measured, Read, Reader
from learner.evaluate.language.plan import Batches, Evaluation
from learner.evaluate.language.report import EvaluationReport, Row
from learner.evaluate.language.settings import EvaluateConfig
from learner.evaluate.models import published
from learner.evaluate.parts import Parts
from learner.run.progress import Progress


class LanguageProtocol:
    """See `learner.evaluate.family.EvaluationProtocol`."""

    unit = "row"
    report = EvaluationReport
    read = staticmethod(Read.read)

    def units(self, config: EvaluateConfig) -> int:
        return 1 + len(config.adapter)

    def plan(self, config: EvaluateConfig, progress: Progress) -> Evaluation:
        progress.stage("reading model, reward and items", line=False)
        return Evaluation.make(config, lambda done, total: progress.stage("reading", done, total, unit="items"))

    def reader(self, plan: Evaluation) -> Callable[[str], Reader]:
        config = plan.config
        return functools.partial(Reader, config.reward, config.cluster.reward_deadline, os.getcwd())

    def rows(self, plan: Evaluation, pool: EvaluationPool, parts: Parts, progress: Progress) -> Iterator[Row]:
        """The base model, then each adapter."""
        config, base = plan.config, None
        batches = Batches(plan.questions, config.answers, config.batch, config.seed)
        for model in published(plan.models, pool):
            started = time.perf_counter()

            def arrived(done: int) -> None:
                progress.stage(model.name, min(done * config.batch, len(batches.asked)), len(batches.asked), line=False, unit="answers")

            found = Measured.of(parts.generate(pool, model.name, batches, arrived), config.answers)
            row = Row(model.name, model.source, model.adapter.sha256, plan.questions, found, base)
            base = base or row
            if found.failures:
                (item, _), why = next(iter(found.failures.items()))
                where = plan.questions[item].item.source
                plan.notes.append(f"{model.name}: {len(found.failures)} answers could not be scored, the first to {where}: {why}")
            progress.step(model.name, time.perf_counter() - started)
            yield row


PROTOCOL = LanguageProtocol()
