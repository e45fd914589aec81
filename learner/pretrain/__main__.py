"""`python -m learner.pretrain --data FILE`: trains everything that ships with the project, and writes its model card."""

import argparse
import json
import sys
from pathlib import Path

from rollout.io.command import Parser, exit_code
from rollout.io.errors import InputError

PARTS = ("mdm", "tmr", "t2m", "joints", "essential", "prompts", "physics", "card")
LANGUAGE_PARTS = ("people", "items", "points", "points_items", "card")
DRAWN = ("points", "points_items", "card")  # of these, need no data
UNEVEN = "walk_uneven"  # walks on a floor that is not a plane: nothing to learn where feet should be


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m learner.pretrain", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="FILE", help="Parquet of captioned motions (clip_id, split, captions, joints ...); points need none")
    parser.add_argument("--out", default=Path("."), type=Path, metavar="DIR", help="project root to write rollout/assets and rewards/assets under (default: here)")
    parser.add_argument("--family", choices=("motion", "language"), default="motion", help="whose models (default: %(default)s)")
    parser.add_argument("--parts", help=f"what to make, in this order (default: {','.join(PARTS)}; language: {','.join(LANGUAGE_PARTS)})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=40, help="longest motion of the shipped prompts (default: %(default)s)")
    parser.add_argument("--mdm_steps", type=int, default=8000, help="length of the learning-rate schedule (default: %(default)s)")
    parser.add_argument("--mdm_stop", type=int, default=5000, help="step to stop at (default: %(default)s)")
    parser.add_argument("--tmr_steps", type=int, default=1600)
    parser.add_argument("--t2m_steps", type=int, default=1600)
    parser.add_argument("--joints_steps", type=int, default=1500, help="of the part joints, and of essential (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    return exit_code(lambda: run(parser.parse_args(argv), "python -m learner.pretrain " + " ".join(argv)))


def run(args: argparse.Namespace, command: str) -> str:
    known = PARTS if args.family == "motion" else LANGUAGE_PARTS
    parts = args.parts.split(",") if args.parts else known
    if odd := [part for part in parts if part not in known]:
        raise InputError(f"--parts: found {odd[0]!r}, expected some of {', '.join(known)}")
    if args.data is None and (args.family == "motion" or {*parts} - {*DRAWN}):
        raise InputError("--data: found none, expected a Parquet file of captioned motions")
    if args.family == "language":
        from learner.pretrain.language.make import make

        make(args.data, args.out, parts, args.seed, args.threads, command)
        return "finished"
    # torch and all that needs it take seconds to import: only once the flags are good.
    import torch

    from learner.pretrain.card import write_card
    from learner.pretrain.evaluators import of_split, train_t2m, train_tmr
    from learner.pretrain.mdm import MDMTraining, train_mdm
    from learner.pretrain.physics import write_real_physics
    from learner.pretrain.prompts import split_prompts, write_prompts, write_real_motion
    from rollout.motion.dataset import clip_features, read_clips
    from rollout.motion.prompts import read_prompts

    torch.set_num_threads(args.threads)
    clips = read_clips(args.data)
    features = clip_features(clips)
    flat = [(c, f) for c, f in zip(clips, features) if c.action != UNEVEN]
    flat = [c for c, _ in flat], [f for _, f in flat]
    for part in parts:
        if part == "mdm":
            folder = args.out / "rollout" / "assets" / "mdm"
            folder.mkdir(parents=True, exist_ok=True)
            report = train_mdm(of_split(*flat, "train"), of_split(*flat, "val"), folder, args.seed, MDMTraining(steps=args.mdm_steps, stop=args.mdm_stop))
            (folder / "metrics.json").write_text(json.dumps({"command": command, "seed": args.seed, **report}, indent=1))
        elif part == "tmr":
            train_tmr(clips, features, args.out / "rewards" / "assets" / "tmr", args.seed + 11, args.tmr_steps, command)
        elif part in ("joints", "essential"):
            train_tmr(clips, features, args.out / "rewards" / "assets" / part, args.seed + 13, args.joints_steps, command, part)
        elif part == "t2m":
            train_t2m(clips, features, args.out / "rewards" / "assets" / "t2m", args.seed + 12, args.t2m_steps, command)
        elif part == "prompts":
            write_prompts(args.out, split_prompts(clips, args.frames, args.seed))
            heldout = read_prompts(args.out / "rollout" / "assets" / "heldout_prompts.json", args.frames)
            write_real_motion(args.out, *flat, heldout)
        elif part == "physics":
            write_real_physics(args.out, *flat, args.frames, args.data.name)
        else:
            write_card(args.out, *flat)
    return "finished"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
