"""`python -m rollout.sample --prompts FILE --out DIR`: motions of the base model, or of the model with an adapter."""

import argparse
import json
from pathlib import Path

import numpy as np

from rollout.io.command import Parser, exit_code
from rollout.io.errors import InputError
from rollout.motion.model_flags import SAMPLED, add_model_flags, model_of

PICTURED = 12  # motions in the GIF; all of them are saved


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m rollout.sample", description=__doc__, allow_abbrev=False)
    new_folder = "a new folder: NNN.joints.npy, NNN.features.npy, NNN.bvh, prompts.json, motions.gif"
    flags = {
        "prompts": dict(required=True, metavar="FILE", help="one prompt a line, then a tab and its frames if stated; or a data set's folder"),
        "out": dict(required=True, type=Path, metavar="DIR", help=new_folder),
        "adapter": dict(type=Path, metavar="DIR", help="adapter/ of a run; without it the base model samples"),
        "samples": dict(type=int, default=1, help="motions of each prompt (default: %(default)s)"),
        "seed": dict(type=int, default=0, help="the same seed gives the same motions (default: %(default)s)"),
    }
    for name, options in flags.items():
        parser.add_argument(f"--{name}", **options)
    add_model_flags(parser, *SAMPLED)

    def run() -> str:
        args = parser.parse_args(argv)
        sample(args)
        print(f"motions in {args.out}")
        return "finished"

    return exit_code(run)


def sample(args: argparse.Namespace) -> None:
    """Writes the motions of every prompt; nothing is written before all input has been found good."""
    for name, least in (("samples", 1), ("seed", 0)):
        if getattr(args, name) < least:
            raise InputError(f"--{name}: found {getattr(args, name)}, expected at least {least}")
    model = model_of(args)
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise InputError(f"--out: {args.out} is {'not empty' if args.out.is_dir() else 'a file'}, expected a new folder")
    # torch and all that needs it take seconds to import: only once the flags are good.
    from rollout.motion.adapter_folder import load_policy
    from rollout.motion.bvh import write_bvh
    from rollout.motion.diffusion_policy import MotionPolicySettings
    from rollout.motion.features import features_to_joints
    from rollout.motion.pictures import motions_gif
    from rollout.motion.prepare import MotionPreparer
    from rollout.policy import Request

    preparer = MotionPreparer(model)
    preparer.require_prefix("--prefix")
    if preparer.prefix is not None:  # as many windows as the frames take
        model = model.replace(windows=-(-model.frames // preparer.frames))
        preparer = MotionPreparer(model)
    prompts = preparer.read(args.prompts)
    policy = load_policy(MotionPolicySettings(model), args.adapter)
    conditionings = preparer.prepare(prompts)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out: cannot write in {args.out} ({error.strerror})") from None
    index, pictured = [], []
    for i, conditioning in enumerate(conditionings):
        text = conditioning.prompt.text
        length = conditioning.prompt.length
        motions = policy.sample(Request(conditioning, args.samples, (args.seed, i), 0)).outputs[:, :length]
        for features in motions:
            joints = features_to_joints(features)
            name = f"{len(index):03d}"
            np.save(args.out / f"{name}.features.npy", features)
            np.save(args.out / f"{name}.joints.npy", joints)
            if np.isfinite(joints).all():  # a policy that blew up has no angles, but the rest of its files
                write_bvh(args.out / f"{name}.bvh", joints)
            index.append({"motion": name, "prompt": text, "frames": length})
            pictured.append((text, joints))
        print(f"prompt {i + 1}/{len(conditionings)}: {text}", flush=True)
    (args.out / "prompts.json").write_text(json.dumps(index, indent=1))
    motions_gif(args.out / "motions.gif", pictured[:PICTURED])
