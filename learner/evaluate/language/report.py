"""The tables of an evaluation of answers, and the answers themselves beside what was measured of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from learner.evaluate.language.measures import METRICS, Measured, summaries
from learner.evaluate.language.plan import Question, among
from learner.evaluate.report import SideBySide, aligned, cell, place
from learner.evaluate.rows import Metric
from rewards.language.answers import part_of
from rollout.io.files import strict

OFFICIAL, OURS, GENERAL = "accuracy_intentbench", "accuracy", "general"
UNSHOWN, SAME = ("accuracy_official",), ("baseline_iou",)  # metrics that only evaluation.json has; those that no model changes
SHOWN = 8  # problem types that the table and the picture have; evaluation.json has all


@dataclass(frozen=True)
class Row:
    """One model's answers to all questions. `base`: the base model's row, None for that itself."""

    name: str
    source: str | None
    sha256: str | None
    questions: list[Question]
    found: Measured
    base: "Row | None"

    @cached_property
    def parts(self) -> dict[str, dict]:
        """`data`, and `general` where there is any: `metrics` of all their items, and `by_type` of the items of each problem type."""
        base, told = self.base and self.base.found, {}
        for name, types in zip(("data", GENERAL), among(self.questions)):
            if types:
                by_type = {kind: summaries(self.found, base, mask) for kind, mask in sorted(types.items(), key=lambda pair: -pair[1].sum())}
                told[name] = {"metrics": summaries(self.found, base, np.any(list(types.values()), axis=0)), "by_type": by_type}
        return told

    def summary(self) -> dict[str, dict]:
        """Metrics of the data; accuracy by its problem type where there are several; and `general_...` of the general items."""
        data, general = self.parts["data"], self.parts.get(GENERAL)
        told = dict(data["metrics"])
        if len(data["by_type"]) > 1:
            told |= {of_type(kind): metrics[OURS] for kind, metrics in data["by_type"].items() if OURS in metrics}
        return told | ({f"{GENERAL}_{name}": found for name, found in general["metrics"].items()} if general else {})

    def content(self) -> dict[str, Any]:
        """Of the data, of its problem types, of the general items; and how many answers could not be scored, by reason."""
        reasons: dict[str, int] = {}
        for why in self.found.failures.values():
            reasons[why] = reasons.get(why, 0) + 1
        general = {GENERAL: self.parts[GENERAL]} if GENERAL in self.parts else {}
        return {**self.parts["data"], **general, "failed": len(self.found.failures), "failures": reasons}

    def official(self) -> dict[str, Any] | None:
        """As the evaluation of IntentBench writes its results: of the data, where it has a formula; None where it has none of any."""
        results, scores = [], self.found.values.get(OFFICIAL, np.full(self.found.texts.shape, np.nan))
        for question, texts_K, scores_K in zip(self.questions, self.found.texts, scores):
            item = question.item
            raw = {"problem": item.problem, "problem_type": item.problem_type, "options": list(item.options), "solution": item.solution}
            for text, score in zip(texts_K, scores_K):
                if not question.general and np.isfinite(score):
                    results.append({
                        "prompt": item.text, "solution": item.solution, "problem_type": item.problem_type, "raw": raw | dict(item.media),
                        "output": text, "prediction": part_of(text, "answer") or "", "reward": float(score),
                    })  # fmt: skip
        return {"results": results, "final_acc": [{"mean_acc": float(np.mean([each["reward"] for each in results]))}]} if results else None


class EvaluationReport(SideBySide):
    """See `SideBySide`. Beside it: answers.jsonl, a line for each answer asked for, with what every row answered; and of every row
    intentbench_<row>.json, in the form of IntentBench's own results."""

    def head(self) -> dict[str, Any]:
        config = self.config
        asked = {"items": sum(not question.general for question in self.rows[0].questions)} if self.rows else {}
        return {"seed": config.seed, "greedy": not config.samples, "answers_per_item": config.answers, **asked}

    def metrics(self) -> dict[str, Metric]:
        return _shown(self.rows) | {of_type(kind): Metric(kind, "↑", 3) for kind in _types(self.rows)}

    def table(self) -> list[str]:
        return table(self.rows)

    def files(self) -> dict[str, bytes]:
        official = {f"intentbench_{place(row.name)}.json": _json(told, indent=2) for row in self.rows if (told := row.official())}
        return {"answers.jsonl": b"".join(_json(line) + b"\n" for line in _answers(self.rows)), **official}


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown lines: what was measured of each model; accuracy by problem type, where there are several; what adapters change."""
    if not rows:
        return []
    heads = {f"{metric.label} {metric.better}".strip(): name for name, metric in _shown(rows).items()}
    blocks = [[["", *heads], *([row.name, *(cell(row.summary().get(name), 3) for name in heads.values())] for row in rows)]]
    if columns := _by_type(rows):
        of_type_in = lambda row: [row.parts["data"]["by_type"][kind].get(name) for kind, name in columns.values()]  # noqa: E731
        blocks.append([["accuracy by type", *columns], *([row.name, *(cell(each, 3) for each in of_type_in(row))] for row in rows)])
    if changed := [row for row in rows if row.base]:
        heads = {head: name for head, name in heads.items() if name not in SAME}
        changes_in = lambda row: [row.summary().get(name, {}).get("change") for name in heads.values()]  # noqa: E731
        blocks.append([["change to base", *heads], *([row.name, *(cell(each, 3, "+") for each in changes_in(row))] for row in changed)])
    return [line for block in blocks for line in [*aligned(block), ""]][:-1]


def _shown(rows: Sequence[Row]) -> dict[str, Metric]:
    """What the table and the picture have of `Row.summary`: what METRICS has, in its order; then components of the reward."""
    found = dict.fromkeys(name for row in rows for name in (*row.summary(), *row.parts["data"]["metrics"]))
    others = {name: Metric(name, "↑", 3) for row in rows for name in row.parts["data"]["metrics"] if name not in METRICS}
    return {name: metric for name, metric in METRICS.items() if name in found and name not in UNSHOWN} | others


def _types(rows: Sequence[Row]) -> list[str]:
    """The most frequent problem types of the data whose accuracy is known of every row; none where there is only one."""
    of_rows = [row.parts["data"]["by_type"] for row in rows]
    found = [kind for kind in of_rows[0] if all(OURS in told[kind] for told in of_rows)][:SHOWN] if of_rows else []
    return found if len(found) > 1 else []


def _by_type(rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """By its title, problem type and metric of a column: accuracy, and the official one beside it where that says something else."""
    found, of_rows = {}, [row.parts["data"]["by_type"] for row in rows]
    for kind in _types(rows):
        found[f"{kind} ({of_rows[0][kind][OURS]['n']})"] = kind, OURS
        if any(OFFICIAL in told[kind] and abs(told[kind][OFFICIAL]["mean"] - told[kind][OURS]["mean"]) > 1e-6 for told in of_rows):
            found[f"{kind}, {METRICS[OFFICIAL].label}"] = kind, OFFICIAL
    return found


def of_type(kind: str) -> str:
    """The name of accuracy on a problem type, as a store of metrics can have it."""
    return f"{OURS}_{place(kind).replace(' ', '_')}"


def _answers(rows: Sequence[Row]) -> list[dict]:
    lines = []
    for p, question in enumerate(rows[0].questions if rows else []):
        item = question.item
        for k in range(rows[0].found.texts.shape[1]):
            told = {row.name: {"answer": row.found.texts[p, k], **_numbers(row.found, p, k)} for row in rows}
            asked = {"set": GENERAL if question.general else "data", "item": question.number, "sample": k, "source": item.source}
            lines.append({**asked, "problem_type": item.problem_type, "question": item.text, "solution": item.solution, "rows": told})
    return lines


def _numbers(found: Measured, p: int, k: int) -> dict[str, Any]:
    values = {name: float(values_PK[p, k]) for name, values_PK in found.values.items() if np.isfinite(values_PK[p, k])}
    why = found.failures.get((p, k))
    return values | ({"failed": why} if why else {})


def _json(content: Any, indent: int | None = None) -> bytes:
    return json.dumps(strict(content), ensure_ascii=False, allow_nan=False, indent=indent).encode("utf-8", "backslashreplace")
