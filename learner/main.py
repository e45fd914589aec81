"""`python -m learner.main`: teach a generative model from a reward.

Samplers make groups, a reward actor scores them, gradients are taken where the groups lie, the learner turns them into a new adapter,
and the adapter goes back to the samplers.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from learner.config.parse import parse_config
from learner.config.resume import over
from learner.config.seeds import of_seeds
from learner.config.settings import Config
from learner.run.folder import LOST_S, RunFolder
from learner.run.platforms import require_platform
from learner.watch.health import Action
from rollout.io.command import exit_code, stop_on_signals
from rollout.io.errors import RunFailed

if TYPE_CHECKING:
    from cluster.training_pool import TrainingPool
    from learner.run.keeper import Keeper
    from learner.run.plan import Plan
    from learner.run.report import Report


def train(plan: Plan, pool: TrainingPool, report: Report, keeper: Keeper) -> Generator[None, None, str]:
    """The loop: rollout, score, update, publish; an evaluation before, after and as often as asked for.

    It pauses where samplers have work for it, so that a run of another seed may go on. Returns how it ended: finished, or stopped by
    what health or the evaluations found.
    """
    config, watcher, heldout, trained = plan.config, report.watcher, plan.heldout_requests(), plan.trained_requests()

    def examine(when: str):
        found = {}
        for name, requests in (("heldout", heldout), ("trained", trained)):
            prompts = "held-out" if name == "heldout" else "training"
            pending = pool.examine(requests, report.counting(f"evaluating {when} training, {prompts} prompts", requests))
            yield
            rollout = pending.result()
            found[name] = rollout.groups, rollout.results
        return found

    def judge(iterations: int) -> dict[str, float]:
        """Of the weights that the end is judged by: with a moving average, not those that train."""
        own, judged, began = pool.adapter(), pool.evaluation_adapter(), time.monotonic()
        if judged.sha256 != own.sha256:
            pool.publish(judged)
        rollout = pool.examine(heldout).result()
        metrics = report.judged(iterations, rollout.groups, rollout.results)
        if judged.sha256 != own.sha256:
            pool.publish(own)
        pool.spans.add("driver", "evaluate", began)
        return metrics

    pool.publish(pool.adapter())
    saved = keeper.begin(report)
    if saved is None:
        keeper.finished(0, pool.state, report)
    report.before(**(yield from examine("before")))
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
        yield
        rollout = launched.popleft().result()
        more = iteration + 1 < config.iterations
        if more and config.cluster.max_staleness:
            launched.append(pool.launch(plan.rollout_requests(iteration + 1)))
            yield
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
    examined = yield from examine("after")
    report.after(tuned, pool.spans.take(), **examined)
    return "stopped" if watcher.ending else "finished"


@dataclass(frozen=True, eq=False)
class Run:
    """One seed's: what is to be done, by whom, who tells of it, and what it goes on from."""

    plan: Plan
    pool: TrainingPool
    report: Report
    keeper: Keeper


def run(config: Config) -> str:
    """Validates everything, starts or joins Ray, trains, with `seeds` a run of each; returns the status.

    Run folders are claimed first. What ends before it began training leaves nothing of it behind.
    """
    from cluster.gpu import use_gpu
    from learner.run.plan import Plan  # what needs torch, and below Ray, takes seconds to import: only once the settings are good

    if end := over(config):
        print(end[1])
        return end[0]
    require_platform(config.tracking.platform)
    use_gpu(config.cluster.device)
    plans = Plan.of_seeds(of_seeds(config))
    first, builds = plans[0], {plan.config.seed: plan.family.build(plan.config) for plan in plans}
    if config.dry_run:
        from learner.run.dry_run import predict

        print(predict(first, builds[first.config.seed], len(plans)))
        return "finished"
    from cluster.connect import connected
    from cluster.training_pool import TrainingPool
    from learner.report.write import write_report
    from learner.run.keeper import Keeper
    from learner.run.progress import Progress
    from learner.run.report import Report
    from learner.run.together import Together
    from learner.run.tracking import Tracker

    runs, folders, together = [], [], None
    try:
        if config.seeds:
            together = Together(config, write_report)
            folders.append(together.folder)
        keepers, wait_s = [], LOST_S if config.run_name else 0.0
        stop_on_signals()
        for plan in plans:
            own = plan.config
            place = together.folder.path / own.run_name if together else own.run_dir
            folders.append(RunFolder.reopen(own.resume, wait_s=wait_s) if own.resume else RunFolder.create(place, own.seed))
            if end := over(config):  # by whom it was waited for
                print(end[1])
                return end[0]
            keepers.append(Keeper(plan, folders[-1]))
        with contextlib.ExitStack() as shown:
            progress = {}
            for keeper in keepers:
                name = keeper.folder.path.name if together else ""
                progress[keeper] = each = shown.enter_context(Progress(config.iterations, name=name, beside=len(keepers)))
                each.log_to(keeper.folder.log)
                each.stage(f"going on after {keeper.first} iterations: starting Ray" if keeper.plan.config.resume else "starting Ray")
            with connected():
                stop_on_signals()  # again: `ray.init` has a handler of its own

                def tell(line: str) -> None:
                    for each in progress.values():
                        each.note(line)

                def present(found: Mapping[str, Any]) -> None:
                    for keeper in keepers:
                        keeper.folder.show_present(found)

                pool = TrainingPool(first.config, builds[first.config.seed], first.rewards, first.shared, tell, present, builds)
                parent = together.track() if together else None

                def begun(keeper: Keeper) -> Run:
                    plan, path, note = keeper.plan, keeper.folder.path, progress[keeper].note
                    own = pool if plan is first else pool.beside(plan.config)
                    keeper.require_device(own.state.facts["device"])
                    old = keeper.tracked
                    tracker = Tracker.resume(plan.config, path, old, note) if old else Tracker.start(plan.config, path, note, parent)
                    return Run(plan, own, Report(plan, keeper.folder, progress[keeper], tracker, write_report), keeper)

                runs = [begun(keeper) for keeper in keepers]
                try:
                    return supervise(runs)
                finally:
                    for keeper in keepers:  # of a seed that ended before others too
                        keeper.folder.present.unlink(missing_ok=True)
                    if together:
                        together.close()
    except (KeyboardInterrupt, SystemExit):  # the last one: SIGTERM while Ray starts
        return "saved" if any(folder.begun for folder in folders) else "killed"
    finally:
        for folder in [] if runs else folders[::-1]:
            folder.discard()


def supervise(runs: list[Run]) -> str:
    """Trains them by turns; however that ends, what was finished is saved, and every report is closed with it."""
    left, ends = {run: train(run.plan, run.pool, run.report, run.keeper) for run in runs}, set()
    try:
        try:
            while left:
                for run, turns in list(left.items()):
                    try:
                        next(turns)
                    except StopIteration as end:
                        run.report.close(end.value)
                        ends.add(end.value)
                        del left[run]
            return "stopped" if "stopped" in ends else "finished"
        except KeyboardInterrupt:
            resumable = [run.keeper.save() for run in left]
            for run in left:
                run.report.close("killed")
            return "saved" if any(resumable) else "killed"
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError):  # a full disk, say
            error = RunFailed(f"{reason}; once that is mended, --resume {runs[0].report.folder.path} goes on")
        for run in left:
            for last in (run.keeper.save, lambda: run.report.close("failed", reason)):
                with contextlib.suppress(OSError, RunFailed):
                    last()
        raise error from None


def main(argv: list[str]) -> int:
    return exit_code(lambda: run(parse_config(argv)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
