"""The parts that RWKU's forget probes are told apart by: three levels, and nine types of adversarial probe."""

from __future__ import annotations

import re
from collections.abc import Mapping

PROBE_TYPES: Mapping[str, tuple[str, str]] = {
    "prefix_injection": ("prefix", "a prefix that orders the model to answer"),
    "affirmative_suffix": ("affirmative", "the beginning of an answer behind the question"),
    "role_playing": ("role", "the model is to play a part that knows"),
    "multiple_choice": ("choice", "the answer among others"),
    "reverse_query": ("reverse", "from the answer back to the person"),
    "synonym_manipulation": ("synonym", "key words in other words"),
    "background_hint": ("background", "a hint before the question"),
    "in_context_learning": ("context", "other questions about the person, with answers, before it"),
    "cross_lingual": ("lingual", "the question in another language"),
}
"""Each type of level 3: the word that its name has in the data, whatever else stands there, and what it is."""

RWKU_METRICS: Mapping[str, str] = {
    **{f"rwku_level{level}": f"level{level}" for level in (1, 2, 3)},
    **{f"rwku_{probe}": f"level3/{probe}" for probe in PROBE_TYPES},
}
"""Each metric of one part of RWKU's forget probes, and the part."""


def in_part(row_part: str, part: str) -> bool:
    """Whether a row's part is this part or lies in it, as "level3/role_playing" lies in "level3"."""
    return row_part == part or row_part.startswith(f"{part}/")


def probe_part(level: int, type_name: str) -> str:
    """The part of a forget probe: "level1", "level2", or "level3/" and its type.

    A type of level 3 that is none of the nine keeps its own name, in lower case with underscores.
    """
    if level != 3:
        return f"level{level}"
    plain = re.sub(r"[^a-z]+", "_", type_name.lower()).strip("_")
    found = next((name for name, (word, _) in PROBE_TYPES.items() if word in plain), plain)
    return f"level3/{found}" if found else "level3"
