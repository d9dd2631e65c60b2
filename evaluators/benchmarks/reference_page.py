"""The page docs/benchmarks.md: `python -m unlearn_sweep.evaluators.benchmarks.reference_page > docs/benchmarks.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS
from unlearn_sweep.evaluators.benchmarks.places import __doc__ as PLACES
from unlearn_sweep.evaluators.cards import BenchmarkCard

HEAD = """# Benchmarks

This page is written from the benchmark table. Change the table, then run `python -m
unlearn_sweep.evaluators.benchmarks.reference_page > docs/benchmarks.md`.

A benchmark is rows to train on (views `forget` and `retain`), rows to judge by (split `forget` for UE, utility splits
for UT, split `holdout` for membership metrics), prompts, and the metrics that go with them. `authors` is built in,
[`custom`](own-data.md) is your own files; the others are published ones, read from the hub when a sweep runs, or from
a local folder that `path` names. `validate` and `plan` check local rows; of rows on the hub they say that they are
not known yet. Nothing of these data sets is part of this project.

The revision of a hub data set is not pinned unless `revision` says so: we have not seen the data sets' histories, and
name none. `validate` and `plan` say what is unpinned.
What a stage was computed on is pinned in any case, since its key holds a digest of all rows.

Published numbers to compare with: `unlearn-sweep papers`.

## A local folder

{places}
"""


def render() -> str:
    """The whole page as Markdown."""
    _, _, places = (PLACES or "").partition("\n\n")
    overview = ["| benchmark | what it is |", "|---|---|"]
    overview += [f"| [`{card.name}`](#{card.name}) | {card.summary} |" for card in BENCHMARKS.values()]
    parts = [HEAD.format(places=places.strip()), "\n".join(overview), "", *map(section, BENCHMARKS.values())]
    return "\n".join(parts)


def section(card: BenchmarkCard) -> str:
    """One benchmark: where it is from, what it has, and its options."""
    facts = {
        "Source": card.source,
        "Rows": card.splits,
        "Hub": f"{card.hub}; pinned by {revisions(card)}, else the newest" if card.hub else "",
        "Licence": card.licence,
        "Access": card.access if card.hub else "",
        "Original model": card.original,
        "Gold model": card.gold or "none can exist: `gold: {floor: chance}`",
        "Default metrics of UE": ", ".join(f"`{name}`" for name in card.metrics),
        "Default metrics of UT": ", ".join(f"`{name}`" for name in card.ut_metrics) or "the same, as far as they serve",
    }
    lines = [f"## {card.name}", "", card.summary[0].upper() + card.summary[1:] + ".", ""]
    lines += [f"- {name}: {text}" for name, text in facts.items() if text]
    lines += ["", "| option | default | takes | meaning |", "|---|---|---|---|"]
    schema = card.params.model_json_schema()
    for name, field in schema["properties"].items():
        default = "needed" if name in schema.get("required", ()) else f"`{json.dumps(field.get('default'))}`"
        meaning = str(field.get("description", "")).replace("|", "\\|").replace("None:", "`null`:")
        lines.append(f"| `{name}` | {default} | {takes(field)} | {meaning} |")
    return "\n".join([*lines, ""])


def revisions(card: BenchmarkCard) -> str:
    """The options that fix the hub's rows."""
    return ", ".join(f"`{name}`" for name in card.params.model_fields if name.rpartition("_")[2] == "revision")


def takes(schema: Mapping[str, Any]) -> str:
    """The legal values of one option in words."""
    if "anyOf" in schema:
        return " or ".join(takes(option) for option in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {takes(schema['items'])}"
    words = {
        "string": "text",
        "boolean": "`true`, `false`",
        "object": "mapping",
        "null": "`null`",
        "integer": "whole number",
    }
    kind = words.get(str(schema.get("type")), str(schema.get("type")))
    limits = [f"{sign} {schema[key]:g}" for key, sign in (("minimum", ">="), ("maximum", "<=")) if key in schema]
    return " ".join([kind, *limits])


if __name__ == "__main__":
    sys.stdout.write(render())
