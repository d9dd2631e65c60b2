"""Which tokenizer each model of a sweep is used with, and what its folder says about that.

One tokenizer serves all models: the original's. A folder that carries another is said, or refused where ids of one
mean other words in the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn_sweep.engine.model_folder.headers import BrokenWeightsError
from unlearn_sweep.engine.model_folder.inspection import inspect_folder
from unlearn_sweep.engine.model_folder.tokenizer_files import TokenizerFacts, differences, has_tokenizer, read_tokenizer
from unlearn_sweep.sweeps.file.file_schema import SourceSection, SweepFile
from unlearn_sweep.sweeps.file.paths import HUB_ID, absolute, check_model_path, is_local, report_missing
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, shown
from unlearn_sweep.sweeps.file.yaml_lines import KeyPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A model that is given, at `path` of the file; `tokenizer` where it is named, and where (`tokenizer_path`)."""

    model: str
    path: KeyPath
    tokenizer: str | None = None
    tokenizer_path: KeyPath = ()


def check_tokenizers(file: SweepFile, folder: Path, draft: ProblemCollector) -> None:
    """The given models of a sweep file with their tokenizers."""
    for name, source in (("model", file.model), ("gold", file.gold)):
        if source.tokenizer is not None and source.path is None and draft.sound((name, "tokenizer")):
            message = "without a path: a trained model has the tokenizer of its base"
            draft.add((name, "tokenizer"), message, allowed="beside a path", advice="remove it")
    original, gold = _given(file.model, "model", draft), _given(file.gold, "gold", draft)
    check_given(original, [gold] if gold is not None else [], folder, draft)


def _given(source: SourceSection, name: str, draft: ProblemCollector) -> Given | None:
    if source.path is None or not draft.sound((name, "path"), (name, "tokenizer")):
        return None
    return Given(model=source.path, path=(name, "path"), tokenizer=source.tokenizer, tokenizer_path=(name, "tokenizer"))


def check_given(original: Given | None, others: list[Given], folder: Path, draft: ProblemCollector) -> None:
    """Folders, and their tokenizers against the one that is used for all: the original's, where it is known here."""
    shared = None
    if original is not None:
        shared = _own(original, folder, draft)
        elsewhere = shared is None and original.tokenizer is not None
        _check(original, folder, shared, draft, elsewhere=elsewhere)
    for other in others:
        used = shared if other.tokenizer is None else _own(other, folder, draft)
        _check(other, folder, used, draft, elsewhere=used is None)
        if draft.sound(other.path) and used is not None and other.tokenizer is None:
            _compare(other, folder, used, draft)


def _own(given: Given, folder: Path, draft: ProblemCollector) -> Path | None:
    """The local folder of a model's tokenizer: the one that is named, or the model's; None where it is on the hub."""
    if given.tokenizer is None:
        place = absolute(given.model, folder)
        return place if place.is_dir() and has_tokenizer(place) else None
    place = absolute(given.tokenizer, folder)
    path = given.tokenizer_path
    if not is_local(given.tokenizer, place):
        if not HUB_ID.match(given.tokenizer):
            allowed = "a folder, or a hub id owner/name[@revision]"
            draft.add(path, "neither a folder nor a hub id", given=shown(given.tokenizer), allowed=allowed)
        return None
    if not place.is_dir():
        report_missing(given.tokenizer, place, path, draft, wanted="a folder with a tokenizer")
    elif not has_tokenizer(place):
        message = "no tokenizer in this folder"
        draft.add(path, message, given=shown(given.tokenizer), allowed="tokenizer.json, tokenizer.model or vocab.json")
    else:
        return place
    return None


def _check(given: Given, folder: Path, used: Path | None, draft: ProblemCollector, *, elsewhere: bool) -> None:
    """Faults of a folder with the tokenizer it is used with, and what loading it does besides reading its weights."""
    check_model_path(given.model, given.path, folder, draft, tokenizer=used, elsewhere=elsewhere)
    place = absolute(given.model, folder)
    if draft.sound(given.path) and place.is_dir():
        for note in inspect_folder(place, used, elsewhere=elsewhere).notes:
            draft.note(given.path, note)


def _compare(other: Given, folder: Path, used: Path, draft: ProblemCollector) -> None:
    """A folder's own tokenizer, which is not used, against the one that is."""
    place = absolute(other.model, folder)
    ours, own = _facts(used), _facts(place)
    if place.is_dir() and own is None:
        draft.note(other.path, "no tokenizer beside its weights; the original's is used for it too")
    if ours is None or own is None or not (found := differences(ours, own)):
        return
    if ours.vocabulary != own.vocabulary:
        draft.add(
            other.path,
            f"its tokenizer has another vocabulary than the original's ({used}), so the same ids are other words to it",
            given=shown(other.model),
            allowed="a model with the original's vocabulary",
            advice="if it is to be asked in its own, name its tokenizer",
        )
        return
    draft.note(other.path, f"its tokenizer is not the original's ({listing(found)}); the original's is used for it too")


def _facts(folder: Path) -> TokenizerFacts | None:
    try:
        return read_tokenizer(folder) if folder.is_dir() else None
    except BrokenWeightsError:
        return None  # reported as a fault of that folder
