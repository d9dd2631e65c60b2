"""`unlearn-sweep answers`: print what original, gold and unlearned models answer, side by side."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unlearn_sweep.sweeps.arguments import AsJson, Folder, Plugins, text_if_given
from unlearn_sweep.sweeps.commands.sweep_folder import of_folder, use_given
from unlearn_sweep.sweeps.printing import print_error, print_json_text, print_line
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    import pandas as pd
    from rich.text import Text

    from unlearn_sweep.engine.answers import Answers

ROWS = 10


def answers(
    directory: Folder,
    trial: Annotated[int | None, typer.Argument(metavar="TRIAL", help="Number of a trial; else the picks.")] = None,
    attack: Annotated[
        str | None, typer.Option(metavar="ATTACK", callback=text_if_given, help="Only under this attack.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="SPLIT", callback=text_if_given, help="Only rows of this split, such as forget."),
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", callback=text_if_given, help="Only questions with this text in them.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Questions to print.")] = ROWS,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Print what the original, the gold and the unlearned models answer, before and under each attack."""
    use_given(plugin)
    found = of_folder(lambda folder: _read(folder, trial), directory)
    table = _narrowed(found.table, attack=attack, split=split, search=search)
    if as_json:
        print_json_text(str(table.to_json(orient="records", indent=1, force_ascii=False)))
    else:
        _print(table, rows)
    for problem in found.problems:
        print_error(f"left out: {problem}")


def _read(directory: Path, trial: int | None) -> Answers:
    from unlearn_sweep.engine.answers import read_answers
    from unlearn_sweep.sweeps.report.document import make_report
    from unlearn_sweep.sweeps.report.records import read_sweep

    data = read_sweep(directory)
    picks = [pick.number for pick in make_report(data).picks]
    return read_answers(data.snapshot, picks if trial is None else [trial])


def _narrowed(table: pd.DataFrame, *, attack: str | None, split: str | None, search: str | None) -> pd.DataFrame:
    """Return the lines that match all conditions.

    Raises:
        UserError: No answer is under this attack or in this split; the message lists those that have answers.
    """
    for name, wanted in (("attack", attack), ("split", split)):
        known = sorted(filter(None, table[name].unique()))
        wanted = label_named(wanted, known) if name == "attack" and wanted is not None else wanted
        if wanted is not None and wanted not in known:
            raise UserError(f"no answers of {name} {wanted!r}; there are answers of {', '.join(known) or 'none'}")
        if wanted is not None:
            table = table.loc[table[name] == wanted]
    if search is not None:
        texts = table["question"].fillna("") + "\n" + table["reference"].fillna("") + "\n" + table["answer"]
        ids = table.loc[texts.str.contains(search, case=False, regex=False), "row_id"]
        table = table.loc[table["row_id"].isin(ids.unique().tolist())]
    return table


def label_named(wanted: str, labels: list[str]) -> str:
    """Return the only label of attack `wanted` (`quantize` for `quantize-4bit`), or `wanted` if there are several."""
    own = [label for label in labels if label.startswith(f"{wanted}-")]
    return own[0] if wanted not in labels and len(own) == 1 else wanted


def _print(table: pd.DataFrame, rows: int) -> None:
    from rich.text import Text

    from unlearn_sweep.sweeps.screen import Screen

    console = Screen()
    blocks = [block for _, block in table.groupby(["split", "row_id"], sort=False)]
    for block in blocks[:rows]:
        first = block.iloc[0]
        question = first["question"] if isinstance(first["question"], str) else f"row {first['row_id']}"
        console.print(Text.assemble((question, "bold"), f"  [{first['split']}]"), soft_wrap=True)
        lines = list(_lines(block))
        width = max(len(label) for label, _ in lines)
        for label, text in lines:
            console.print(Text.assemble(f"  {label:<{width}}  ", text), soft_wrap=True, highlight=False)
    shown = min(rows, len(blocks))
    print_line(f"{shown} of {len(blocks)} questions; words of the reference are bold. --rows N prints more.")


def _lines(block: pd.DataFrame) -> Iterator[tuple[str, Text]]:
    from rich.text import Text

    reference = block.iloc[0]["reference"]
    known = isinstance(reference, str)
    yield "reference", Text(reference if known else "unknown")
    names = ("model", "attack", "strength", "unit", "answer", "thought")
    for model, attack, strength, unit, answer, thought in zip(*(block[name] for name in names), strict=True):
        label = model if not attack else f"{model} under {attack}"
        if attack and not math.isnan(strength):
            label += f" {strength:g} {unit}"
        if isinstance(thought, str):
            yield f"{label}, thought", Text(" ".join(thought.split()) or "(none)", style="dim")
        yield label, marked(answer, reference if known else "")


def marked(answer: str, reference: str) -> Text:
    """Return the answer with the words that it shares with the reference, in the same order, in bold."""
    from rich.text import Text

    if not answer.strip():
        return Text("(empty)", style="dim")
    words = answer.split()
    match = difflib.SequenceMatcher(
        None, [_plain(word) for word in words], [_plain(word) for word in reference.split()]
    )
    shared = {place for start, _, size in match.get_matching_blocks() for place in range(start, start + size)}
    text = Text()
    for place, word in enumerate(words):
        text.append(word, style="bold" if place in shared and _plain(word) else "")
        text.append(" ")
    return text


def _plain(word: str) -> str:
    return "".join(char for char in word.lower() if char.isalnum())
