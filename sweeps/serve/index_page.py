"""The list of a storage's sweeps as a page that keeps itself up to date."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.status import status

SCRIPT = """
setInterval(async () => {
  try {
    const text = await (await fetch(location.href)).text();
    const rows = new DOMParser().parseFromString(text, "text/html").querySelector("tbody");
    if (rows) document.querySelector("tbody").replaceWith(rows);
  } catch (error) { /* the server has ended: the rows stay as they are */ }
}, 5000);
"""
STYLE = """
:root { --ground: #ffffff; --ink: #1b1f24; --soft: #59636e; --line: #d9dde3; --accent: #0b62b8; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171b; --ink: #e8eaed; --soft: #a0a8b2; --line: #363c44; --accent: #7ab7f5; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; background: var(--ground); color: var(--ink); }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } a { color: var(--accent); } .wide { overflow-x: auto; }
table { border-collapse: collapse; } td, th { text-align: left; padding: 6px 18px 6px 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
"""  # noqa: E501 - CSS
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}"><meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark"><title>Sweeps</title><style>{style}</style></head>
<body><main><h1>Sweeps in {root}</h1><div class="wide" tabindex="0" role="region" aria-label="Sweeps"><table>
<thead><tr><th scope="col">sweep</th><th scope="col">benchmark</th><th scope="col">state</th>
<th scope="col" class="number">settled</th><th scope="col" class="number">on the front</th>
<th scope="col" class="number">hypervolume</th><th scope="col" class="number">time left</th></tr></thead>
<tbody>{rows}</tbody></table></div></main><script>{script}</script></body></html>"""


def index_page(root: Path, sweeps: Mapping[str, Path], token: str) -> str:
    """Return the list of all sweeps below `root`, each with its state. Links carry `token`, if it is not empty."""
    query = f"?token={quote(token)}" if token else ""
    rows = "".join(_row(name, status(folder), query) for name, folder in sweeps.items())
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'"
    )
    return PAGE.format(policy=policy, style=STYLE, root=escape(str(root)), rows=rows, script=SCRIPT)


def _row(name: str, now: dict[str, Any], query: str) -> str:
    wanted = "" if now["wanted"] is None else f" of {now['wanted']}"
    left = "" if now["time_left_seconds"] is None else f"about {duration(now['time_left_seconds'])}"
    texts = [str(now["benchmark"] or ""), now["state"]]
    numbers = [f"{now['settled']}{wanted}", str(len(now["front"])), f"{now['hypervolume']:.3f}", left]
    cells = "".join(f"<td>{escape(text)}</td>" for text in texts)
    cells += "".join(f'<td class="number">{escape(text)}</td>' for text in numbers)
    return f'<tr><td><a href="/{quote(name)}/{escape(query)}">{escape(name)}</a></td>{cells}</tr>'
