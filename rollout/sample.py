"""`python -m rollout.sample --prompts FILE --out DIR`: motions of the base model, or of the model with an adapter."""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np

from rollout.errors import InputError
from rollout.motion.adapter_folder import load_policy
from rollout.motion.bvh import write_bvh
from rollout.motion.features import features_to_joints
from rollout.motion.policy import SHIPPED_MODEL, MotionPolicySettings
from rollout.motion.pictures import motions_gif
from rollout.policy import Request
from rollout.prompts import read_prompts

PICTURED = 12  # motions in the GIF; all of them are saved


class Parser(argparse.ArgumentParser):
    """argparse that raises our one line instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message.removeprefix("argument "))


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m rollout.sample", description=__doc__, allow_abbrev=False)
    new_folder = "a new folder: NNN.joints.npy, NNN.features.npy, NNN.bvh, prompts.json, motions.gif"
    flags = {
        "prompts": dict(required=True, metavar="FILE", help="one prompt a line, optionally a tab and its frames; or a HumanML3D folder"),
        "out": dict(required=True, type=Path, metavar="DIR", help=new_folder),
        "adapter": dict(type=Path, metavar="DIR", help="adapter/ of a run; without it the base model samples"),
        "model": dict(type=Path, default=SHIPPED_MODEL, metavar="DIR", help="base model (default: the shipped one)"),
        "frames": dict(type=int, default=40, help="longest motion, at 20 frames a second (default: %(default)s)"),
        "steps": dict(default="10", help="respacing of the diffusion schedule (default: %(default)s)"),
        "guidance": dict(type=float, default=2.5, help="scale of classifier-free guidance (default: %(default)s)"),
        "samples": dict(type=int, default=1, help="motions of each prompt (default: %(default)s)"),
        "seed": dict(type=int, default=0, help="the same seed gives the same motions (default: %(default)s)"),
    }
    for name, options in flags.items():
        parser.add_argument(f"--{name}", **options)
    try:
        args = parser.parse_args(argv)
        sample(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"motions in {args.out}")
    return 0


def sample(args: argparse.Namespace) -> None:
    """Writes the motions of every prompt; nothing is written before all input has been found good."""
    for name, least in (("samples", 1), ("frames", 2), ("seed", 0), ("guidance", 0)):
        if not least <= getattr(args, name) < math.inf:
            raise InputError(f"--{name}: found {getattr(args, name)}, expected at least {least}")
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise InputError(f"--out: {args.out} is {'not empty' if args.out.is_dir() else 'a file'}, expected a new folder")
    settings = MotionPolicySettings(path=args.model, frames=args.frames, respacing=args.steps, guidance=args.guidance)
    prompts = read_prompts(args.prompts, args.frames)
    policy = load_policy(settings, args.adapter)
    conditionings = policy.prepare(prompts)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out: cannot write in {args.out} ({error.strerror})") from None
    index, pictured = [], []
    for i, conditioning in enumerate(conditionings):
        text = conditioning.prompt.text
        group = policy.sample(Request(conditioning, args.samples, (args.seed, i), 0))
        for features, length in zip(group.outputs, group.lengths):
            joints = features_to_joints(features[:length])
            name = f"{len(index):03d}"
            np.save(args.out / f"{name}.features.npy", features[:length])
            np.save(args.out / f"{name}.joints.npy", joints)
            if np.isfinite(joints).all():  # a policy that blew up has no angles, but the rest of its files
                write_bvh(args.out / f"{name}.bvh", joints)
            index.append({"motion": name, "prompt": text, "frames": int(length)})
            pictured.append((text, joints))
        print(f"prompt {i + 1}/{len(conditionings)}: {text}", flush=True)
    (args.out / "prompts.json").write_text(json.dumps(index, indent=1))
    motions_gif(args.out / "motions.gif", pictured[:PICTURED])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
