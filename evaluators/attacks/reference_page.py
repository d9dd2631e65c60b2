"""Renders docs/attacks.md from the tables; `make docs` writes it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from unlearn_sweep.evaluators.attacks.catalog import CARDS
from unlearn_sweep.evaluators.attacks.presets import PRESETS, Preset
from unlearn_sweep.evaluators.cards import AttackCard

HEAD = """# Attacks

This page is written from the attack table. Change the table, then run
`python -m unlearn_sweep.evaluators.attacks.reference_page > docs/attacks.md`.

An attack takes an unlearned model, or its prompts, and gives states of growing strength. Each state is scored like any
model: on forget rows (only facts that the attack did not use itself) and on the utility rows in full, so that a broken
model does not pass for a robust one. The same attack is run on the original and on the gold model, and scores are read
between those two. Attacks on weights work on a private copy. The seed is an attack's only randomness; the target model,
its gradients and mode, the tokenizer and every global random state are left as found. At strength 0 (no steps, no
tokens, no shots, rate 0, 16 bits) an attack gives the target back bit for bit.

Rob is a minimum over families, so an attack of another family can only lower it.
"""


def render() -> str:
    """The whole page as Markdown."""
    overview = ["| attack | family | what it does |", "|---|---|---|"]
    overview += [f"| [`{card.name}`](#{card.name}) | {card.family} | {_cell(card.summary)} |" for card in CARDS]
    presets = [
        "## Presets",
        "",
        "Batteries under a name, for a sweep file's list of attacks: `- preset: full_stack`.",
        "",
    ]
    sections = [HEAD, "\n".join(overview) + "\n", *(_section(card) for card in CARDS), "\n".join(presets)]
    return "\n".join([*sections, *(_preset(name, preset) for name, preset in PRESETS.items())]).rstrip() + "\n"


def _section(card: AttackCard) -> str:
    lines = [f"## {card.name}", "", card.summary[0].upper() + card.summary[1:] + ".", ""]
    lines += [f"- Threat model: {card.threat}", f"- Family: {card.family}", f"- Cost: {card.cost}"]
    lines += [f"- Source: {card.source}", "", "| parameter | default | allowed | meaning |", "|---|---|---|---|"]
    schema = card.params.model_json_schema()
    for name, field in schema["properties"].items():
        default = "required" if name in schema.get("required", ()) else f"`{json.dumps(field.get('default'))}`"
        lines.append(f"| `{name}` | {default} | {_cell(_allowed(field))} | {_cell(field['description'])} |")
    return "\n".join([*lines, ""])


def _allowed(schema: Mapping[str, Any]) -> str:
    """The legal values of one parameter in words."""
    if "anyOf" in schema:
        return " or ".join(_allowed(option) for option in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(json.dumps(value) for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_allowed(schema['items'])}" + (
            f", at least {schema['minItems']}" if "minItems" in schema else ""
        )
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]:g}" for key, sign in bounds.items() if key in schema]
    words = {"string": "text", "boolean": "true, false", "object": "mapping", "null": "null"}
    kind = str(schema["type"])
    return " ".join([words.get(kind, kind), *limits])


def _preset(name: str, preset: Preset) -> str:
    attacks = "; ".join(f"`{json.dumps(dict(attack))}`" for attack in preset.attacks)
    missing = f" Not included: {preset.missing}." if preset.missing else ""
    return f"- **{name}**: {preset.summary} ({preset.source}). {attacks}.{missing}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(render())
