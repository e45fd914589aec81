"""`python -m benchmarks.torture.slow_disk ...`: learner.main on a disk that takes its time, so that a kill can be aimed into a save."""

import os
import sys
import time

from learner.main import main

SECONDS = 0.3  # of one fsync

if __name__ == "__main__":
    fsync = os.fsync

    def slow(handle) -> None:
        time.sleep(SECONDS)
        fsync(handle)

    os.fsync = slow
    sys.exit(main(sys.argv[1:]))
