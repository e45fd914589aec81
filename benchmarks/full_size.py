"""One real iteration at official sizes: `python -m benchmarks.full_size --out DIR [--kind KIND] [flags of learner.main]`.

Writes random weights in the official formats (benchmarks/official_files.py, vision_language_files.py), trains one iteration on them,
and prints time by stage and peak memory by process. Writes both to DIR/table.md. KIND: motion (with the original's flags),
qwen2_5_vl (asked for regions, with SAM2), or qwen2_5_omni_thinker (videos with sound).
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
from benchmarks.vision_language_files import FRAMES, SECONDS, SIDE, write_model, write_pictures, write_sam2, write_videos

EVERY_S = 0.5
LENGTH = """\
import numpy as np


class Length:
    \"\"\"Characters of an answer: random weights earn nothing else, and a group whose rewards are equal trains nothing.\"\"\"

    def __call__(self, answers):
        return np.array([len(text) for text in answers.completions], np.float32)
"""
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


def motion(folder: Path) -> tuple[list[str], str]:
    """The flags of a run on what was written to `folder`, and what it is in words."""
    files = write_all(folder)
    humanml, weights = files / "dataset" / "HumanML3D", files / "tmr" / "last_weights"
    flags = [
        "--model_path", files / "save" / "humanml_trans_enc_512", "--model.text_encoder", files / "clip", "--model.frames", "196",
        "--reward_model_type", "tmr", "--tmr_text_encoder_path", weights / "text_encoder.pt",
        "--tmr_motion_encoder_path", weights / "motion_encoder.pt", "--tmr_movement_encoder_path", weights / "motion_decoder.pt",
        "--reward.tmr_stats", files / "tmr" / "stats", "--reward.text_encoder", files / "distilbert", "--reward.t2m_path", files,
        "--rollout.prompts", humanml, "--evaluate.heldout", humanml / "test.txt",
    ]  # fmt: skip
    return flags, "MDM trans_enc 512 x 8 (1000 steps, respaced), 196 frames, CLIP ViT-B/32 text tower; TMR 256 x 6 on DistilBERT; T2M 512."


def language(folder: Path, architecture: str) -> tuple[list[str], str]:
    """The same of the second family."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "full_size_reward.py").write_text(LENGTH)
    weights, asked = write_model(folder / "model", architecture) / 1e6, architecture == "qwen2_5_vl"
    write = write_pictures if asked else write_videos
    flags = [
        "--family", "language", "--model.path", folder / "model", "--rollout.prompts", write(folder, "train", 0),
        "--evaluate.heldout", write(folder, "heldout", 1), "--reward.components.length.path", "full_size_reward:Length",
        "--rollout.prompts_per_iteration", "2", "--rollout.group_size", "4", "--rollout.max_new_tokens", "32",
        "--evaluate.prompts", "1", "--evaluate.samples_per_prompt", "2", "--cluster.samplers", "1",
    ]  # fmt: skip
    if not asked:
        words = f"videos of {FRAMES} frames of 448 x 336 with {SECONDS} s of sound"
        return flags, f"Qwen2.5-Omni thinker, {weights:.0f} million weights, fp32, vocabulary 151,936; {words}; 2 prompts x 4 answers of 32 tokens."
    flags += ["--reward.components.points.path", "negative_points", "--reward.components.points.segmenter", folder / "sam2"]
    words = f"pictures of {SIDE} x {SIDE}; SAM2 of {write_sam2(folder / 'sam2') / 1e6:.0f} million at 1024 x 1024 in the reward actor"
    return flags, f"Qwen2.5-VL, {weights:.0f} million weights, fp32, vocabulary 151,936; {words}; 2 prompts x 4 answers of 32 tokens."


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--kind", choices=("motion", "qwen2_5_vl", "qwen2_5_omni_thinker"), default="motion")
    args, more = parser.parse_known_args(argv)
    out = args.out.resolve()
    flags, words = motion(out / "files") if args.kind == "motion" else language(out / "files", args.kind)
    command = [sys.executable, "-m", "learner.main", "--run_dir", str(out / "run"), "--iterations", "1", *map(str, flags), *more]
    started = time.perf_counter()
    run = subprocess.Popen(command, cwd=out / "files", env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.getcwd()})
    memory = peaks(run)
    if run.returncode:
        return run.returncode
    seconds = time.perf_counter() - started
    row = json.loads((out / "run" / "metrics.jsonl").read_text().splitlines()[0])
    summary = json.loads((out / "run" / "summary.json").read_text())
    stages = {name.removeprefix("seconds_"): value for name, value in row.items() if name.startswith("seconds_")}
    lines = [
        f"`python -m benchmarks.full_size {' '.join(argv)}` ({time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {platform.machine()})", "",
        f"{words} Random weights.", "",
        f"Whole command {seconds:.0f} s, status {summary['status']}, max_log_prob_gap {summary['max_log_prob_gap']}.", "",
        "| stage of the iteration | seconds |", "|---|---|", *(f"| {name} | {value:.1f} |" for name, value in stages.items()), "",
        "| process | peak memory, MB |", "|---|---|", *(f"| {name} | {value:.0f} |" for name, value in sorted(memory.items())),
    ]  # fmt: skip
    (out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
