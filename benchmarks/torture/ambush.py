"""What is laid into a living actor: it signals itself in the middle of a phase, which no signal from outside hits for certain.

Each function of `PHASES` is given the actor's object and `strike`, and runs in the actor's process.
"""

import os
import sys
import time
from pathlib import Path

from learner.gradient import Partial
from rollout.motion.diffusion_policy import MotionDiffusionPolicy
from rollout.policy import Group


def strike(mark: str, number: int) -> None:
    """Writes its process id to the file `mark` and signals itself; not a second time, in whatever process, once that is there."""
    try:
        with open(mark, "x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return
    os.kill(os.getpid(), number)


def after(holder, name: str, struck) -> None:
    """`holder.name` does its work and is struck before it returns."""
    real = getattr(holder, name)

    def then(*arguments, **named):
        value = real(*arguments, **named)
        struck()
        return value

    setattr(holder, name, then)


def loading_its_model(actor, struck) -> None:
    after(MotionDiffusionPolicy, "train_part_of", struck)  # checkpoint read, adapter made, nothing returned


def loading_the_adapter(actor, struck) -> None:
    after(actor.policy, "load_adapter", struck)  # loaded, and not acknowledged


def sampling(actor, struck) -> None:
    denoise = actor.policy._denoise

    def interrupted(*arguments):
        for i, step in enumerate(denoise(*arguments)):
            if i == 5:  # of 10 denoising steps
                struck()
            yield step

    actor.policy._denoise = interrupted


def returning(actor, struck, what: type = Group) -> None:
    reduce = what.__reduce_ex__

    def serialised(made, protocol):
        struck()
        return reduce(made, protocol)

    what.__reduce_ex__ = serialised


def returning_a_gradient(actor, struck) -> None:
    returning(actor, struck, Partial)


def scoring(actor, struck) -> None:
    after(type(actor.scorer), "__call__", struck)


def recompute(actor, struck, step: int = 3) -> None:
    calls = []
    score = actor.policy.score_step  # of motion: one denoising step of a group

    def interrupted(*arguments, **named):
        calls.append(None)
        if len(calls) == step:  # some gradients are added up
            struck()
        return score(*arguments, **named)

    actor.policy.score_step = interrupted


def witness(actor, struck) -> None:
    recompute(actor, struck, 1)


def optimizer_step(actor, struck) -> None:
    after(actor.learner.optimizer, "step", struck)  # its weights are new, its version is not


PHASES = {
    "loading its model": loading_its_model, "loading the adapter": loading_the_adapter, "sampling": sampling,
    "returning": returning, "scoring": scoring, "gradient": recompute, "returning a gradient": returning_a_gradient, "witness": witness,
    "optimizer step": optimizer_step,
}  # fmt: skip


def lay(actor, phase: str, mark: str, number: int) -> None:
    """The actor signals itself the first time it comes to `phase`, unless another one did."""
    PHASES[phase](actor, lambda: strike(mark, number))


def lay_for_ever(actor, words: str) -> None:
    """The actor says `words` and ends itself whenever it loads its model."""

    def dies():
        print(words, file=sys.stderr, flush=True)
        os._exit(1)

    loading_its_model(actor, dies)


def hold(actor, mark: str, seconds: float) -> None:
    """The actor tells in file `mark` that it is in the middle of sampling, and stays there."""

    def wait():
        if not Path(mark).exists():
            Path(mark).write_text(str(os.getpid()))
            time.sleep(seconds)

    sampling(actor, wait)


def record(actor, folder: str) -> None:
    """What this sampler is asked, in the order it happens, in a file of its own: `holds <digest>` once it has acknowledged,
    `samples <digest held>`."""
    load, sample = MotionDiffusionPolicy.load_adapter, MotionDiffusionPolicy.sample

    def told(line: str) -> None:
        with open(Path(folder) / str(os.getpid()), "a") as file:
            file.write(f"{line}\n")

    def loads(policy, adapter):
        held = load(policy, adapter)
        told(f"holds {held}")
        return held

    def samples(policy, request):
        told(f"samples {policy.loaded[1]}")
        return sample(policy, request)

    MotionDiffusionPolicy.load_adapter, MotionDiffusionPolicy.sample = loads, samples
