"""`--dry_run`: measures one group on this machine and says what the run would take, without starting anything."""

import time

import torch

from learner.learner import Learner
from learner.run.plan import Plan
from learner.tally import ScoredGroup
from rewards.compose import Composer
from rollout.io.machine import peak_memory
from rollout.policy import Policy

RAY_BASE_MB = 600  # GCS, raylet and agents of a local Ray
START_SECONDS = 25  # Ray, actors, MLflow


def predict(plan: Plan, policy: Policy) -> str:
    """A text of a few lines: what was resolved, seconds and memory of the run as measured on one group."""
    config = plan.config
    torch.set_num_threads(config.cluster.sampler_cpus)
    scorer, _ = plan.rewards.load(config, "cpu", plan.shared)
    learner = Learner(policy, config.objective, config.optimizer)
    request = plan.rollout_requests(0)[0]
    for _ in range(2):  # the first time pays for one-time set-up
        started = time.perf_counter()
        group = policy.sample(request)
        sampling = time.perf_counter() - started
        (rewards,) = Composer(config.reward.parsed()).total([scorer(plan.rewards.subjects(group))])
        started = time.perf_counter()
        learner.update([ScoredGroup(group, rewards)], config.rollout.trained_samples)
        updating = time.perf_counter() - started
    groups, samplers = config.rollout.prompts_per_iteration, config.cluster.samplers
    iteration = (sampling + updating) * -(-groups // samplers)
    examined = sum(request.group_size for request in plan.heldout_requests() + plan.trained_requests())
    evaluating = 2 * sampling / len(group) * examined / samplers
    total = START_SECONDS + iteration * config.iterations + evaluating
    process_mb = peak_memory() / 2**20
    rollout_mb = groups * sum(array.nbytes for array in (*group.actions.values(), group.outputs)) / 2**20
    processes = samplers + config.cluster.reward_actors + 2
    memory_gb = (RAY_BASE_MB + process_mb * processes + 2 * rollout_mb) / 1024
    trainable = sum(parameter.numel() for parameter in policy.parameters())
    return "\n".join([
        f"model      {plan.family.describe(config, policy)}, {trainable:,} trained parameters, passes in {config.cluster.precision}",
        f"prompts    {plan.prompts} for training ({len(plan.training)} of them in this run), {len(plan.heldout)} held out",
        f"iteration  {groups} prompts x {config.rollout.group_size} samples: about {iteration:.1f} s"
        f" (a group takes {sampling:.2f} s to sample and {updating:.2f} s for its gradient here)",
        f"run        {config.iterations} iterations and two evaluations of {examined} samples: about {total / 60:.1f} min",
        f"memory     about {memory_gb:.1f} GB over {processes} processes; an iteration's rollout is {rollout_mb:.0f} MB",
        "dry run: everything resolves; nothing was started",
    ])  # fmt: skip
