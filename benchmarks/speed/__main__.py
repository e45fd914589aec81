"""How near to the hardware: `python -m benchmarks.speed --out DIR [--letters abcdefg] [--rounds 5]`.

Every letter is a ratio of things measured in turns in this one run, the median of --rounds (2 at official size); a target says what is asked.
Writes DIR/table.md and DIR/speed.json. h, the held-out reward by minute of each objective, is `python -m benchmarks.objectives`.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import torch

from benchmarks.speed import actors, memory, passes
from benchmarks.speed.models import demo, official
from benchmarks.speed.plain_loop import PlainLoop

LARGE = 2  # rounds at official size


def sampler(rounds: int) -> dict:
    found = {"demo": passes.of_sampling(demo(), rounds), "official": passes.of_sampling(official(), min(rounds, LARGE))}
    return judged("sampler / the cheapest passes", max(each["ratio"] for each in found.values()), "<=", 1.05, found)


def gradient(rounds: int) -> dict:
    found = {"demo": passes.of_gradient(demo(), rounds), "official": passes.of_gradient(official(), min(rounds, LARGE))}
    return judged("gradient / the cheapest forward and backward", max(each["ratio"] for each in found.values()), "<=", 1.05, found)


def driver(rounds: int) -> dict:
    found = actors.driver(rounds)
    return judged("iteration of sleeping stages / bare Ray", found["ratio"], "<=", 1.3, found)


def publishing(rounds: int) -> dict:
    found = actors.publishing(demo(), (4, 8, 64), (1, 4, 8), max(rounds, 9))
    return judged("ms from an adapter to all acknowledgements, r 8, 4 samplers", found["r 8 x 4"], "<=", 60, found)


def whole(rounds: int) -> dict:
    """The plain loop has both cores, and we have two samplers of one."""
    torch.set_num_threads(os.cpu_count())
    small, large = demo(), official()
    found = {
        "demo": actors.whole(small, PlainLoop(small), 4, 2, rounds), "official": actors.whole(large, PlainLoop(large), 2, 2, min(rounds, LARGE)),
    }  # fmt: skip
    torch.set_num_threads(1)
    return judged("samples a second / the plain loop's, demo size", found["demo"]["ratio"], ">=", 8, found)


def growth(rounds: int) -> dict:
    found = memory.growth()
    base = found["16 x 5 x 40 x 1"]
    return judged("MB of 4 groups / of 1", found["16 x 5 x 40 x 4"] / base, "<=", 4, found)


def scaling(rounds: int) -> dict:
    sleeping = actors.scaling_of_sleeping((1, 4, 16), 3)
    found = {"sleeping": sleeping, "motion": actors.scaling_of_motion(demo(), (1, 2), 8, rounds)}
    found["update of 2 / of 1"] = found["motion"]["update, 1"] / found["motion"]["update, 2"]
    return judged("weak scaling to 16 samplers, update included", sleeping["16 samplers"], ">=", 0.95, found)


LETTERS = {"a": sampler, "b": gradient, "c": driver, "d": publishing, "e": whole, "f": growth, "g": scaling}


def judged(what: str, figure: float, sign: str, target: float, details: dict) -> dict:
    return {"what": what, "figure": figure, "target": f"{sign} {target}", "met": figure <= target if sign == "<=" else figure >= target, "details": details}


def shown(details: dict) -> str:
    return "; ".join(f"{name}: {shown(value) if isinstance(value, dict) else f'{value:.3g}'}" for name, value in details.items())


def write(out: Path, found: dict[str, dict], argv: list[str]) -> None:
    """What there is so far."""
    lines = [
        f"`python -m benchmarks.speed {' '.join(argv)}` ({time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {platform.machine()})", "",
        "| | what | figure | target | met | details |", "|---|---|---|---|---|---|",
        *(
            f"| {letter} | {row['what']} | {row['figure']:.3g} | {row['target']} | {'yes' if row['met'] else 'no'} | {shown(row['details'])} |"
            for letter, row in found.items()
        ),
    ]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text("\n".join(lines) + "\n")
    (out / "speed.json").write_text(json.dumps(found, indent=1) + "\n")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--letters", default="".join(LETTERS))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    found = {}
    for letter in args.letters:
        started = time.perf_counter()
        command = f"python -m benchmarks.speed --out DIR --letters {letter} --rounds {args.rounds}"
        found[letter] = LETTERS[letter](args.rounds) | {"command": command}
        print(f"{letter} {found[letter]['what']}: {found[letter]['figure']:.3g} ({found[letter]['target']}), {time.perf_counter() - started:.0f} s", flush=True)
        write(args.out, found, argv)


if __name__ == "__main__":
    main(sys.argv[1:])
