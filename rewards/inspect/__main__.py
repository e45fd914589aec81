"""`python -m rewards.inspect MOTIONS`: can this reward teach? Scores motions under any reward configuration.

MOTIONS is what `rollout.sample --out` wrote, a rollout .parquet of a run, or a folder of them (RUN/rollouts).

With --family language, `python -m rewards.inspect ROWS.jsonl --family language --scores SCORES.json` scores answers: a row is an
object of problem, problem_type, options, solution and completion (of points: image, mask, box, points). SCORES.json is a list of one
{NAME: value} a row; null where a component cannot score it.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from rewards.component_flags import PREFIX, merged, of_file, take_component_flags
from rewards.components import Component
from rewards.compose import raw_total
from rewards.family import sections
from rewards.inspect.inspection import TOTAL, Inspection, inspect
from rewards.inspect.report import draw, table
from rewards.motion.kinds import DEFAULT
from rewards.motion.settings import Evaluators, Reward
from rewards.motion.shorthands import MotionShorthands as Shorthands
from rewards.own_class import use_folder
from rewards.scoring import Scorer, Scores
from rewards.trust import HELP, modules_of, require_trust
from rollout.io.command import Parser, exit_code
from rollout.io.errors import InputError
from rollout.io.settings import Section
from rollout.io.text_files import parse_yaml


def main(argv: list[str]) -> int:
    """Exit status: 0 the reward can teach, 1 it has a fault that the printed words name, 2 bad input."""
    paths = [name for name in Evaluators.model_fields if name != "joints_path"]  # which judges, and is in no reward
    parser = Parser(
        prog="python -m rewards.inspect", description=__doc__, allow_abbrev=False, argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit status: 0 it can teach, 1 it has a serious fault, 2 bad input",
    )  # fmt: skip
    parser.add_argument("motions", type=Path, metavar="MOTIONS")
    parser.add_argument("--family", default="motion", metavar="TEXT", help="motion, or language: what is scored (default: %(default)s)")
    parser.add_argument("--scores", type=Path, metavar="FILE", help="JSON to write: a list of one {NAME: value or null} a row or motion")
    parser.add_argument("--config", metavar="FILE", help="YAML with a section `reward:`, such as a run's config.yaml (default: the demo's reward)")
    parser.add_argument("--trust", metavar="MODULE,MODULE", help=HELP)
    parser.add_argument(f"{PREFIX}NAME.KEY", metavar="VALUE", help="a setting of one component, as for learner.main")
    for name in Shorthands.model_fields:
        parser.add_argument(f"--{name}", metavar="VALUE", help="of the original implementation, as for learner.main")
    for name in paths:
        parser.add_argument(f"--reward.{name}", metavar="PATH", help="as for learner.main")
    parser.add_argument("--data", type=Path, metavar="FILE", help="Parquet of captioned motion, for the row of real motion")
    parser.add_argument("--picture", type=Path, default=Path("inspection.png"), metavar="FILE", help="PNG to draw (default: %(default)s)")

    def run() -> str:
        rest, components = take_component_flags(argv)
        given = vars(parser.parse_args(rest))
        kinds = sections(given["family"])["reward"]
        section = _reward_section(given["config"]) if "config" in given else {}
        shorthands = {f"--{name}": given[name] for name in Shorthands.model_fields if name in given}
        in_file = of_file(section.get("components"), "--config: reward.components")
        if "config" in given:
            require_trust(given["config"], in_file, {*given.get("trust", "").split(","), *modules_of(components).values()})
        found = merged(in_file, components)
        if found and shorthands:
            raise InputError(f"{next(iter(shorthands))}: given beside reward.components, expected one or the other")
        if given["family"] != "motion":
            return _score_rows(kinds(components=found) if found else kinds(), given)
        found = found or Shorthands.read(shorthands) or DEFAULT
        values = {name: given.get(f"reward.{name}", section.get(name)) for name in paths}
        reward = Reward(components=found, **values)
        parsed, (judge, _) = reward.parsed(), reward.chosen_judge()
        # torch takes seconds to import: only once the flags are good.
        from rewards.motion.loading import load_reward_and_judge
        from rewards.motion.motion_files import read_motions

        use_folder(os.getcwd())
        scorer, _ = load_reward_and_judge(parsed, judge, reward)
        motions = read_motions(given["motions"])
        for evaluator in scorer.evaluators.values():
            evaluator.require(motions.features.shape[2])
        result = inspect(scorer, parsed, motions, _real(scorer, parsed, given.get("data")))
        draw(given["picture"], result)
        if "scores" in given:
            from rewards.inspect.rows import write_scores

            write_scores(given["scores"], Scores({name: result.values[name] for name in parsed}, {}))
        print("\n".join([*table(result), *verdict(result), f"picture: {given['picture']}"]))
        serious = any(finding.serious for found in result.findings.values() for finding in found)
        return "failed" if serious else "finished"

    return exit_code(run)


def _score_rows(reward: Section, given: dict) -> str:
    """Answers in place of motions."""
    from rewards.inspect.rows import read_rows, report, write_scores
    from rewards.language.family import DEADLINE_S, make_scorer

    components, answers = reward.parsed(), read_rows(given["motions"])
    use_folder(os.getcwd())
    scores = make_scorer(components, "cpu", DEADLINE_S)(answers)
    if "scores" in given:
        write_scores(given["scores"], scores)
    print("\n".join(report(answers, components, scores)))
    return "finished"


def verdict(result: Inspection) -> list[str]:
    """What was found, in words, the serious faults first; one line each."""
    found = [(name, finding) for name, findings in result.findings.items() for finding in findings]
    lines = [f"FAULT  {name}: {finding.words}" for name, finding in found if finding.serious]
    lines += [f"note   {name}: {finding.words}" for name, finding in found if not finding.serious]
    lines += [f"failed {count} motions: {reason}" for reason, count in result.reasons.items()]
    lines += [f"real   {line}" for line in result.physical]
    lines += [f"scale  {line}" for line in result.suggestions]
    sound = not any(finding.serious for _, finding in found)
    return [*lines, "no fault found: this reward can teach these groups"] if sound else lines


def _reward_section(path: str) -> dict:
    try:
        content = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--config: cannot read {path} ({type(error).__name__})") from None
    except InputError as error:
        raise InputError(f"--config: {path}: {error}") from None
    section = content.get("reward") if isinstance(content, dict) else None
    if not isinstance(section, dict):
        raise InputError(f"--config: {path} has no section `reward:`")
    return section


def _real(scorer: Scorer, components: dict[str, Component], data: Path | None) -> dict[str, float]:
    """Mean scores of real motion by name; without those that it has none of, and {} without `data`."""
    if data is None:
        return {}
    from rewards.motion.motion_files import read_real

    values = scorer(read_real(data)).values
    columns = values | {TOTAL: raw_total(components, values)}
    return {name: float(np.nanmean(column)) for name, column in columns.items() if np.isfinite(column).any()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
