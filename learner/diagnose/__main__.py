"""`python -m learner.diagnose RUN`: reads what is left of a run and says what happened, why, and what to do next."""

import argparse
import sys
from pathlib import Path

import numpy as np

from learner.config.settings import Config
from learner.diagnose.ending import Ending, ending
from learner.diagnose.ratio import Cause, explain
from learner.diagnose.read import Record, read_record
from learner.run.spans import spans_of
from learner.watch.advisories import ADVICE, Advisories, spent_of
from learner.watch.health import Action, Finding, Monitor
from rollout.io.command import Parser, exit_code
from rollout.io.errors import InputError

DESCRIPTION = """\
Reads a finished, failed, killed or running training run and explains it: what it was, how it ended, what happened when,
the likely causes in order, what it could do without, and what to do next. Nothing of the run is changed, and nothing is written
without --out.

RUN is a run folder (config.yaml, metrics.jsonl, summary.json, log.txt; any of them may be missing or cut off), or a file
of metrics: .json, .jsonl or .csv, one row an iteration. The original implementation's names are understood too:
mean_ratio, log_ratio, mean_log_prob_current, mean_log_prob_ref, mean_advantage, mean_reward, std_reward, kl_penalty."""
EPILOG = """\
examples:
  python -m learner.diagnose runs/20261120T192251Z-seed0
  python -m learner.diagnose metrics.csv --out diagnose.png

exit status: 0 explained, 2 bad input (one line says which)"""


def diagnose(record: Record) -> tuple[list[str], list[Finding]]:
    """The explanation, line by line, and the findings that the monitor makes of the record's metrics."""
    config = record.config or Config()
    health = config.health if config.health.preset != "none" else config.health.replace(preset="default")
    monitor = Monitor(health, config.objective, config.optimizer)
    findings = [finding for row in record.rows for finding in monitor.observe(int(row["iteration"]), row)]
    ended = ending(record)
    worst = max(record.rows, key=lambda row: np.nan_to_num(row["max_abs_log_ratio"], nan=-1.0), default=None)
    kind = record.config.objective.kind if record.config else None
    arithmetic, of_the_ratio = explain(worst, kind) if worst else ([], [])
    causes = ranked([*([ended.cause] if ended.cause else []), *of_the_ratio], findings)
    events = [(f.iteration, f"{f.name}: {f.sentence}{_done(f)}") for f in findings]
    events += [(int(worst["iteration"]), sentence) for sentence in arithmetic]
    happened = [f"iteration {iteration + 1}: {text}" for iteration, text in sorted(events, key=lambda event: event[0])]
    warnings = record.summary.get("warnings")
    warnings = [text for text in warnings if isinstance(text, str)] if isinstance(warnings, list) else []
    told = tuple(f"{f.name} at iteration {f.iteration + 1}:" for f in findings)
    happened += [f"warning: {text}" for text in warnings if not text.startswith(told)]
    advised = Advisories().replay(spent_of(record.rows, spans_of(record.path, record.rows)[0]))
    known = tuple(text.partition(":")[0] + ":" for text in advised)
    advised += [text for text in record.told("advisories", ADVICE) if not text.startswith(known)]  # such as of the disk
    return [
        *_part("What it was", [*_settings(record), *_course(record)]),
        *_part("How it ended", [ended.sentence, *([f"it says: {ended.reason.strip()[:400]}"] if ended.reason else [])]),
        *_part("What happened", happened or ["nothing that the monitor watches for"]),
        *_part("Likely causes, the likeliest first", [f"{i}. {c.why}\n     -> {c.remedy}" for i, c in enumerate(causes, 1)]),
        *_part("What it could do without", advised),
        *_part("What to do next", _next(record, ended, findings)),
    ], findings


def ranked(known: list[Cause], findings: list[Finding]) -> list[Cause]:
    """What ended the run, then what its ratios say, then the findings' own causes, the gravest first; each once."""
    gravity = list(Action)
    order = sorted(findings, key=lambda finding: -gravity.index(finding.action))
    said = {"log_ratio"} if any(cause.name == "against_reference" for cause in known) else set()
    causes = [*known, *(Cause(finding.name, finding.cause, finding.remedy) for finding in order if finding.name not in said)]
    return list({cause.name: cause for cause in causes[::-1]}.values())[::-1]


def _done(finding: Finding) -> str:
    """What the policy asked for, where that was more than a warning."""
    changes = ", ".join(f"{name} {value:g}" for name, value in finding.change.items())
    return "" if finding.action is Action.WARN else f" [{finding.action.value}{': ' if changes else ''}{changes}]"


def _part(title: str, lines: list[str]) -> list[str]:
    return [title, *(f"  {line}" for line in lines), ""] if lines else []


def _settings(record: Record) -> list[str]:
    lines = [str(record.path)]
    if config := record.config:
        objective = f"{config.objective.kind}{f' ({config.objective.ratio})' if config.objective.kind == 'grpo' else ''}"
        lines += [
            f"{config.iterations} iterations of {config.rollout.prompts_per_iteration} prompts x {config.rollout.group_size} samples, "
            f"seed {config.seed}",
            f"objective {objective}, learning rate {config.optimizer.learning_rate:g}, KL penalty {config.objective.kl_penalty:g}, "
            f"{config.objective.updates_per_rollout} updates a rollout, clip {config.objective.clip_epsilon:g}",
            f"model {config.model.path or 'that ships with the project'}, reward {' + '.join(config.reward.components)}, "
            f"{config.cluster.samplers} samplers",
        ]
    return [*lines, *(f"note: {defect}" for defect in record.defects)]


def _course(record: Record) -> list[str]:
    """First and last values of what a person asks for first."""
    names = ("mean_reward", "std_reward", "kl", "mean_ratio", "grad_norm", "learning_rate")
    first, last = (record.rows[0], record.rows[-1]) if record.rows else ({}, {})
    shown = [f"{name} {first[name]:.4g} -> {last[name]:.4g}" for name in names if name in first and name in last]
    gain = record.summary.get("heldout", {}) if isinstance(record.summary.get("heldout"), dict) else {}
    gain = gain.get("reward", {}).get("gain", {}) if isinstance(gain.get("reward"), dict) else {}
    if isinstance(gain, dict) and all(isinstance(gain.get(name), (int, float)) for name in ("mean", "ci95")):
        shown.append(f"held-out gain {gain['mean']:+.4f} ± {gain['ci95']:.4f}")
    return [", ".join(shown)] if shown else []


def _next(record: Record, ended: Ending, findings: list[Finding]) -> list[str]:
    """Commands and habits that fit how it ended."""
    lines = []
    grave = [finding for finding in findings if finding.action in (Action.STOP, Action.ROLL_BACK)]
    if grave or (ended.cause and ended.cause.name in ("log_prob_gap", "non_finite")):
        lines.append("do away with the first cause before all else: runs repeat exactly, and would end there again")
    if record.path.is_file():
        return [*lines, "a whole run folder says more: its settings, its log, and how it ended"]
    if record.summary.get("status") == "finished":
        settings = f" --config {record.path / 'config.yaml'}" if record.config else ""
        lines.append(f"python -m learner.evaluate{settings} --adapter {record.path / 'adapter'}")
    elif record.checkpoint:
        lines.append(f"python -m learner.main --resume {record.path}    # goes on after iteration {int(record.checkpoint.stem)}, exactly")
    elif record.config:
        lines.append(f"python -m learner.main --config {record.path / 'config.yaml'} --run_dir NEW    # no checkpoint is there to resume")
    if {finding.name for finding in findings} & {"zero_std", "reward_spread", "failed_samples", "not_measured"}:
        lines.append(f"python -m rewards.inspect {record.path / 'rollouts'}    # can this reward teach?")
    return lines


def main(argv: list[str]) -> int:
    parser = Parser(
        prog="python -m learner.diagnose", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder, or file of metrics")
    parser.add_argument("--out", type=Path, metavar="PNG", help="also draw what was watched by iteration, findings marked")
    return exit_code(lambda: run(parser.parse_args(argv)))


def run(given: argparse.Namespace) -> str:
    record = read_record(given.run)
    lines, findings = diagnose(record)
    if given.out:
        from learner.run.pictures import health_curves_png  # with matplotlib

        try:
            health_curves_png(given.out, record.rows, findings)
        except (OSError, ValueError) as error:
            raise InputError(f"--out: cannot write {given.out} ({' '.join(str(error).split())[:100]})") from None
        lines.append(f"picture: {given.out}")
    print("\n".join(lines).rstrip())
    return "finished"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
