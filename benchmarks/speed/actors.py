"""c, d, e, g: pools of real Ray actors, of the motion family and of one whose stages only sleep."""

import contextlib
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import ray

from benchmarks.speed.models import Size
from benchmarks.speed.side_by_side import medians
from cluster.training_pool import TrainingPool
from learner.config.parse import parse_config
from rewards import family as reward_families
from rewards.family import rewards_of
from rollout import family as families
from rollout.adapter import Adapter
from rollout.motion.family import MOTION
from rollout.policy import Request
from tests.learner.toy import LinearPolicy

TOY = {"toy": ("tests.toy_family:TOY", "tests.toy_family:REWARDS", "tests.toy_family:SECTIONS")}
STAGE_S = 0.2


class Sleeping(LinearPolicy):
    """A policy whose samples and gradients take exactly so long, whatever else the machine does."""

    def sample(self, request: Request):
        time.sleep(STAGE_S)
        return super().sample(request)

    def score(self, group, reference=frozenset(), only=None):
        if only is None:  # a witness is free: it has a machine of its own where these stand for GPUs
            time.sleep(STAGE_S)
        return super().score(group, reference, only)


@contextlib.contextmanager
def own_ray(cpus: int) -> Iterator[None]:
    """A Ray that believes it has so many CPUs."""
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        ray.init(address="local", num_cpus=cpus, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level="error", _temp_dir=folder)
        try:
            yield
        finally:
            ray.shutdown()


def end(pool: TrainingPool) -> None:
    for actor in [*(sampler.actor for sampler in pool.samplers.all), *pool.scorers.actors, pool.learner.actor]:
        ray.kill(actor)


def iterate(pool: TrainingPool, requests: list[Request]) -> None:
    """One iteration as the loop makes it."""
    pool.publish(pool.update(pool.launch(requests).result()).adapter)


def motion_pool(size: Size, samplers: int, *flags: str) -> TrainingPool:
    model = ["--model.frames", str(size.model.frames), "--model.steps", size.model.steps]
    path = ["--model.path", size.model.path] if size.model.path else []
    config = parse_config([*model, *path, "--cluster.samplers", str(samplers), "--reward.components.calm.path", "jerk", *flags])
    pool = TrainingPool(config, MOTION.build(config), rewards_of("motion"), {})
    pool.publish(pool.adapter())
    return pool


def sleeping_pool(samplers: int) -> tuple[TrainingPool, list[Request]]:
    """And requests, one for each sampler and stage."""
    for name, (family, rewards, sections) in TOY.items():
        families.FAMILIES[name], reward_families.FAMILIES[name], reward_families.SECTIONS[name] = family, rewards, sections
    config = parse_config(["--family", "toy", "--cluster.samplers", str(samplers)])
    pool = TrainingPool(config, Sleeping, rewards_of("toy"), {})
    pool.publish(pool.adapter())
    toy = families.family("toy")
    prompts = toy.prepare(toy.read("training"))
    return pool, [Request(prompts[i % len(prompts)], 8, (0, i), 1) for i in range(4 * samplers)]


@ray.remote(num_cpus=1)
class Bare:
    """What a loop without any of ours would call."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def work(self, *given) -> int:
        time.sleep(self.seconds)
        return 0


def driver(rounds: int) -> dict[str, float]:
    """c: an iteration whose stages sleep, beside bare Ray actors that make the same calls: as many groups, scored, differentiated,
    one step, one broadcast."""
    with own_ray(6):
        pool, requests = sleeping_pool(2)
        workers, quick = [Bare.remote(STAGE_S) for _ in range(2)], [Bare.options(num_cpus=0).remote(0.0) for _ in range(2)]

        def bare() -> None:
            adapter = ray.put(np.zeros(24, np.float32))
            made = [workers[i % 2].work.remote(adapter) for i in range(len(requests))]
            ray.get([quick[0].work.remote(each) for each in made])
            gradients = [workers[i % 2].work.remote(made[i]) for i in range(len(requests))]
            ray.get(quick[1].work.remote(*gradients))
            ray.get([worker.work.remote(adapter) for worker in quick])

        found = medians({"ours": lambda: iterate(pool, requests), "bare Ray": bare}, rounds)
        end(pool)
    return found | {"stages": 2 * STAGE_S * len(requests) / 2, "ratio": found["ours"] / found["bare Ray"]}


def publishing(size: Size, ranks: tuple[int, ...], samplers: tuple[int, ...], rounds: int) -> dict[str, float]:
    """d: milliseconds from the adapter to the last acknowledgement, by "r x samplers", beside a copy of its memory."""
    found = {}
    with own_ray(max(samplers) + 1):
        for count in samplers:
            for rank in ranks if count == 4 else (8,):
                pool = motion_pool(size, count, "--lora.r", str(rank))
                adapter = pool.adapter()
                versions = iter(range(1, rounds + 3))

                def publish() -> None:
                    pool.publish(Adapter(next(versions), adapter.buffer, adapter.index, adapter.sha256))

                timed = medians({"publish": publish, "copy": adapter.buffer.copy}, rounds)
                found[f"r {rank} x {count}"] = 1000 * timed["publish"]
                found[f"copy of r {rank}"] = 1000 * timed["copy"]
                end(pool)
    return found


def scaling_of_sleeping(counts: tuple[int, ...], rounds: int) -> dict[str, float]:
    """g: efficiency of N samplers with N times the groups, update included, against one."""
    seconds = {}
    for count in counts:
        with own_ray(count + 1):
            pool, requests = sleeping_pool(count)
            seconds[count] = medians({"iteration": lambda: iterate(pool, requests)}, rounds)["iteration"]
            end(pool)
    return {f"{count} samplers": seconds[counts[0]] / seconds[count] for count in counts}


def scaling_of_motion(size: Size, counts: tuple[int, ...], groups: int, rounds: int) -> dict[str, float]:
    """g: seconds of the rollout, and of the update, of real groups by samplers."""
    found = {}
    with own_ray(max(counts) + 1):
        for count in counts:
            pool, requests = motion_pool(size, count), size.requests(groups)
            state = pool.state

            def rolled() -> None:
                pool.restore(state)
                pool.publish(pool.adapter())
                pool.rollout = pool.launch(requests).result()

            timed = medians({"rollout": rolled, "update": lambda: pool.update(pool.rollout)}, rounds)
            found |= {f"{name}, {count}": seconds for name, seconds in timed.items()}
            end(pool)
    return found


def whole(size: Size, plain, groups: int, samplers: int, rounds: int) -> dict[str, float]:
    """e: samples a second of an iteration, ours on so many samplers and the plain loop's in this process."""
    with own_ray(samplers + 1):
        pool, requests = motion_pool(size, samplers), size.requests(groups)
        found = medians({"ours": lambda: iterate(pool, requests), "plain": lambda: plain.iteration(requests)}, rounds)
        end(pool)
    samples = groups * size.group
    return {name: samples / seconds for name, seconds in found.items()} | {"ratio": found["plain"] / found["ours"]}
