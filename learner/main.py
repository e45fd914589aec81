"""`python -m learner.main`: teach a text-to-motion diffusion model from a reward.

Samplers make groups of denoising trajectories, a reward actor scores them, the learner turns scores into a new adapter,
and the adapter goes back to the samplers.
"""

import dataclasses
import sys
import time

from cluster.connect import connected
from cluster.pool import Pool
from learner.command import exit_code, stop_on_sigterm
from learner.config import parse_config, write_config
from learner.dry_run import predict
from learner.plan import Plan, policy_settings
from learner.progress import Progress
from learner.report import Report
from learner.run_folder import RunFolder
from learner.settings import Config
from learner.tracking import Tracker
from rollout.motion.policy import MotionDiffusionPolicy


def train(plan: Plan, pool: Pool, report: Report) -> None:
    """The loop: rollout, score, update, publish; an evaluation before, after and as often as asked for."""
    heldout, trained = plan.heldout_requests(), plan.trained_requests()

    def examine(when: str):
        return {
            "heldout": pool.examine(heldout, report.counting(f"evaluating {when} training, held-out prompts", heldout)),
            "trained": pool.examine(trained, report.counting(f"evaluating {when} training, training prompts", trained)),
        }

    pool.publish(pool.adapter())
    report.before(**examine("before"))
    for iteration in range(plan.config.iterations):
        rollout = pool.score(plan.rollout_requests(iteration))
        started = time.perf_counter()
        update = pool.update(rollout)
        updated = time.perf_counter()
        pool.publish(update.adapter)
        published = time.perf_counter()
        metrics = {
            "seconds_rollout": rollout.seconds, "seconds_reward": rollout.tail_seconds,
            "seconds_update": updated - started, "seconds_publish": published - updated,
        }  # fmt: skip
        if plan.config.evaluate.every and (iteration + 1) % plan.config.evaluate.every == 0:
            metrics |= report.judged(iteration + 1, pool.examine(heldout).results)
        metrics["seconds_evaluate"] = time.perf_counter() - published
        report.iteration(iteration, rollout, update, metrics)
        if report.stopped:
            break
    tuned = pool.adapter(for_evaluation=True)
    pool.publish(tuned)
    pool.save_adapter(report.folder.adapter, tuned)
    report.after(tuned, **examine("after"))


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
    folder = RunFolder.create(config.run_dir, config.seed)
    try:
        stop_on_sigterm()
        write_config(config, folder.config)
        with Progress(config.iterations) as progress:
            progress.log_to(folder.log)
            progress.stage("starting Ray")
            with connected():
                stop_on_sigterm()  # again: `ray.init` has a handler of its own
                pool = Pool(config, settings, plan.texts)
                report = Report(plan, folder, progress, Tracker.start(config, folder.path))
                return supervise(plan, pool, report)
    except (KeyboardInterrupt, SystemExit):  # the last one: SIGTERM while Ray starts
        return "killed"
    finally:
        if report is None:
            folder.discard()


def supervise(plan: Plan, pool: Pool, report: Report) -> str:
    """Trains; however that ends, the report is closed with it."""
    status = "failed"
    try:
        train(plan, pool, report)
        status = "finished"
    except KeyboardInterrupt:
        status = "killed"
    finally:
        report.close(status)
    return status


def main(argv: list[str]) -> int:
    return exit_code(lambda: run(parse_config(argv)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
