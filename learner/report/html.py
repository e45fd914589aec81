"""One HTML file of everything: markup, style, scripts, the charts' library and the content. It asks no server for anything.

Its Content-Security-Policy lets only these scripts run, by their digests, and lets nothing be fetched: whatever a prompt holds, it
stays text. The content travels as base64 of compressed JSON, and the page writes it as text and never as markup.
"""

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from rollout.io.files import strict

PAGE = Path(__file__).parent / "page"
SCRIPTS = (
    "content.js", "elements.js", "charts.js", "outputs.js", "bvh.js", "figure.js", "player.js", "verdict.js", "viewer.js", "groups.js",
    "curves.js", "timeline.js", "provenance.js", "blind.js", "live.js", "page.js",
)  # fmt: skip
CHARTS = ("bokeh.min.js", "bokeh-api.min.js")


def page(content: Mapping[str, Any], live: bool = False) -> bytes:
    """live: it asks the server that it came from for newer content, and that alone."""
    libraries = resources.files("bokeh") / "server" / "static" / "js"
    files = [*(PAGE / name for name in SCRIPTS), *(libraries / name for name in CHARTS)]
    scripts = [file.read_text(encoding="utf-8") for file in files]
    style, title = (PAGE / "page.css").read_text(encoding="utf-8"), " · ".join(run["name"] for run in content["runs"])
    theme = (PAGE / "theme.js").read_text(encoding="utf-8")  # first of all, or a dark page would flash
    digests = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in [theme, *scripts])
    server = "'self'" if live else "'none'"
    policy = f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:; connect-src {server}"
    filled = {
        "POLICY": policy, "TITLE": html.escape(title), "STYLE": style, "THEME": theme, "CONTENT": packed(content),
        "LIVE": "live" if live else "",
        "HEADLINE": html.escape(content["runs"][0]["verdict"]["headline"]),
        "SCRIPTS": "\n".join(f"<script>{script}</script>" for script in scripts),
    }  # fmt: skip
    parts = (PAGE / "page.html").read_text(encoding="utf-8").split("{{")  # not `replace`: what is filled in may hold a mark of its own
    written = [parts[0], *(filled[name] + rest for name, _, rest in (part.partition("}}") for part in parts[1:]))]
    return "".join(written).encode()


def packed(content: Mapping[str, Any]) -> str:
    """base64 of gzip of JSON: letters, digits, +, / and =."""
    text = json.dumps(strict(content), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()
