"""What became of a run, in words: first what it gained, then what else was found, and what to do next."""

import math
from collections.abc import Mapping
from typing import Any

from learner.diagnose.__main__ import diagnose
from learner.diagnose.read import WARNING, Record
from learner.report.meanings import meaning_of
from learner.watch.examination import CHANGES, LESS_IS_BETTER, change_of

MOST_WARNINGS = 20  # of a run, the newest
FIRST = ("reward", "judge", "judge_joints", "accuracy", "mean_iou", "fid", "fid_unit", "diversity", "foot_skate")  # of the tiles


def verdict(record: Record, going_on: bool) -> dict[str, Any]:
    """`tone` (good, bad, unclear, running), `headline`, `sentences`, `tiles` of what was measured before and after, `beside`: of
    what the best of several samples of the base was compared with, `advice` by title, and
    `facts`. going_on: the run is still training."""
    heldout = record.summary.get("heldout") if isinstance(record.summary.get("heldout"), dict) else {}
    tiles = [tile for name, entry in _flat(heldout).items() if (tile := _tile(name, entry))]
    tiles = [tile for place, tile in enumerate(tiles) if not any(_says(other, tile, tiles) for other in tiles[:place])]
    tiles.sort(key=lambda tile: FIRST.index(tile["name"]) if tile["name"] in FIRST else len(FIRST))
    by_name = {tile["name"]: tile for tile in tiles}
    advice = _advice(record)
    if going_on:  # what is said of an end is said of a run that has none yet
        advice |= {"How it ended": [], "What to do next": [f"python -m learner.report {record.path} --serve    # shows it while it trains"]}
    tone, headline = _headline(record, by_name.get("reward"), going_on)
    sentences = [_sentence(by_name[name], by_name) for name in FIRST[1:] if name in by_name and "reward" in by_name and name != "fid_unit"]
    beside = _beside(record.summary.get("best_of_base"))
    sentences += _beside_choosing(record.summary.get("best_of_base"), beside)
    if worse := [f"{tile['label']} {_values(tile)}" for tile in tiles if tile["change"] == "worse" and tile["name"] not in FIRST]:
        sentences.append(f"Worse than before: {', '.join(worse)}.")
    if not tiles:
        sentences += _so_far(record)
    return {
        "tone": tone, "headline": headline, "sentences": sentences, "tiles": tiles, "beside": beside, "advice": advice,
        "facts": _facts(record),
        "warnings": record.told("warnings", WARNING)[-MOST_WARNINGS:], "defects": record.defects,
    }  # fmt: skip


def _flat(heldout: Mapping[str, Any]) -> dict[str, Any]:
    """The components among the rest."""
    parts = heldout.get("components") if isinstance(heldout.get("components"), dict) else {}
    parts = {f"component_{name}": entry for name, entry in parts.items()}
    return {name: entry for name, entry in heldout.items() if name != "components"} | parts


def _tile(name: str, entry: Any) -> dict[str, Any] | None:
    """Before, after and gain of one measure. `change`: better, worse, none (within its interval) or moved (neither is better)."""
    if not isinstance(entry, dict) or "before" not in entry or "after" not in entry:
        return None
    before, after = _number(entry["before"]), _number(entry["after"])
    if before is None or after is None:
        return None
    gain = entry.get("gain") if isinstance(entry.get("gain"), dict) else {}
    mean, half = _number(gain.get("mean")), _number(gain.get("ci95"))
    mean, half = (after - before, None) if mean is None else (mean, half)
    meaning = meaning_of(f"heldout_{name}")
    return {
        "name": name, "label": name.replace("_", " "), "unit": meaning.unit, "before": before, "after": after, "gain": mean, "half": half,
        "change": change_of(name, mean, half), "less": name in LESS_IS_BETTER, "meaning": meaning.sentence,
    }  # fmt: skip


def _says(tile: dict, other: dict, tiles: list[dict]) -> bool:
    """Whether `tile` says what the other does: the same numbers under a part of its name, as accuracy and component_accuracy, or of a
    reward that has no other part. Two measures may well be 0 before and after."""
    names, parts = (tile["name"], other["name"]), [each["name"] for each in tiles if each["name"].startswith("component_")]
    same = all(tile[number] == other[number] for number in ("before", "after", "gain", "half"))
    return same and (names[0] in names[1] or names[1] in names[0] or [names[0], *parts] == ["reward", names[1]])


def _number(value: Any) -> float | None:
    value = value.get("mean") if isinstance(value, dict) else value
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _headline(record: Record, reward: dict | None, going_on: bool) -> tuple[str, str]:
    asked = f" of {record.config.iterations}" if record.config else ""
    if going_on:
        return "running", f"Training: {record.iterations}{asked} iterations are done"
    if reward:
        half = "" if reward["half"] is None else f" ± {reward['half']:.3f}"
        change = f"held-out reward {reward['before']:.3f} → {reward['after']:.3f} ({reward['gain']:+.3f}{half})"
        return {
            "better": ("good", f"It learned: {change}"), "worse": ("bad", f"It got worse: {change}"),
        }.get(reward["change"], ("unclear", f"No clear gain: {change}"))  # fmt: skip
    status = record.summary.get("status")
    if status is None:
        return "running", f"No end was written: killed after {record.iterations}{asked} iterations, or still running"
    tone, what = ("bad", "failed") if status == "failed" else ("unclear", "was stopped")
    return tone, f"It {what} after {record.iterations}{asked} iterations"


def _so_far(record: Record) -> list[str]:
    """Of a run without an evaluation at its end."""
    found = []
    names = {"mean_reward": "Mean reward on training prompts", "heldout_reward": "Held-out reward", "heldout_judge": "Judge, held out"}
    for name, words in names.items():
        known = [(int(row["iteration"]) + 1, row[name]) for row in record.rows if math.isfinite(row.get(name, math.nan))]
        if known:
            first_and_last = dict([known[0], known[-1]])
            found.append(f"{words}: {', '.join(f'{value:.3f} at iteration {iteration}' for iteration, value in first_and_last.items())}.")
    return found


def _values(tile: dict) -> str:
    unit = "" if tile["unit"] == "share" else tile["unit"]
    return f"{tile['before']:.3g} → {tile['after']:.3g} {unit}".rstrip()


def _gain(tile: dict) -> str:
    return f"{tile['gain']:+.3f}" + ("" if tile["half"] is None else f" ± {tile['half']:.3f}")


def _sentence(tile: dict, tiles: Mapping[str, dict]) -> str:
    name, change, values = tile["name"], tile["change"], _values(tile)
    if name == "judge":
        gain = _gain(tile)
        return {
            "better": f"The judge, which trains nothing, agrees: {gain}.",
            "worse": f"The judge, which trains nothing, disagrees: {gain}. "
            + ("The model may have learned its reward instead of the task." if tiles["reward"]["change"] == "better" else ""),
        }.get(change, f"The judge, which trains nothing, sees no clear difference: {gain}.").strip()  # fmt: skip
    if name == "judge_joints":
        if change != "better" and tiles.get("judge", {}).get("change") == "better":
            return (
                f"The judge's score, of all features, rose by {_gain(tiles['judge'])}; the score of the joints alone did not "
                f"({_gain(tile)}): what improved may be what evaluators read and no person sees."
            )
        says = {"better": "is better too", "worse": "is worse"}.get(change, "has not clearly changed")
        return f"The score of the joints alone {says}: {_gain(tile)}."
    if name == "fid":
        return f"As a whole the samples are {'nearer to' if change == 'better' else 'farther from'} real ones: FID {values}."
    if name == "diversity":
        return f"Diversity {values}."
    return f"{tile['label'].capitalize()}: {CHANGES[change]}, {values}."


def _beside(found: Any) -> list[dict[str, Any]]:
    """As tiles, whose labels say beside what."""
    tiles = [_tile(name, entry) for name, entry in found.items()] if isinstance(found, dict) else []
    return [{**tile, "label": f"{tile['label']}, beside best of {found.get('samples')} of the base"} for tile in tiles if tile]


def _beside_choosing(found: Any, tiles: list[dict[str, Any]]) -> list[str]:
    """Whether the tuned model beats choosing among samples of the base model by the same reward, as the judges see it."""
    told = []
    for tile in tiles:
        if tile["name"] != "reward":
            change = {"better": "beats", "worse": "is behind"}.get(tile["change"], "is not clearly apart from")
            told.append(f"{tile['name'].replace('_', ' ')} {tile['before']:.3f}, which the tuned model {change} ({_gain(tile)})")
    return [f"Best of {found.get('samples')} of the base, chosen by the reward without training: {'; '.join(told)}."] if told else []


def _advice(record: Record) -> dict[str, list[str]]:
    """What `python -m learner.diagnose` says, by its titles."""
    lines, _ = diagnose(record)
    found: dict[str, list[str]] = {}
    for line in lines:
        if line and not line.startswith(" "):
            found[line] = part = []
        elif line:
            part.append(line.strip())
    return found


def _facts(record: Record) -> list[tuple[str, str]]:
    """What a person asks of any run, in words."""
    summary, config = record.summary, record.config
    facts = [("iterations", f"{record.iterations}{f' of {config.iterations}' if config else ''}")]
    if config:
        facts.append(("an iteration", f"{config.rollout.prompts_per_iteration} prompts × {config.rollout.group_size} samples"))
    if seconds := _number(summary.get("wall_seconds")):
        facts.append(("minutes", f"{seconds / 60:.1f}"))
    elif spent := sum(value for row in record.rows for name, value in row.items() if name.startswith("seconds_") and math.isfinite(value)):
        facts.append(("minutes", f"{spent / 60:.1f} in iterations"))
    if config:
        facts += [("seed", str(config.seed)), ("samplers", str(config.cluster.samplers))]
    if isinstance(digest := summary.get("adapter_sha256"), str):
        facts.append(("adapter", digest[:12]))
    return facts
