"""One evaluation: samplers generate, an actor reads what they made, and every model is a row of one table."""

from typing import Any

from cluster.connect import connected
from cluster.evaluation_pool import EvaluationPool
from cluster.gpu import use_gpu
from learner.evaluate.family import protocol_of
from learner.evaluate.parts import Parts
from learner.run.platforms import require_platform
from learner.run.progress import Progress
from learner.run.tracking import Tracker
from rollout.io.command import stop_on_signals


def run(config: Any) -> str:
    """Validates everything, starts or joins Ray, evaluates; returns the status.

    An evaluation that ends before it began leaves nothing behind; one that is killed later goes on, by the same command, with what it has.
    """
    require_platform(config.tracking.platform)
    use_gpu(config.cluster.device)
    stop_on_signals()
    protocol = protocol_of(config.family)
    report = parts = None
    try:
        with Progress(protocol.units(config), unit=protocol.unit) as progress:
            plan = protocol.plan(config, progress)
            parts = Parts.begin(config, plan.standing, protocol.read)
            if parts.begun:
                progress.note(f"going on with what {parts.folder.path} has")
            progress.stage("starting Ray")
            with connected():
                stop_on_signals()  # again: `ray.init` has a handler of its own
                pool = EvaluationPool(config.cluster, plan.models[0].build, protocol.reader(plan), progress.note)
                tracker = Tracker.start(config, parts.folder.path, progress.note)
                report = protocol.report(config, parts.folder.path, progress, tracker, plan.notes, plan.skipped)
                status = "failed"
                try:
                    for row in protocol.rows(plan, pool, parts, progress):
                        report.add(row)
                    status = "finished"
                    parts.finish()
                except KeyboardInterrupt:
                    status = "killed"
                finally:
                    if status != "finished":
                        progress.note(f"the same command with --out {parts.folder.path} goes on with what there is")
                    report.close(status)
                return status
    except (KeyboardInterrupt, SystemExit):  # the last one: SIGTERM while Ray starts
        return "killed"
    finally:
        if parts and report is None:
            parts.discard()
