"""`python -m learner.report RUN`: one page that shows everything of a run, in a file that opens from disk."""

import argparse
import sys
from pathlib import Path

from learner.report.serve import server
from learner.report.votes import write_preferences
from learner.report.write import REPORT, write_report
from rollout.io.command import Parser, exit_code
from rollout.io.errors import InputError

DESCRIPTION = """\
Writes one HTML file that shows a run, finished, killed or going on: the verdict in words, the motions or answers base beside tuned,
every group with its rewards, every metric with its meaning, where the time went, and what the run was made from. It opens from disk
and asks no server for anything. Several runs, such as of several seeds, share a page. With --serve a run is shown while it trains:
how much of the iteration is in, who is slow, and who is stuck. It is shown on this machine alone, and nothing is written. With --votes
the votes of its blind comparison become preference data.

RUN is a run folder."""
EPILOG = """\
examples:
  python -m learner.report runs/20261120T192251Z-seed0
  python -m learner.report runs/seed0 runs/seed1 runs/seed2 --out seeds.html
  python -m learner.report runs/20261120T192251Z-seed0 --serve
  python -m learner.report runs/20261120T192251Z-seed0 --votes votes.json --out preferences.jsonl

exit status: 0 written, 143 stopped, 2 bad input (one line says which)"""


def main(argv: list[str]) -> int:
    parser = Parser(
        prog="python -m learner.report", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folder")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"where to write (default: {REPORT} in the folder of the only RUN)")
    parser.add_argument("--votes", type=Path, metavar="FILE", help="write what the votes that the page saved chose, and what they did not")
    parser.add_argument("--serve", action="store_true", help="show the only RUN while it trains, until Ctrl-C")
    parser.add_argument("--host", default="127.0.0.1", help="with --serve: address to listen on (default: %(default)s, this machine alone)")
    parser.add_argument("--port", type=int, default=0, help="with --serve: port (default: any that is free)")
    return exit_code(lambda: run(parser.parse_args(argv)))


def run(given: argparse.Namespace) -> str:
    if given.serve:
        return serve(given)
    if given.votes:
        return preferences(given)
    if given.out is None and len(given.runs) > 1:
        raise InputError(f"--out: not given, expected a file for the page of {len(given.runs)} runs")
    out = given.out or given.runs[0] / REPORT
    try:
        write_report(given.runs, out)
    except OSError as error:
        raise InputError(f"--out: cannot write {out} ({error.strerror})") from None
    print(f"{out} ({out.stat().st_size / 1e6:.1f} MB)")
    return "finished"


def preferences(given: argparse.Namespace) -> str:
    if len(given.runs) > 1 or given.out is None:
        found = "no --out" if given.out is None else f"{len(given.runs)} runs"
        raise InputError(f"--votes: found {found} beside it, expected one run and a file to write, such as --out preferences.jsonl")
    try:
        count = write_preferences(given.runs[0], given.votes, given.out)
    except OSError as error:
        raise InputError(f"--out: cannot write {given.out} ({error.strerror})") from None
    print(f"{given.out} ({count} preferences)")
    return "finished"


def serve(given: argparse.Namespace) -> str:
    """Until it is interrupted."""
    if len(given.runs) > 1 or given.out or given.votes:
        found = "--out" if given.out else "--votes" if given.votes else f"{len(given.runs)} runs"
        raise InputError(f"--serve: found {found} beside it, expected one run and no file")
    with server(given.runs[0], given.host, given.port) as listening:
        print(f"http://{given.host}:{listening.server_address[1]}/  (Ctrl-C ends it)", flush=True)
        listening.serve_forever()
    return "finished"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
