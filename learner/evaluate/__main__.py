"""`python -m learner.evaluate`: the base model and adapters side by side, by the protocol of their family."""

import sys
from typing import Any

from learner.config.parse import parse_config
from learner.evaluate.family import settings_of
from rollout.io.command import exit_code

DESCRIPTION = """\
Evaluate a model, with and without adapters, side by side.
family motion: by the official protocol of HumanML3D and KIT-ML, beside real motion.
family language: on held-out questions as IntentBench scores them, on general ones so that forgetting shows, and on points."""
EPILOG = """\
examples:
  python -m learner.evaluate --quick                                  the shipped motion model, in minutes
  python -m learner.evaluate --adapter runs/A/adapter --adapter tuned=runs/B/adapter
  python -m learner.evaluate --data HumanML3D --model.path DIR --model.frames 196 --model.steps ""
  python -m learner.evaluate --adapter runs/A/adapter --prompts odd=odd.txt     further prompts, in rows of their own
  python -m learner.evaluate --family language --adapter runs/C/adapter     the shipped vision-language model
  python -m learner.evaluate --family language --model.path points --reward.components.points.path negative_points \\
    --reward.components.points.space 0-1000                           the shipped model of points
  python -m learner.evaluate --family language --help                 its settings
  python -m learner.evaluate --family language --data IntentBench/qa.json --media IntentBench/videos --general general.jsonl \\
    --model.path Qwen2.5-Omni-7B --cluster.precision bf16 --model.system tags --max_new_tokens 2048 --adapter runs/D/adapter

exit status: 0 finished, 2 bad input (one line says which), 143 stopped by SIGTERM, SIGHUP or Ctrl-C, 1 anything else."""


def run(config: Any) -> str:
    from learner.evaluate.run import run  # with torch and Ray, which take seconds to import: only once the settings are good

    return run(config)


def main(argv: list[str]) -> int:
    return exit_code(lambda: run(parse_config(argv, settings_of, "learner.evaluate", DESCRIPTION, EPILOG)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
