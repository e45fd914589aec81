"""Runs of the training command, one after another, and what their summaries say."""

import json
import subprocess
import sys
from pathlib import Path


def train(run_dir: Path, flags: list[str]) -> tuple[dict, list[dict]]:
    """Runs `python -m learner.main` into `run_dir` (or reads it when it is already there): summary and metrics rows, which those of
    `--seeds` have in folders of their own."""
    if not (run_dir / "summary.json").exists():
        subprocess.run([sys.executable, "-m", "learner.main", "--run_dir", str(run_dir), *flags], check=False)
    rows = [json.loads(line) for file in run_dir.glob("metrics.jsonl") for line in file.read_text().splitlines()]
    return json.loads((run_dir / "summary.json").read_text()), rows


def shown(entry: dict) -> str:
    return f"{entry['mean']:+.4f} ± {entry['ci95']:.4f}"
