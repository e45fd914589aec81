"""`python -m rollout.sample`: see `rollout/motion/sample.py`."""

import sys

from rollout.motion.sample import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
