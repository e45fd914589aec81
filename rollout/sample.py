"""`python -m rollout.sample --prompts FILE --out DIR`: motions of the base model, or of the model with an adapter."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from rollout.errors import InputError
from rollout.motion.adapter_folder import load_policy
from rollout.motion.features import features_to_joints
from rollout.motion.policy import SHIPPED_MODEL, MotionPolicySettings
from rollout.motion.pictures import motions_gif
from rollout.policy import Request
from rollout.prompts import read_prompts

PICTURED = 12  # motions in the GIF; all of them are saved


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m rollout.sample", description=__doc__)
    parser.add_argument("--prompts", required=True, metavar="FILE", help="one prompt a line, optionally a tab and a length in frames")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder: NNN.joints.npy, NNN.features.npy, prompts.json, motions.gif")
    parser.add_argument("--adapter", type=Path, metavar="DIR", help="adapter/ of a run; without it the base model samples")
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, metavar="DIR", help="checkpoint of the base model (default: the shipped one)")
    parser.add_argument("--frames", type=int, default=40, help="longest motion, at 20 frames a second (default: %(default)s)")
    parser.add_argument("--steps", default="10", help="respacing of the diffusion schedule (default: %(default)s)")
    parser.add_argument("--guidance", type=float, default=2.5, help="scale of classifier-free guidance (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=1, help="motions of each prompt (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same motions (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        sample(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"motions in {args.out}")
    return 0


def sample(args: argparse.Namespace) -> None:
    if args.out.exists() and any(args.out.iterdir()):
        raise InputError(f"--out: {args.out} is not empty, expected a new folder")
    if args.samples < 1 or args.frames < 2:
        raise InputError(f"--samples {args.samples} --frames {args.frames}: expected at least 1 and 2")
    settings = MotionPolicySettings(path=args.model, frames=args.frames, respacing=args.steps, guidance=args.guidance)
    policy = load_policy(settings, args.adapter)
    conditionings = policy.prepare(read_prompts(args.prompts, args.frames))
    index, pictured = [], []
    args.out.mkdir(parents=True, exist_ok=True)
    for i, conditioning in enumerate(conditionings):
        group = policy.sample(Request(conditioning, args.samples, (args.seed, i), 0))
        for features, length in zip(group.outputs, group.lengths):
            joints = features_to_joints(features[:length])
            name = f"{len(index):03d}"
            np.save(args.out / f"{name}.features.npy", features[:length])
            np.save(args.out / f"{name}.joints.npy", joints)
            index.append({"motion": name, "prompt": conditioning.prompt.text, "frames": int(length)})
            pictured.append((conditioning.prompt.text, joints))
        print(f"prompt {i + 1}/{len(conditionings)}: {conditioning.prompt.text}", flush=True)
    (args.out / "prompts.json").write_text(json.dumps(index, indent=1))
    motions_gif(args.out / "motions.gif", pictured[:PICTURED])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
