"""Writes the page of runs, and beside it the trace of where the time went."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from learner.report.content import content_of
from learner.report.html import page
from learner.run.spans import Span, trace
from rollout.io.files import replace_file

REPORT, TRACE = "report.html", "trace.json"


def write_report(paths: list[Path], out: Path, summary: Mapping[str, Any] | None = None) -> str:
    """The verdict on the first run, in Markdown. summary: see `content_of`. Raises InputError for what is no run folder, OSError for a place that cannot be written."""
    content = content_of(paths, summary)
    spans = [Span(*span) for span in content["runs"][0]["spans"]["list"]]
    replace_file(out, page(content))
    if len(paths) == 1:  # beside a page of another name, one of another name
        replace_file(out.with_name(TRACE if out.name == REPORT else f"{out.stem}.{TRACE}"), json.dumps(trace(spans)).encode())
    verdict = content["runs"][0]["verdict"]
    return f"**{verdict['headline']}**\n\n{' '.join(verdict['sentences'])}\n\nAll of it: the artifact {REPORT}."
