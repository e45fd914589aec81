"""`python -m rollout.export --adapter DIR --out DIR`: a tuned model as one official MDM checkpoint, adapter merged in."""

import argparse
import dataclasses
from pathlib import Path

from rollout.io.command import Parser, exit_code
from rollout.io.errors import InputError
from rollout.motion.model_flags import add_model_flags, model_of


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m rollout.export", description=__doc__, allow_abbrev=False)
    parser.add_argument("--adapter", type=Path, required=True, metavar="DIR", help="adapter/ of a run on that base model")
    add_model_flags(parser, "path", "stats")
    files = "a new folder: modelNNNNNNNNN.pt, args.json and what lies beside them"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=files)

    def run() -> str:
        print(f"checkpoint in {export(parser.parse_args(argv))}")
        return "finished"

    return exit_code(run)


def export(args: argparse.Namespace) -> Path:
    """Writes the checkpoint, under the step number of its base, and returns its `.pt` file; nothing before all input is good.

    The public MDM code loads it as any of its own; `--model` of our commands too.
    """
    model = model_of(args, frames=2, steps="", guidance=1.0)  # nothing is sampled: what every checkpoint allows
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise InputError(f"--out: {args.out} is {'not empty' if args.out.is_dir() else 'a file'}, expected a new folder")
    # torch takes seconds to import: only once the flags are good.
    from rollout.lora import merge
    from rollout.motion.adapter_folder import load_policy
    from rollout.motion.checkpoint import load_checkpoint, save_checkpoint, weights_file
    from rollout.motion.diffusion_policy import MotionPolicySettings

    policy = load_policy(MotionPolicySettings(model), args.adapter)
    step = "".join(character for character in weights_file(model.checkpoint).stem if character.isdigit())
    merge(policy.network)
    checkpoint = dataclasses.replace(load_checkpoint(model.checkpoint, model.stats), denoiser=policy.network)
    try:
        return save_checkpoint(args.out, int(step or 0), checkpoint)
    except OSError as error:
        raise InputError(f"--out: cannot write in {args.out} ({error.strerror})") from None
