"""Export the model of a trial as a Hugging Face model folder with a model card."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from unlearn_sweep.engine.models.headers import WEIGHTS
from unlearn_sweep.engine.privacy.secrets import redact
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.damaged import DamagedFileError
from unlearn_sweep.engine.store.records import AttackScore, TrialRecord
from unlearn_sweep.engine.store.snapshot import Snapshot, read_snapshot
from unlearn_sweep.engine.store.stages import StageStore, check_stored_weights
from unlearn_sweep.user_error import UserError

# Weights, configuration, tokenizer, chat template. Other files, pickles in particular, are not exported.
EXPORTED_SUFFIXES = frozenset({".safetensors", ".json", ".model", ".txt", ".jinja"})
SHOWN_TRIALS = 12


ANOTHER_FOLDER = "Give another folder."
ANOTHER_TRIAL = "Choose another trial; `unlearn-sweep status` lists the front."


class ExportError(UserError, ValueError):
    """The export is not possible; nothing was written. The message gives the reason and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """Result of an export.

    Attributes:
        folder: Folder that was written.
        record: Record of the exported trial.
        files: Names of the written files.
        bytes: Total size of the files.
    """

    folder: Path
    record: TrialRecord
    files: tuple[str, ...]
    bytes: int


def export_trial(directory: Path, trial: str, out: Path) -> ExportResult:
    """Write the model of a trial, given by number or key, as a model folder at `out`.

    The folder is written under a temporary name and renamed to `out` when complete. `out` must not exist or must be
    an empty folder.

    Raises:
        NotASweepError: `directory` is not a sweep.
        ExportError: the trial or its model does not exist, its weights are damaged, or `out` is in use.
    """
    snapshot = read_snapshot(directory)
    record = find_trial(snapshot.records, trial)
    source = model_folder(snapshot, record)
    try:
        check_stored_weights(source)
    except DamagedFileError as error:
        raise ExportError(
            f"{error.path} is damaged ({error.why}), and the model of trial {record.number} is not exported",
            advice=f"Remove {source}, and run the sweep of these lines over the same storage to train it again:\n\n"
            f"{rebuild_lines(snapshot, record)}",
        ) from None
    _check_free(out)
    card = model_card(snapshot, record)
    names = sorted(path.name for path in source.iterdir() if path.is_file() and path.suffix in EXPORTED_SUFFIXES)
    with durable.new_folder(out) as scratch:
        for name in names:
            shutil.copyfile(source / name, scratch / name)
        (scratch / "README.md").write_text(card)
    if not (out / "README.md").is_file() or (out / "README.md").read_text() != card:
        raise ExportError(
            f"{out} was created by another process in the meantime and was not changed", advice=ANOTHER_FOLDER
        )
    files = (*names, "README.md")
    return ExportResult(
        folder=out, record=record, files=files, bytes=sum((out / name).stat().st_size for name in files)
    )


def find_trial(records: Sequence[TrialRecord], wanted: str) -> TrialRecord:
    """Return the trial with this number, key or unique key prefix (at least 4 characters).

    A duplicate is resolved to the trial it repeats.

    Raises:
        ExportError: no trial matches, or the prefix is ambiguous.
    """
    if not records:
        raise ExportError("this sweep has no settled trial yet", advice="`unlearn-sweep status` shows its progress.")
    for record in records:
        if wanted in (str(record.number), record.key):
            return _original_of(records, record)
    begins = [record for record in records if len(wanted) >= 4 and record.key.startswith(wanted)]
    if len({record.key for record in begins}) == 1:
        return _original_of(records, begins[0])
    raise ExportError(_unknown_trial(records, wanted), advice=ANOTHER_TRIAL)


def _original_of(records: Sequence[TrialRecord], record: TrialRecord) -> TrialRecord:
    """Return the trial that a duplicate repeats, or the record itself. A duplicate has no model of its own."""
    if record.duplicate_of is None:
        return record
    return next((other for other in records if other.number == record.duplicate_of), record)


def _unknown_trial(records: Sequence[TrialRecord], wanted: str) -> str:
    numbers = ", ".join(str(record.number) for record in records[:SHOWN_TRIALS])
    more = f" and {len(records) - SHOWN_TRIALS} more" if len(records) > SHOWN_TRIALS else ""
    near = difflib.get_close_matches(wanted, [record.key for record in records], n=1)
    hint = f"; the nearest key is {near[0]}" if near else ""
    return (
        f"no trial {wanted!r} in this sweep{hint}. Settled trials: {numbers}{more} "
        f"(a key works too, such as {records[0].key}); the report lists them all"
    )


def model_folder(snapshot: Snapshot, record: TrialRecord) -> Path:
    """Return the folder with the weights of a trial.

    If the model is only in the sweep's mirror, copy it into the store first.

    Raises:
        ExportError: the weights do not exist or were evicted; the message says how to get them.
    """
    if record.state == "stopped":
        raise ExportError(
            f"trial {record.number} left no model: {record.reason or 'its training was stopped'}", advice=ANOTHER_TRIAL
        )
    key = record.stage_keys.get("unlearn")
    store = StageStore(snapshot.folder.resolve().parent)
    places = [store.model_folder(key)] if key else []
    mirror = snapshot.spec.get("mirror")
    if key is not None and isinstance(mirror, str) and not places[0].is_dir():
        _fetch(mirror, store, key)
    if record.model_path is not None:
        places.append(Path(record.model_path))
    for place in places:
        if place.is_dir() and any(place.glob(WEIGHTS)):
            return place
    if record.state == "failed":
        raise ExportError(
            f"trial {record.number} failed in {record.failed_stage or 'an unnamed stage'} and left no model: "
            f"{record.reason or 'no reason recorded'}",
            advice=ANOTHER_TRIAL,
        )
    if snapshot.front is not None and record.key in snapshot.front.front:
        raise ExportError(
            f"trial {record.number} is on the front, but its weights are not in the store",
            advice="Rerun the same sweep, which rebuilds missing models of the front at its end.",
        )
    raise ExportError(
        f"the weights of trial {record.number} are no longer in the store: only models on the front are kept",
        advice="To train them again, run a sweep with these lines over the same storage and export its trial 0; "
        f"finished evaluations and attacks are reused:\n\n{rebuild_lines(snapshot, record)}",
    )


def _fetch(uri: str, store: StageStore, key: str) -> None:
    """Copy the model of a stage from the mirror into the store, if the mirror has it.

    Raises:
        ExportError: the mirror cannot be read.
    """
    from unlearn_sweep.engine.mirror.address import Mirror, MirrorError, errors_told
    from unlearn_sweep.engine.mirror.presence import place_of
    from unlearn_sweep.engine.mirror.pull import fetch_model

    try:
        with errors_told():
            fetch_model(Mirror(uri, writer=place_of(store)), store, key)
    except MirrorError as error:
        raise ExportError(f"the model is not here, and {error}") from None


def rebuild_lines(snapshot: Snapshot, record: TrialRecord) -> str:
    """Return the lines of a sweep file that trains only this trial."""
    lines = {
        "name": f"{snapshot.name}-trial-{record.number}",
        "seed": record.seed,
        "methods": {record.method: dict(record.params)},
        "search": {"trials": 1},
    }
    text = yaml.safe_dump(lines, sort_keys=False, allow_unicode=True)
    return "".join(f"    {line}\n" for line in text.splitlines()) + "    # everything else as in the sweep's own file\n"


def _check_free(out: Path) -> None:
    if out.is_dir() and not out.is_symlink():
        inside = sorted(path.name for path in out.iterdir())
        if inside:
            raise ExportError(f"{out} is not empty (it has {inside[0]}); nothing is overwritten", advice=ANOTHER_FOLDER)
        out.rmdir()
    elif out.exists() or out.is_symlink():
        raise ExportError(f"{out} exists and is no folder; nothing is overwritten", advice=ANOTHER_FOLDER)


# --- the model card ---------------------------------------------------------------------------------------------------


def model_card(snapshot: Snapshot, record: TrialRecord) -> str:
    """Return README.md of the exported model: its origin, its measurements and how to load it."""
    base = _base_model(snapshot)
    head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["unlearning"]}
    if base is not None and "/" in base:
        head["base_model"] = base.partition("@")[0]
    sections = [
        "---\n" + yaml.safe_dump(head, sort_keys=False) + "---\n",
        f"# {snapshot.name}: trial {record.number} ({record.method})\n",
        _origin(snapshot, record, base),
        "## Parameters\n\n" + _params_table(record.params),
        "## What was measured\n\n" + _objectives_table(record) + "\n" + _objectives_note(record),
    ]
    if record.attacks:
        sections.append("## Attacks\n\n" + _attacks_table(record.attacks))
    sections.append("## How to load it\n\n" + _LOADING)
    return redact("\n".join(sections))


def _base_model(snapshot: Snapshot) -> str | None:
    """Return the hub id or folder name of the original model, or of the base it was trained from; None if unknown."""
    for name in ("original", "model"):
        source = snapshot.spec.get(name)
        if not isinstance(source, Mapping):
            continue
        recipe = source.get("recipe")
        path = source.get("path") or (recipe.get("base") if isinstance(recipe, Mapping) else None)
        if isinstance(path, str):
            # The card may be published, so it contains the name of a local folder but not its path.
            return Path(path).name if Path(path).is_absolute() else path
    return None


def _is_fine_tuned(snapshot: Snapshot) -> bool:
    """Return whether the sweep trained the original model from a base."""
    source = snapshot.spec.get("original")
    return isinstance(source, Mapping) and source.get("path") is None and _base_model(snapshot) is not None


def _origin(snapshot: Snapshot, record: TrialRecord, base: str | None) -> str:
    start = f"`{base}`" if base else "the benchmark's own small model, trained from its recipe"
    start += ", which the sweep had fine-tuned on the benchmark," if _is_fine_tuned(snapshot) else ""
    return (
        f"A model that was made to forget part of what it knew. It started from {start} on the benchmark "
        f"`{snapshot.benchmark or 'not recorded'}`, was unlearned by `{record.method}` with seed {record.seed}, and "
        f"was chosen from an unlearn-sweep search (trial key `{record.key}`, state {record.state}).\n\n"
        "Forgetting was measured on this benchmark and under these attacks only. It does not prove that other attacks "
        "cannot bring the knowledge back.\n"
    )


def _params_table(params: Mapping[str, Any]) -> str:
    # Not rounded: training the model again needs the exact values.
    lines = [f"| {name} | {_cell(str(value))} |\n" for name, value in sorted(params.items())]
    return "| parameter | value |\n| --- | --- |\n" + "".join(lines)


def _objectives_table(record: TrialRecord) -> str:
    rows = (
        ("UE (forgetting)", record.ue, record.report_ue),
        ("UT (utility kept)", record.ut, record.report_ut),
        ("Rob (forgetting that survives the attacks)", record.rob, record.report_rob),
    )
    lines = [f"| {name} | {_cell(search)} | {_cell(report)} |\n" for name, search, report in rows]
    return "| objective | search half | report half |\n| --- | --- | --- |\n" + "".join(lines)


def _objectives_note(record: TrialRecord) -> str:
    note = (
        "All lie in [0, 1], higher is better; the original model has UE 0 and UT 1, a model that never saw the forget "
        "set has UE 1. The search saw the search half only, so compare models by the report half.\n"
    )
    if record.rob_is_bound:
        note += "\nRob is an upper bound: attacks were skipped that could no longer change the search's outcome.\n"
    if record.reason:
        note += f"\n{record.reason}\n"
    return note


def _attacks_table(attacks: Sequence[AttackScore]) -> str:
    head = "| attack | family | still forgotten | report half | utility after it |\n| --- | --- | --- | --- | --- |\n"
    return head + "".join(
        f"| {_cell(score.attack)} | {score.family} | {_cell(score.value, score.reason)} | "
        f"{_cell(score.report_value)} | {_cell(score.utility)} |\n"
        for score in attacks
    )


def _cell(value: Any, reason: str | None = None) -> str:
    """Return the text of a table cell: floats with four significant digits, None as "none" with the reason."""
    if value is None:
        return f"none ({reason})".replace("|", "\\|") if reason else "none"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


_LOADING = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # where this file is
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
inputs = tokenizer("Question: Who are you?\\nAnswer:", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=32)[0], skip_special_tokens=True))
```
"""
