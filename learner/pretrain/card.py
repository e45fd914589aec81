"""The model card: what ships, how it was made, and what it measures on held-out motion."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from learner.pretrain.retrieval import compared, stack
from rewards.motion.evaluators import load_evaluators
from rewards.motion.metrics import diversity, fid, r_precision, statistics
from rewards.motion.motions import Motions, as_motions
from rewards.motion.physics import foot_skate
from rewards.motion.settings import Evaluators
from rollout.adapter import Adapter
from rollout.motion.dataset import Clip
from rollout.motion.diffusion_policy import MotionDiffusionPolicy, MotionPolicySettings
from rollout.motion.features import features_to_joints, rederived
from rollout.motion.pictures import contact_sheet
from rollout.motion.prepare import MotionPreparer
from rollout.motion.prompts import read_prompts
from rollout.motion.settings import Model
from rollout.policy import Request

PICTURED = (
    "a person walks forward", "a person walks slowly ahead and then turns right", "a person is running straight ahead",
    "a person jumps far forward once", "a person jumps in place four times", "someone hops on the left leg four times",
    "the person takes a few steps forward and kicks with the right foot", "this person throws punches with the left fist",
    "this person washes a window with the right hand",
)  # fmt: skip
EVALUATORS = {"tmr": "TMR", "t2m": "T2M", "joints": "TMR of joints", "essential": "TMR of the essential 67"}
SAMPLES = 8  # motions per held-out prompt


def write_card(root: Path, clips: list[Clip], features: list[np.ndarray]) -> None:
    """Writes MODEL_CARD.md, contact_sheet.png and loss_curves.png to `rollout/assets`; the figures are measured now."""
    assets = root / "rollout" / "assets"
    evaluators = load_evaluators(Evaluators(t2m_path=str(root / "rewards/assets/t2m"), tmr_path=str(root / "rewards/assets/tmr")))
    prompts = read_prompts(root / "rollout/assets/heldout_prompts.json", 40)
    rows = [real_row(clips, features, prompts[0].length, evaluators, root)]
    for steps in ("10", ""):
        policy = MotionDiffusionPolicy(MotionPolicySettings(Model(path=str(assets / "mdm"), steps=steps, frames=60)))
        policy.load_adapter(Adapter.pack(0, policy.adapter_state()))
        rows.append(generated_row(policy, prompts, evaluators, root))
        print(rows[-1], flush=True)
        if steps:
            pictured = MotionPreparer(policy.settings.model).prepare([type(prompts[0])(text, 60) for text in PICTURED])
            groups = [policy.sample(Request(c, 2, (0, i), 0)) for i, c in enumerate(pictured)]
            contact_sheet(assets / "contact_sheet.png", [(g.prompt.text, features_to_joints(g.outputs[0])) for g in groups])
    folders = {"mdm": "rollout/assets/mdm"} | {name: f"rewards/assets/{name}" for name in EVALUATORS}
    reports = {name: json.loads((root / folder / "metrics.json").read_text()) for name, folder in folders.items()}
    draw_losses(assets / "loss_curves.png", reports)
    (assets / "MODEL_CARD.md").write_text(card_text(reports, rows))


def real_row(clips: list[Clip], features: list[np.ndarray], frames: int, evaluators, root: Path) -> dict:
    """Held-out clips of real motion through the same measurements, cut to the length that is generated."""
    held = [(clip, rederived(motion[:frames])) for clip, motion in zip(clips, features) if clip.split != "train"]
    rng = np.random.default_rng(0)
    motions = Motions(*stack([motion for _, motion in held]), [str(rng.choice(clip.captions)) for clip, _ in held])
    return measure(f"real, held out, first {frames} frames", motions, foot_skate(motions.joints, motions.lengths), evaluators, root)


def generated_row(policy: MotionDiffusionPolicy, prompts, evaluators, root: Path) -> dict:
    conditionings = MotionPreparer(policy.settings.model).prepare(prompts)
    motions = as_motions(*(policy.sample(Request(c, SAMPLES, (0, i), 0)) for i, c in enumerate(conditionings)))
    skate = foot_skate(features_to_joints(motions.produced), motions.lengths + 1)
    return measure(f"generated, {len(policy.schedule)} steps", motions, skate, evaluators, root)


def measure(name: str, motions: Motions, skate: np.ndarray, evaluators, root: Path) -> dict:
    """FID and diversity by T2M, R@1 and R@3 in pools of 32 by both, foot skate in m/s."""
    order = np.random.default_rng(0).permutation(len(motions))[: len(motions) // 32 * 32]
    row = {"motion": name, "samples": len(motions)}
    for evaluator in evaluators:  # TMR, then T2M
        embedded = evaluator.embed_motion(motions.features, motions.lengths)
        text = compared(evaluator, evaluator.embed_text(motions.prompts))
        found = r_precision(text[order], compared(evaluator, embedded)[order], 3, 32)
        row |= {f"{evaluator.name} R@1": found[0], f"{evaluator.name} R@3": found[2]}
    with np.load(root / "rewards/assets/real_motion.npz", allow_pickle=False) as real:
        row["FID"] = fid(real["t2m_mean"], real["t2m_cov"], *statistics(embedded))
    return row | {"diversity": diversity(embedded, pairs=min(300, len(embedded) // 2)), "foot skate m/s": float(skate.mean())}


def draw_losses(path: Path, reports: dict[str, dict]) -> None:
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    axes = figure.subplots(1, 3)
    curve = reports["mdm"]["curve"]
    axes[0].plot([p["step"] for p in curve], [p["train_loss"] for p in curve], label="train (with dropout)")
    validated = [p for p in curve if "val_loss" in p]
    axes[0].plot([p["step"] for p in validated], [p["val_loss"] for p in validated], marker="o", label="val, averaged weights")
    axes[0].set(title="MDM: x0 error per dim", xlabel="step", yscale="log")
    for axis, name in zip(axes[1:], ("tmr", "t2m")):
        curves = reports[name]["curves"]
        axis.plot(curves["step"], curves["val_r_at_1"], label="val R@1")
        axis.plot(curves["step"], curves["val_r_at_3"], label="val R@3")
        other = axis.twinx()
        other.plot(curves["step"], curves["loss"], color="grey", linewidth=1)
        other.set_ylabel("training loss (grey)")
        axis.set(title=f"{name.upper()}: retrieval in pools of 32", xlabel="step", ylim=(0, 1))
    for axis in axes:
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def card_text(reports: dict[str, dict], rows: list[dict]) -> str:
    columns = [c for c in rows[0] if c not in ("motion", "samples")]
    table = ["| motion | samples | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 2)]
    table += [f"| {r['motion']} | {r['samples']} | " + " | ".join(f"{r[c]:.3f}" for c in columns) + " |" for r in rows]
    retrieval = ["| evaluator | parameters | clips | R@1 | R@3 | top-1 counting equal captions | chance R@3 |", "|---|---|---|---|---|---|---|"]
    for name, label in EVALUATORS.items():
        test = reports[name]["retrieval_test"]
        retrieval.append(
            f"| {label} | {reports[name]['parameters']:,} | {test['clips']} test | {test['r_at_1']:.3f} | {test['r_at_3']:.3f} | "
            f"{test['same_caption_top1']:.3f} | {test['chance_r_at_3']:.3f} |"
        )
    made = [f"* {name}: `{report['command']}`, seed {report['seed']}, {report['seconds']:.0f} s" for name, report in reports.items()]
    parts = {"made": made, "table": table, "retrieval": retrieval}
    return CARD.format(parameters=reports["mdm"]["parameters"], **{name: "\n".join(lines) for name, lines in parts.items()})


CARD = """# Model card: the demo-size motion models

An MDM (transformer encoder, latent 128, 4 layers, feed-forward 256, 50-step cosine schedule, x0-prediction, text dropped
10 % of the time, {parameters:,} parameters with its text encoder) and two evaluators of different kind that were
trained apart: TMR (the default reward) and the T2M co-embedding (the default judge). Two more TMRs judge beside it, one of
joints alone, 22 positions a frame, and in `learner.evaluate` one of the 67 features that determine them (yaw, way and height of the root,
joints as each frame faces): what only the 196 features that no joint follows say moves neither. All are small on purpose: a CPU
samples tens of motions a second. They know some 250 words and a dozen kinds of motion; they are for learning and
testing, not for production.

## How they were made

{made}

Wall-clock on one thread of a shared 2-core machine. Each is trained on the train split only; the evaluators' weights are
those that retrieved best on val; `walk_uneven` clips are left out of the MDM's data.

## Data

1,326 clips of captioned motion capture (22 joints, 20 fps). All motion was captured by the Carnegie Mellon University
Graphics Lab:

> The data used in this project was obtained from mocap.cs.cmu.edu.
> The database was created with funding from NSF EIA-0196217.

No motion ships with the project, only weights, normalisation, embedding statistics and captions.

## The evaluators on held-out clips

Text-to-motion retrieval in random pools of 32. Many clips share captions, so even a perfect evaluator stays below 1 at R@1.

{retrieval}

## The base model on held-out captions

The prompts are those in `rollout/assets/heldout_prompts.json`; guidance 2.5, FID against real val and test motion, all
in the same embedding (T2M unless named).

{table}

![generated motions](contact_sheet.png)

![loss curves](loss_curves.png)
"""
