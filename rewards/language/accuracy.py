"""Whether an answer is right, by the type of its problem.

Types and formulas are those of HumanOmniV2's `accuracy_reward`, put right where the published code is wrong: items of a set are
stripped, yes and no are words, and what cannot be scored is NaN with a reason and never 0. What was published is `official.accuracy`
and `official.intentbench`.
"""

import re
from collections.abc import Callable
from decimal import Context, Decimal, InvalidOperation

import numpy as np

from rewards.language.answers import Answers, part_of, truth_of
from rewards.language.judges import Api
from rewards.options import choice
from rewards.reward import Told
from rollout.language.items import Item

LONGEST_NUMBER = 400  # characters
MOST_WORDS = 5000  # of a true text: the time of a word error rate grows with their square
EXACT = Context(prec=50)
BY_JUDGE = ("free-form",)
REGRESSION = ("relative_error", "mean_relative_accuracy")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)

Formula = Callable[[str, str], float]  # (truth, answer) -> 0..1; ValueError for a truth that it cannot read


class Accuracy:
    """`accuracy`: 0..1 of the first <answer>, float32 [N]; 0 without one. NaN, with the reason, for a problem type that is unknown, a
    solution that is no truth of its type, and a judge that was not reached.

    multiple choice    1 if the stripped texts are equal
    numerical          1 if both or neither have a . or , and the numbers, commas left out, are equal to two decimals
    regression         1 - min(1, |answer - truth| / |truth|); `regression: mean_relative_accuracy` is the share of the thresholds
                       t = .5, .55, ... .95 with |answer - truth| / |truth| < 1 - t (Yang et al. 2025, eq. 1), for evaluation
    OCR                1 - word error rate, at least 0
    emer_ov_mc,
    emer_ov            F1 of the two sets of stripped items between commas
    judge              1 if the answer has the same one of the words yes and no as the truth, and not both
    free-form          how well a judge finds the answer to say what the truth says, 0 to 5, over 5; see `judges.py`
    """

    def __init__(self, deadline_s: float = 300.0, regression: str = "relative_error", **api):
        """api: options of the judge, see `rewards.language.judges.Api`; it is looked for when a problem needs it."""
        self.formulas = {**FORMULAS, "regression": MEASURES[choice("regression", regression, REGRESSION)]}
        self.api, self.judge = lambda: Api(deadline_s, **api), None
        if api:
            self.judge = self.api()

    def cannot(self, item: Item) -> str | None:
        """Why no answer to `item` can be scored, if none can."""
        if item.problem_type in BY_JUDGE:
            if not (self.judge or Api.there()):
                return f"problem type {item.problem_type!r} needs a judge, and {Api.ABSENT}"
            return None if truth_of(item) else "the solution has no answer"
        if item.problem_type not in self.formulas:
            return f"unknown problem type {item.problem_type!r}, expected one of {', '.join((*self.formulas, *BY_JUDGE))}"
        truth = truth_of(item)
        if not truth:
            return "the solution has no answer"
        try:
            self.formulas[item.problem_type](truth, "")
        except ValueError as error:
            return str(error)

    def __call__(self, answers: Answers) -> Told:
        found, asked = self.by_rules(answers), {}
        for i, (item, completion) in enumerate(zip(answers.items, answers.completions)):
            if item.problem_type in BY_JUDGE and not self.cannot(item):
                del found.reasons[i]
                if answer := part_of(completion, "answer"):
                    asked[i] = truth_of(item), answer
                else:
                    found.values[i] = 0
        if asked:
            self.judge = self.judge or self.api()
            self.judge.fill(found, {i: SIMILARITY.format(truth=Api.cut(t), answer=Api.cut(a)) for i, (t, a) in asked.items()}, 5)
        return found

    def by_rules(self, answers: Answers) -> Told:
        """The same without the judge: NaN for the types that need one."""
        found = Told(np.full(len(answers), np.nan, np.float32))
        for i, (item, completion) in enumerate(zip(answers.items, answers.completions)):
            why = self.cannot(item)
            if why or item.problem_type in BY_JUDGE:
                found.reasons[i] = why or "left to the judge"
            else:
                answer = part_of(completion, "answer")
                found.values[i] = self.formulas[item.problem_type](truth_of(item), answer) if answer else 0
        return found


class OfficialAccuracy:
    """`official.accuracy`: `accuracy_reward` of HumanOmniV2 as published, each sample by its own problem type; what its judge would
    say (free-form; emer_ov, whose judge was never written) is NaN, and so is an unknown type. float32 [N]."""

    regression = staticmethod(lambda truth, answer: 1 - min(1.0, max(0.0, (abs(answer - truth) + 1e-9) / (abs(truth) + 1e-9))))
    absent = (*BY_JUDGE, "emer_ov")  # types that have no published formula

    def __call__(self, answers: Answers) -> Told:
        found = Told(np.full(len(answers), np.nan, np.float32))
        for i, (item, completion) in enumerate(zip(answers.items, answers.completions)):
            if item.problem_type in self.absent or item.problem_type not in FORMULAS:
                found.reasons[i] = f"problem type {item.problem_type!r} has no official formula"
            elif item.problem_type == "OCR" and len(item.solution.split(None, MOST_WORDS)) > MOST_WORDS:
                found.reasons[i] = f"the solution has more than {MOST_WORDS} words"
            else:
                found.values[i] = self.official(item.problem_type, part_of(item.solution, "answer") or "", part_of(completion, "answer") or "")
        return found

    def official(self, kind: str, truth: str, answer: str) -> float:
        if kind == "multiple choice":
            return float(truth == answer)
        if kind == "numerical":
            return 0.0 if _has_mark(truth) != _has_mark(answer) else float(_rounded(truth) is not None and _rounded(truth) == _rounded(answer))
        if kind == "regression":
            numbers = _number(truth), _number(answer)
            return 0.0 if None in numbers else float(self.regression(*numbers))
        if kind == "emer_ov_mc":
            left, right = truth.split(","), answer.split(",")
            return 2 * len({*left} & {*right}) / (len(left) + len(right))
        if kind == "judge":
            return float(any(word in truth.lower() and word in answer.lower() for word in ("yes", "no")))
        return _word_accuracy(truth, answer)


class OfficialIntentBench(OfficialAccuracy):
    """`official.intentbench`: the same as the evaluation of HumanOmniV2 has it: regression by mean relative accuracy, in float32;
    free-form and OCR, which it does not know, are NaN. float32 [N]."""

    absent = (*BY_JUDGE, "emer_ov", "OCR")

    @staticmethod
    def regression(truth: float, answer: float) -> float:
        error = np.abs(np.float32(answer) - np.float32(truth)) / (np.abs(np.float32(truth)) + np.float32(1e-8))
        return float((error < 1 - np.arange(0.5, 0.975, 0.05).astype(np.float32)).mean())


def _choice(truth: str, answer: str) -> float:
    return float(truth == answer)


def _numerical(truth: str, answer: str) -> float:
    return float(_has_mark(truth) == _has_mark(answer) and _rounded(_true_number(truth)) == _rounded(answer))


def _relative(truth: str, answer: str) -> float:
    error = _relative_error(truth, answer)
    return 0.0 if error is None else float(1 - min(Decimal(1), error))


def _mean_relative(truth: str, answer: str) -> float:
    error = _relative_error(truth, answer)
    return 0.0 if error is None else sum(20 * error < k for k in range(1, 11)) / 10


def _words(truth: str, answer: str) -> float:
    if len(truth.split(None, MOST_WORDS)) > MOST_WORDS:
        raise ValueError(f"the true text has more than {MOST_WORDS} words")
    return _word_accuracy(truth, answer)


def _set(truth: str, answer: str) -> float:
    right, given = ({item.strip() for item in text.split(",")} - {""} for text in (truth, answer))
    if not right:
        raise ValueError("the solution names no item")
    return 2 * len(right & given) / (len(right) + len(given))


def _yes_no(truth: str, answer: str) -> float:
    right, given = ({word.casefold() for word in re.findall(r"\b(?:yes|no)\b", text, re.IGNORECASE)} for text in (truth, answer))
    if len(right) != 1:
        raise ValueError(f"the solution says {' and '.join(sorted(right)) or 'neither'}, expected yes or no")
    return float(right == given)


MEASURES = dict(zip(REGRESSION, (_relative, _mean_relative)))
FORMULAS: dict[str, Formula] = {
    "multiple choice": _choice, "numerical": _numerical, "regression": _relative, "OCR": _words, "emer_ov_mc": _set, "emer_ov": _set,
    "judge": _yes_no,
}  # fmt: skip
SIMILARITY = """\
Two texts answer one question. How well does the second say what the first says? Wording does not count, facts do.
5: the same facts, details and relations. 3 or 4: the same core, other details. 1 or 2: some of it, with contradictions. 0: another matter.

First text: {truth}

Second text: {answer}

Reply with the number alone."""


def _has_mark(text: str) -> bool:
    return "." in text or "," in text


def _number(text: str) -> float | None:
    """As the published code reads numbers."""
    try:
        return float(text.replace(",", "")) if len(text) <= LONGEST_NUMBER else None
    except ValueError:
        return None


def _decimal(text: str) -> Decimal | None:
    """A finite number in digits; commas are left out."""
    plain = text.replace(",", "").strip() if len(text) <= LONGEST_NUMBER else ""
    try:
        return EXACT.create_decimal(plain) if NUMBER.fullmatch(plain) else None
    except InvalidOperation:
        return None


def _true_number(text: str) -> str:
    if _decimal(text) is None:
        raise ValueError(f"the solution {text[:40]!r} is no number")
    return text


def _rounded(text: str) -> float | None:
    found = _number(text)
    return None if found is None else round(found, 2)


def _relative_error(truth: str, answer: str) -> Decimal | None:
    right, given = _decimal(_true_number(truth)), _decimal(answer)
    if given is None:
        return None
    gap = EXACT.abs(EXACT.subtract(given, right))
    return EXACT.divide(gap, abs(right)) if right else Decimal(0 if not gap else 1)


def _word_accuracy(truth: str, answer: str) -> float:
    """1 - (substitutions + insertions + deletions) / words of the truth, at least 0."""
    right = truth.split()
    given = answer.split(None, 2 * len(right))  # with as many words as that the error is 1 already, whatever follows
    ids: dict[str, int] = {}
    a, b = (np.array([ids.setdefault(word, len(ids)) for word in words], np.int64) for words in (right, given))
    steps = np.arange(len(b) + 1)
    row = steps
    for i, word in enumerate(a):
        best = np.minimum(row[1:] + 1, row[:-1] + (b != word))
        row = np.minimum.accumulate(np.concatenate([[i + 1], best]) - steps) + steps
    return max(0.0, 1 - row[-1] / max(1, len(a)))
