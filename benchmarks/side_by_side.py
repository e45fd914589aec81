"""Seeds side by side: `python -m benchmarks.side_by_side --out DIR [--seeds 0,1,2,3] [--rounds 3] [flags of learner.main]`.

In turns the first seed alone and all of them in one run, from the start of the command to its end. Says how many times as long as one
they take, and whether every adapter is the one of its run alone. Writes DIR/table.md.
"""

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.runs import train


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seeds", default="0,1,2,3")
    parser.add_argument("--rounds", type=int, default=3)
    args, flags = parser.parse_known_args(argv)
    seeds, seconds, adapters = args.seeds.split(","), {"alone": [], "together": []}, set()
    args.out.mkdir(parents=True, exist_ok=True)
    for round_ in range(args.rounds):
        for way, own in {"alone": ["--seed", seeds[0]], "together": ["--seeds", args.seeds]}.items():
            started = time.monotonic()
            summary, _ = train(args.out / f"{round_}-{way}", [*own, *flags])
            seconds[way].append(time.monotonic() - started)
            adapters.add(summary["adapter_sha256"] if way == "alone" else summary["adapters"][seeds[0]])
    ratios = [together / alone for together, alone in zip(seconds["together"], seconds["alone"])]
    machine = f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {platform.machine()}"
    lines = [
        f"`python -m benchmarks.side_by_side {' '.join(argv)}` ({machine})", "",
        "| | seconds, median of the rounds | lowest to highest |", "|---|---|---|",
        *(f"| {way} | {median(found):.0f} | {min(found):.0f} to {max(found):.0f} |" for way, found in seconds.items()), "",
        f"{len(seeds)} seeds take {median(ratios):.2f} times as long as one ({min(ratios):.2f} to {max(ratios):.2f}, round by round). "
        f"The first seed's adapter is {'the same in all runs' if len(adapters) == 1 else f'{len(adapters)} different ones'}.",
    ]  # fmt: skip
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
