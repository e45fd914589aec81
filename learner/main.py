"""`python -m learner.main`: teach a text-to-motion diffusion model from a reward.

Samplers make groups of denoising trajectories, a reward actor scores them, the learner turns scores into a new adapter,
and the adapter goes back to the samplers.
"""

import contextlib
import dataclasses
import functools
import sys
import time
from collections import deque

from cluster.connect import connected
from cluster.pool import Pool
from learner.config.parse import parse_config
from learner.config.settings import Config
from learner.run.dry_run import predict
from learner.run.folder import RunFolder
from learner.run.keeper import Keeper
from learner.run.plan import Plan, policy_settings
from learner.run.progress import Progress
from learner.run.report import Report
from learner.run.tracking import Tracker
from learner.watch.health import Action
from rollout.io.command import exit_code, stop_on_signals
from rollout.io.errors import RunFailed
from rollout.motion.policy import MotionDiffusionPolicy


def train(plan: Plan, pool: Pool, report: Report, keeper: Keeper) -> str:
    """The loop: rollout, score, update, publish; an evaluation before, after and as often as asked for.

    Returns how it ended: finished, or stopped by what health or the evaluations found.
    """
    config, heldout, trained = plan.config, plan.heldout_requests(), plan.trained_requests()

    def examine(when: str):
        return {
            "heldout": pool.examine(heldout, report.counting(f"evaluating {when} training, held-out prompts", heldout)),
            "trained": pool.examine(trained, report.counting(f"evaluating {when} training, training prompts", trained)),
        }

    pool.publish(pool.adapter())
    saved = keeper.begin(report)
    if saved is None:
        keeper.finished(0, pool.learner.state, report)
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
        if config.cluster.max_staleness and iteration + 1 < config.iterations:
            launched.append(pool.launch(plan.rollout_requests(iteration + 1)))
        started = time.perf_counter()
        update = pool.update(rollout)
        updated = time.perf_counter()
        pool.publish(update.adapter)  # once what was launched is sampled
        published = time.perf_counter()
        ahead = sum(pending.waited for pending in launched)  # counted with the next iteration's rollout
        metrics = {
            "seconds_rollout": rollout.seconds, "seconds_reward": rollout.tail_seconds,
            "seconds_update": updated - started, "seconds_publish": published - updated - ahead,
        }  # fmt: skip
        if config.evaluate.every and (iteration + 1) % config.evaluate.every == 0:
            metrics |= report.judged(iteration + 1, pool.examine(heldout).results)
        metrics["seconds_evaluate"] = time.perf_counter() - published
        report.iteration(iteration, rollout, update, metrics)
        if report.change:
            pool.adapt(report.change)
        keeper.finished(iteration + 1, pool.learner.state, report)
        if report.ending:
            break
    if report.ending is Action.ROLL_BACK:
        pool.restore(keeper.roll_back())
    tuned = pool.evaluation_adapter()
    pool.publish(tuned)
    pool.save_adapter(report.folder.adapter, tuned)
    report.after(tuned, **examine("after"))
    return "stopped" if report.ending else "finished"


def run(config: Config) -> str:
    """Validates everything, starts or joins Ray, trains; returns the run's status.

    The run folder is claimed first. A run that ends before it began training leaves nothing of it behind.
    """
    settings = policy_settings(config)
    # Here the policy only reads prompts; without an adapter it does so without PEFT, which takes seconds to import.
    plan = Plan.make(config, MotionDiffusionPolicy(dataclasses.replace(settings, lora_rank=0)))
    if config.dry_run:
        print(predict(plan, MotionDiffusionPolicy(settings)))
        return "finished"
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
                pool = Pool(config, settings, plan.texts, progress.note)
                open_run = functools.partial(Tracker.resume, run_id=keeper.tracked) if config.resume else Tracker.start
                tracker = open_run(config, folder.path, tell=progress.note)
                report = Report(plan, folder, progress, tracker)
                return supervise(plan, pool, report, keeper)
    except (KeyboardInterrupt, SystemExit):  # the last one: SIGTERM while Ray starts
        return "saved" if folder.begun else "killed"
    finally:
        if report is None:
            folder.discard()


def supervise(plan: Plan, pool: Pool, report: Report, keeper: Keeper) -> str:
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
