"""Examples of the documentation as files."""

from __future__ import annotations

import re
from pathlib import Path

BLOCK = re.compile(r"```python\n# ([a-z_]+\.py)\n(.*?)```", re.DOTALL)


def examples(page: str) -> dict[str, str]:
    """Name and text of every Python example of a page that begins with its file's name."""
    return {name: text for name, text in BLOCK.findall(Path("docs", page).read_text(encoding="utf-8"))}
