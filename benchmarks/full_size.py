"""One real iteration at official sizes: `python -m benchmarks.full_size --out DIR [flags of learner.main]`.

Writes random weights in the official formats (benchmarks/official_files.py), trains one iteration on them with the original's
flags, and prints time by stage and peak memory by process. Writes both to DIR/table.md.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.official_files import write_all

EVERY_S = 0.5
KINDS = {
    "ray::SamplerActor": "sampler", "ray::RewardActor": "reward", "ray::LearnerActor": "learner", "learner.main": "driver",
    "raylet": "Ray itself", "gcs_server": "Ray itself",
}  # fmt: skip


def peaks(run: subprocess.Popen) -> dict[str, float]:
    """Highest resident MB of each kind of process while `run` lasts, the largest where a kind has several."""
    highest = {}
    while run.poll() is None:
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                command = (status.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                kind = next((name for key, name in KINDS.items() if key in command and "benchmarks" not in command), None)
                if kind:
                    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
                    highest[kind] = max(highest.get(kind, 0), int(fields["VmHWM"].split()[0]) / 1024)
            except (OSError, KeyError):
                continue  # it has ended meanwhile
        time.sleep(EVERY_S)
    return highest


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    args, flags = parser.parse_known_args(argv)
    files = write_all(args.out / "files")
    humanml, weights = files / "dataset" / "HumanML3D", files / "tmr" / "last_weights"
    command = [
        sys.executable, "-m", "learner.main", "--run_dir", str(args.out / "run"), "--iterations", "1",
        "--model_path", str(files / "save" / "humanml_trans_enc_512"), "--model.text_encoder", str(files / "clip"), "--model.frames", "196",
        "--reward_model_type", "tmr", "--tmr_text_encoder_path", str(weights / "text_encoder.pt"),
        "--tmr_motion_encoder_path", str(weights / "motion_encoder.pt"), "--tmr_movement_encoder_path", str(weights / "motion_decoder.pt"),
        "--reward.tmr_stats", str(files / "tmr" / "stats"), "--reward.text_encoder", str(files / "distilbert"), "--reward.t2m_path", str(files),
        "--rollout.prompts", str(humanml), "--evaluate.heldout", str(humanml / "test.txt"), *flags,
    ]  # fmt: skip
    started = time.perf_counter()
    run = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    memory = peaks(run)
    if run.returncode:
        return run.returncode
    seconds = time.perf_counter() - started
    row = json.loads((args.out / "run" / "metrics.jsonl").read_text().splitlines()[0])
    summary = json.loads((args.out / "run" / "summary.json").read_text())
    stages = {name.removeprefix("seconds_"): value for name, value in row.items() if name.startswith("seconds_")}
    lines = [
        f"`python -m benchmarks.full_size {' '.join(argv)}` ({time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {platform.machine()})", "",
        "MDM trans_enc 512 x 8 (1000 steps, respaced), 196 frames, CLIP ViT-B/32 text tower; TMR 256 x 6 on DistilBERT; T2M 512. Random weights.", "",
        f"Whole command {seconds:.0f} s, status {summary['status']}, max_log_prob_gap {summary['max_log_prob_gap']}.", "",
        "| stage of the iteration | seconds |", "|---|---|", *(f"| {name} | {value:.1f} |" for name, value in stages.items()), "",
        "| process | peak memory, MB |", "|---|---|", *(f"| {name} | {value:.0f} |" for name, value in sorted(memory.items())),
    ]  # fmt: skip
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
