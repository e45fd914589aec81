"""`python -m learner.main`: teach a generative model from a reward.

Samplers make groups, a reward actor scores them, gradients are taken where the groups lie, the learner turns them into a new adapter,
and the adapter goes back to the samplers.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from learner.config.parse import parse_config
from learner.config.resume import ended
from learner.config.settings import Config
from learner.run.folder import RunFolder
from learner.run.platforms import require_platform
from learner.watch.health import Action
from rollout.io.command import exit_code, stop_on_signals
from rollout.io.errors import RunFailed

if TYPE_CHECKING:
    from cluster.training_pool import TrainingPool
    from learner.run.keeper import Keeper
    from learner.run.plan import Plan
    from learner.run.report import Report


def train(plan: Plan, pool: TrainingPool, report: Report, keeper: Keeper) -> str:
    """The loop: rollout, score, update, publish; an evaluation before, after and as often as asked for.

    Returns how it ended: finished, or stopped by what health or the evaluations found.
    """
    config, watcher, heldout, trained = plan.config, report.watcher, plan.heldout_requests(), plan.trained_requests()

    def examine(when: str):
        found = {}
        for name, requests in (("heldout", heldout), ("trained", trained)):
            prompts = "held-out" if name == "heldout" else "training"
            rollout = pool.examine(requests, report.counting(f"evaluating {when} training, {prompts} prompts", requests))
            found[name] = rollout.groups, rollout.results
        return found

    def judge(iterations: int) -> dict[str, float]:
        """Of the weights that the end is judged by: with a moving average, not those that train."""
        own, judged, began = pool.adapter(), pool.evaluation_adapter(), time.monotonic()
        if judged.sha256 != own.sha256:
            pool.publish(judged)
        rollout = pool.examine(heldout)
        metrics = report.judged(iterations, rollout.groups, rollout.results)
        if judged.sha256 != own.sha256:
            pool.publish(own)
        pool.spans.add("driver", "evaluate", began)
        return metrics

    pool.publish(pool.adapter())
    saved = keeper.begin(report)
    if saved is None:
        keeper.finished(0, pool.state, report)
    report.before(**examine("before"))
    launched = deque()
    if saved is not None:
        pool.restore(saved)
        if config.cluster.max_staleness and 0 < keeper.first < config.iterations:  # what was under way, under the weights it was
            pool.publish(pool.adapter(keeper.first - 1))
            launched.append(pool.launch(plan.rollout_requests(keeper.first)))
        pool.publish(pool.adapter())
    for iteration in range(keeper.first, config.iterations):
        if not launched:
            launched.append(pool.launch(plan.rollout_requests(iteration)))
        rollout = launched.popleft().result()
        more = iteration + 1 < config.iterations
        if more and config.cluster.max_staleness:
            launched.append(pool.launch(plan.rollout_requests(iteration + 1)))
        started = time.perf_counter()
        update = pool.update(rollout)
        updated = time.perf_counter()
        pool.publish(update.adapter)  # once what was launched is sampled
        published = time.perf_counter()
        ahead = sum(pending.waited for pending in launched)  # counted with the next iteration's rollout
        if more and not launched:
            launched.append(pool.launch(plan.rollout_requests(iteration + 1)))  # goes on behind the bookkeeping
        metrics = {
            "seconds_rollout": rollout.seconds, "seconds_reward": rollout.tail_seconds,
            "seconds_update": updated - started, "seconds_publish": published - updated - ahead,
        }  # fmt: skip
        if config.evaluate.every and (iteration + 1) % config.evaluate.every == 0:
            metrics |= judge(iteration + 1)
        metrics["seconds_evaluate"] = time.perf_counter() - published
        recording = time.monotonic()
        report.iteration(iteration, rollout.groups, rollout.results, update, metrics, pool.spans.take())
        if watcher.change:
            pool.adapt(watcher.change)
        keeper.finished(iteration + 1, pool.state, report)
        pool.spans.add("driver", "record", recording)
        if watcher.ending:
            break
    if watcher.ending is Action.ROLL_BACK:
        pool.restore(keeper.roll_back())
    tuned = pool.evaluation_adapter()
    pool.publish(tuned)
    pool.save_adapter(report.folder.adapter, tuned)
    report.after(tuned, **examine("after"))
    return "stopped" if watcher.ending else "finished"


def run(config: Config) -> str:
    """Validates everything, starts or joins Ray, trains; returns the run's status.

    The run folder is claimed first. A run that ends before it began training leaves nothing of it behind.
    """
    from cluster.gpu import use_gpu
    from learner.run.plan import Plan  # what needs torch, and below Ray, takes seconds to import: only once the settings are good

    if config.run_name and config.resume and (status := ended(Path(config.resume), config.iterations)):
        print(f"run_name: {config.resume} has {status} already{'; --resume goes on with it' if status == 'stopped' else ''}")
        return status
    require_platform(config.tracking.platform)
    use_gpu(config.cluster.device)
    plan = Plan.make(config)
    build = plan.family.build(config)
    if config.dry_run:
        from learner.run.dry_run import predict

        print(predict(plan, build))
        return "finished"
    from cluster.connect import connected
    from cluster.training_pool import TrainingPool
    from learner.report.write import write_report
    from learner.run.keeper import Keeper
    from learner.run.progress import Progress
    from learner.run.report import Report
    from learner.run.tracking import Tracker

    report = None
    folder = RunFolder.reopen(config.resume) if config.resume else RunFolder.create(config.run_dir, config.seed)
    try:
        stop_on_signals()
        keeper = Keeper(plan, folder)
        with Progress(config.iterations) as progress:
            progress.log_to(folder.log)
            progress.stage(f"going on after {keeper.first} iterations: starting Ray" if config.resume else "starting Ray")
            with connected():
                stop_on_signals()  # again: `ray.init` has a handler of its own
                pool = TrainingPool(config, build, plan.rewards, plan.shared, progress.note, folder.show_present)
                keeper.require_device(pool.learner.state.facts["device"])
                open_run = functools.partial(Tracker.resume, run_id=keeper.tracked) if keeper.found else Tracker.start
                tracker = open_run(config, folder.path, tell=progress.note)
                report = Report(plan, folder, progress, tracker, write_report)
                return supervise(plan, pool, report, keeper)
    except (KeyboardInterrupt, SystemExit):  # the last one: SIGTERM while Ray starts
        return "saved" if folder.begun else "killed"
    finally:
        if report is None:
            folder.discard()


def supervise(plan: Plan, pool: TrainingPool, report: Report, keeper: Keeper) -> str:
    """Trains; however that ends, what was finished is saved, and the report is closed with it."""
    try:
        try:
            status = train(plan, pool, report, keeper)
            report.close(status)
            return status
        except KeyboardInterrupt:
            resumable = keeper.save()
            report.close("killed")
            return "saved" if resumable else "killed"
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError):  # a full disk, say
            error = RunFailed(f"{reason}; once that is mended, --resume {report.folder.path} goes on")
        for last in (keeper.save, lambda: report.close("failed", reason)):
            with contextlib.suppress(OSError, RunFailed):
                last()
        raise error from None


def main(argv: list[str]) -> int:
    return exit_code(lambda: run(parse_config(argv)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
