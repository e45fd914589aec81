"""All parts, one after another: `python -m benchmarks.torture --out DIR [--only kills,resumes,...] [--quick]`.

The head of each part says what it does.
"""

import argparse
import subprocess
import sys

PARTS = ("kills", "nodes", "resumes", "invariance", "disk_full", "soak")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", default=",".join(PARTS), help="some of the parts")
    parser.add_argument("--quick", action="store_true", help="a few cases of each, in minutes")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"--only: found {', '.join(sorted(unknown))}, expected some of {', '.join(PARTS)}")
    flags = ["--out", arguments.out, *(["--quick"] if arguments.quick else [])]
    ended = {name: subprocess.run([sys.executable, "-m", f"benchmarks.torture.{name}", *flags]).returncode for name in names}
    print("; ".join(f"{name}: {'FAILED' if code else 'held'}" for name, code in ended.items()))
    return int(any(ended.values()))


if __name__ == "__main__":
    sys.exit(main())
