"""`python -m learner.evaluate`: real motion, the base model and adapters side by side, by the official protocol."""

import sys

from learner.config.parse import parse_config
from learner.evaluate.settings import EvaluateConfig
from rollout.io.command import exit_code

DESCRIPTION = "Evaluate a text-to-motion model, with and without adapters, by the official HumanML3D protocol."
EPILOG = """\
examples:
  python -m learner.evaluate --quick                                  the shipped model, in minutes
  python -m learner.evaluate --adapter runs/A/adapter --adapter tuned=runs/B/adapter
  python -m learner.evaluate --data HumanML3D --model.path DIR --model.frames 196 --model.steps ""

exit status: 0 finished, 2 bad input (one line says which), 143 stopped by SIGTERM, SIGHUP or Ctrl-C, 1 anything else."""


def run(config: EvaluateConfig) -> str:
    from learner.evaluate.run import run  # with torch and Ray, which take seconds to import: only once the settings are good

    return run(config)


def main(argv: list[str]) -> int:
    return exit_code(lambda: run(parse_config(argv, EvaluateConfig, "learner.evaluate", DESCRIPTION, EPILOG)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
