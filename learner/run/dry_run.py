"""`--dry_run`: measures one group on this machine and says what the run would take, without starting anything."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import torch

from learner.learner import Learner
from learner.run.plan import Plan
from learner.tally import ScoredGroup
from rewards.compose import Composer
from rollout.io.machine import peak_memory
from rollout.policy import Group, Policy

RAY_BASE_MB = 600  # GCS, raylet and agents of a local Ray
START_SECONDS = 25  # Ray, actors, MLflow
FEWEST = 2  # samples, of which a group can be made
LONG_SECONDS = 5


def predict(plan: Plan, build: Callable[[str], Policy], seeds: int) -> str:
    """A text of a few lines: what was resolved, seconds and memory of runs of so many seeds side by side, as measured on the first group,
    or, where that takes more than seconds, on two samples of it; on a GPU if actors of this machine would have one."""
    config = plan.config
    torch.set_num_threads(config.cluster.sampler_cpus)
    device = "cuda" if torch.cuda.is_available() and config.cluster.gpus_per_actor != 0 else "cpu"
    policy = build(device)
    scorer, _ = plan.rewards.load(config, device, plan.shared)
    learner = Learner(policy, config.objective, config.optimizer)
    request, loaded = plan.rollout_requests(0)[0], peak_memory()

    def measured(samples: int, trained: int | None) -> tuple[Group, float, float]:
        """The group, and the seconds that it and its gradient take."""
        started = time.perf_counter()
        group = policy.sample(dataclasses.replace(request, group_size=samples))
        sampled = time.perf_counter()
        Composer(config.reward.parsed()).total([scorer(plan.rewards.subjects(group))])
        scored = time.perf_counter()
        learner.update([ScoredGroup(group, np.arange(samples, dtype=np.float32))], trained)  # equal rewards would teach, and take, nothing
        return group, sampled - started, time.perf_counter() - scored

    size, trained = request.group_size, config.rollout.trained_samples
    group, sampling, updating = measured(FEWEST, None)
    more = size / FEWEST
    sampling, updating = sampling * more, updating * (trained or size) / FEWEST
    if sampling + updating < LONG_SECONDS:  # which one-time set-up is in
        more = 1
        group, sampling, updating = measured(size, trained)
    groups, samplers = config.rollout.prompts_per_iteration, config.cluster.samplers
    iteration = (sampling + updating) * -(-groups // samplers.low)
    heldout, trained_again = (sum(request.group_size for request in asked) for asked in (plan.heldout_requests(), plan.trained_requests()))
    between = config.iterations // config.evaluate.every if config.evaluate.every else 0
    examined = heldout + trained_again
    evaluating = sampling / size * (2 * examined + between * heldout) / samplers.low
    total = START_SECONDS + seeds * (iteration * config.iterations + evaluating)
    process_mb = (loaded + more * (peak_memory() - loaded)) / 2**20
    rollout_mb = more * groups * sum(array.nbytes for array in (*group.actions.values(), group.outputs)) / 2**20
    processes = samplers.high + config.cluster.reward_actors + 2
    memory_gb = (RAY_BASE_MB + process_mb * processes + 2 * seeds * rollout_mb) / 1024
    trainable = sum(parameter.numel() for parameter in policy.parameters())
    return "\n".join([
        f"model      {plan.family.describe(config, policy)}, {trainable:,} trained parameters, passes in {config.cluster.precision}",
        f"prompts    {plan.prompts} for training ({len(plan.training)} of them in this run), {len(plan.heldout)} held out",
        f"iteration  {groups} prompts x {config.rollout.group_size} samples: about {iteration:.1f} s"
        f"{'' if samplers.fixed else f' on {samplers.low} samplers'}"
        f" (a group takes {sampling:.2f} s to sample and {updating:.2f} s for its gradient here)",
        f"run        {f'{seeds} seeds, each ' if seeds > 1 else ''}{config.iterations} iterations and two evaluations of {examined} samples"
        f"{f', {between} of {heldout} between' if between else ''}: about {total / 60:.1f} min",
        f"memory     about {memory_gb:.1f} GB over {processes} processes; an iteration's rollout is {rollout_mb:.0f} MB",
        "dry run: everything resolves; nothing was started",
    ])  # fmt: skip
