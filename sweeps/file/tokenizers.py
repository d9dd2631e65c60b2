"""Check the tokenizers of the given models.

All models use the tokenizer of the original model, unless the file names another one. A model whose folder contains a
different tokenizer gives a note, or a mistake if the vocabularies differ, as the same ids then stand for other tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn_sweep.engine.models.headers import BrokenWeightsError
from unlearn_sweep.engine.models.inspection import inspect_folder
from unlearn_sweep.engine.models.tokenizer_files import TokenizerFacts, differences, has_tokenizer, read_tokenizer
from unlearn_sweep.evaluators.hub_id import is_hub_id
from unlearn_sweep.sweeps.file.file_schema import SourceSection, SweepFile
from unlearn_sweep.sweeps.file.paths import absolute, check_model_path, is_local, report_missing
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, shown
from unlearn_sweep.sweeps.file.yaml_lines import KeyPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A model that the file gives by folder or hub id.

    Attributes:
        model: Its folder or hub id.
        path: Where the file names it.
        tokenizer: Its tokenizer, if the file names one.
        tokenizer_path: Where the file names the tokenizer.
    """

    model: str
    path: KeyPath
    tokenizer: str | None = None
    tokenizer_path: KeyPath = ()


def check_tokenizers(file: SweepFile, folder: Path, collector: ProblemCollector) -> None:
    """Check the models that a sweep file gives, and their tokenizers."""
    for name, source in (("model", file.model), ("gold", file.gold)):
        if source.tokenizer is not None and source.path is None and collector.is_valid((name, "tokenizer")):
            message = "without a path: a trained model has the tokenizer of its base"
            collector.add((name, "tokenizer"), message, allowed="beside a path", advice="remove it")
    original, gold = _given(file.model, "model", collector), _given(file.gold, "gold", collector)
    check_given(original, [gold] if gold is not None else [], folder, collector)


def _given(source: SourceSection, name: str, collector: ProblemCollector) -> Given | None:
    if source.path is None or not collector.is_valid((name, "path"), (name, "tokenizer")):
        return None
    return Given(model=source.path, path=(name, "path"), tokenizer=source.tokenizer, tokenizer_path=(name, "tokenizer"))


def check_given(original: Given | None, others: list[Given], folder: Path, collector: ProblemCollector) -> None:
    """Check the model folders, and compare their tokenizers with that of the original if it is on this machine."""
    shared = None
    if original is not None:
        shared = _own(original, folder, collector)
        elsewhere = shared is None and original.tokenizer is not None
        _check(original, folder, shared, collector, elsewhere=elsewhere)
    for other in others:
        used = shared if other.tokenizer is None else _own(other, folder, collector)
        _check(other, folder, used, collector, elsewhere=used is None)
        if collector.is_valid(other.path) and used is not None and other.tokenizer is None:
            _compare(other, folder, used, collector)


def _own(given: Given, folder: Path, collector: ProblemCollector) -> Path | None:
    """Return the folder of a model's tokenizer: the named one, else the model's. None if it is not on this machine."""
    if given.tokenizer is None:
        place = absolute(given.model, folder)
        return place if place.is_dir() and has_tokenizer(place) else None
    place = absolute(given.tokenizer, folder)
    path = given.tokenizer_path
    if not is_local(given.tokenizer, place):
        if not is_hub_id(given.tokenizer):
            allowed = "a folder, or a hub id owner/name[@revision]"
            collector.add(path, "neither a folder nor a hub id", given=shown(given.tokenizer), allowed=allowed)
        return None
    if not place.is_dir():
        report_missing(given.tokenizer, place, path, collector, wanted="a folder with a tokenizer")
    elif not has_tokenizer(place):
        message = "no tokenizer in this folder"
        collector.add(
            path, message, given=shown(given.tokenizer), allowed="tokenizer.json, tokenizer.model or vocab.json"
        )
    else:
        return place
    return None


def _check(given: Given, folder: Path, used: Path | None, collector: ProblemCollector, *, elsewhere: bool) -> None:
    """Report faults of a model folder with the tokenizer that it is used with, and add notes about loading it."""
    check_model_path(given.model, given.path, folder, collector, tokenizer=used, elsewhere=elsewhere)
    place = absolute(given.model, folder)
    if collector.is_valid(given.path) and place.is_dir():
        for note in inspect_folder(place, used, elsewhere=elsewhere).notes:
            collector.note(given.path, note)


def _compare(other: Given, folder: Path, used: Path, collector: ProblemCollector) -> None:
    """Compare the tokenizer in a model's folder, which is not used, with the one that is used."""
    place = absolute(other.model, folder)
    ours, own = _facts(used), _facts(place)
    if place.is_dir() and own is None:
        collector.note(other.path, "no tokenizer in its folder; the original's tokenizer is used")
    if ours is None or own is None or not (found := differences(ours, own)):
        return
    if ours.vocabulary != own.vocabulary:
        collector.add(
            other.path,
            f"its tokenizer has another vocabulary than the original's ({used}), so the same ids mean different tokens",
            given=shown(other.model),
            allowed="a model with the original's vocabulary",
            advice="to prompt this model with its own tokenizer, name that tokenizer",
        )
        return
    collector.note(
        other.path, f"its tokenizer is not the original's ({listing(found)}); the original's is used for it too"
    )


def _facts(folder: Path) -> TokenizerFacts | None:
    try:
        return read_tokenizer(folder) if folder.is_dir() else None
    except BrokenWeightsError:
        return None  # reported as a fault of the folder
