"""`python -m rollout.export`: see `rollout/motion/export.py`."""

import sys

from rollout.motion.export import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
