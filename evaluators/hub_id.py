"""The form of a hub id: `owner/name[@revision]`."""

from __future__ import annotations

import re

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@(?P<revision>[\w.-]+))?")


def is_hub_id(text: str, *, pinned: bool = False) -> bool:
    """Return whether a text has the form of a hub id. `pinned`: it must name a revision."""
    found = HUB_ID.fullmatch(text)
    return found is not None and not (pinned and found["revision"] is None)
