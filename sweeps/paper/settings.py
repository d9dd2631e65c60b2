"""The settings of a paper's file, and how a sweep differs from them: model, rows, prompt, judge, method, attack.

Files are compared as they are written, without the checks that need a hub, views or a judge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import ModelSource, SweepJob
from unlearn_sweep.engine.search_space import Dimension, Fixed, MethodSpace, holds
from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS
from unlearn_sweep.evaluators.benchmarks.prompt_format import FORMAT_KEY, PromptSettings, settings_of
from unlearn_sweep.evaluators.paper_cards import Line, Scalar
from unlearn_sweep.methods.composed_card import canonical_name
from unlearn_sweep.sweeps.examples import example_file
from unlearn_sweep.sweeps.file.attacks import read_attacks
from unlearn_sweep.sweeps.file.file_schema import SourceSection, SweepFile
from unlearn_sweep.sweeps.file.methods import fixed_epochs, read_spaces
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.yaml_lines import parse_document, read_document

PLACES = ("path", "revision", "hub")
"""Ends of the names of options that say where rows lie, not which they are."""
NOT_TRAINING = ("backend", "zero_stage", "micro_batch_size", "activation_checkpointing", "epochs")
"""Training settings that change how a step is computed and not which step it is; `epochs` is a method's value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperSettings:
    """What the file of a paper says, as far as numbers depend on it.

    Attributes:
        model: folder or hub id of the original, or of the base that it is trained from.
        gold: the same for gold; "" if there is none.
        benchmark: name of the benchmark.
        options: options of the benchmark, without those in `PLACES`.
        prompt: section `prompt` with its defaults.
        training: settings that affect the trained weights.
        spaces: search space by canonical name of the method.
        attacks: parameters by label of the attack.
    """

    model: str
    gold: str
    benchmark: str
    options: Mapping[str, Any]
    prompt: Mapping[str, Any]
    training: Mapping[str, Any]
    spaces: Mapping[str, MethodSpace]
    attacks: Mapping[str, Mapping[str, Any]]


def paper_settings(name: str) -> PaperSettings:
    """Return the settings of the shipped file `papers/NAME`.

    Raises:
        UserError: there is no such file.
    """
    path = example_file(f"papers/{name}")
    document = read_document(path)
    file = SweepFile.model_validate(document.data)
    collector = ProblemCollector(document)
    options = {key: value for key, value in file.benchmark.items() if key != "name"}
    card = BENCHMARKS[str(file.benchmark["name"])]
    spaces = read_spaces(file.methods, fixed_epochs(file.training.epochs), collector)
    return PaperSettings(
        model=_section_model(file.model),
        gold=file.gold.floor or _section_model(file.gold),
        benchmark=card.name,
        options=_without_places(card.params.model_validate(options).model_dump(mode="json")),
        prompt=file.prompt.model_dump(mode="json"),
        training=_training(file.training.identity()),
        spaces={space.method: space for space in spaces},
        attacks={attack.label: attack.params for attack in read_attacks(file.attacks, Path.cwd(), collector)},
    )


def other_model(paper: PaperSettings, job: SweepJob) -> Iterator[str]:
    """Yield how the original differs."""
    own = _source_model(job.original)
    if own != paper.model:
        yield f"other model: {own}, the paper's is {paper.model}"


def other_gold(paper: PaperSettings, job: SweepJob) -> Iterator[str]:
    """Yield how the gold model differs, for metrics that compare with it."""
    own = job.gold.floor or _source_model(job.gold)
    if own != (paper.gold or paper.model):
        yield f"other gold model: {own}, the paper's is {paper.gold or f'{paper.model}, trained here'}"


def other_rows(paper: PaperSettings, job: SweepJob, *, rows_are_published: bool) -> Iterator[str]:
    """Yield how the rows differ. Rows from a folder count as others unless the user says that they are the same."""
    if job.benchmark.name != paper.benchmark:
        yield f"other rows: benchmark {job.benchmark.name}, the paper's is {paper.benchmark}"
        return
    own = _without_places(job.benchmark.params)
    for name, value in paper.options.items():
        if own.get(name) != value and name in own:
            yield f"other rows: benchmark.{name} {_shown(own[name])}, paper {_shown(value)}"
    if job.benchmark.params.get("path") and not rows_are_published:
        yield "other rows: read from a folder (--published-rows says that they are the published ones)"


def other_prompt(paper: PaperSettings, job: SweepJob) -> Iterator[str]:
    """Yield how the section `prompt` differs, as both files are written, or as the job has it if it has no file."""
    own: Mapping[str, Any] = job.benchmark.params.get(FORMAT_KEY) or {}
    if job.spec_text:
        section = (parse_document(job.spec_text, "sweep.yaml").data or {}).get("prompt", {})
        own = PromptSettings.model_validate(settings_of(section)).model_dump(mode="json")
    for name, value in paper.prompt.items():
        if name != "probe" and own.get(name) != value:
            yield f"other prompt: {name} {_shown(own.get(name))}, paper {_shown(value)}"


def other_settings(paper: PaperSettings, job: SweepJob, line: Line, params: Mapping[str, Scalar]) -> Iterator[str]:
    """Yield how the values of a trial and its training differ from those of the published line."""
    name = canonical_name(line.method)
    space = paper.spaces.get(name)
    if space is None:
        yield f"other settings: the paper's file does not run {line.method}"
        return
    for key, dimension in space.params.items():
        wanted: Dimension = Fixed(line.params[key]) if key in line.params else dimension
        if key in params and not _agrees(wanted, params[key]):
            yield f"other settings: {key} {_shown(params[key])}, paper {_described(wanted)}"
    own = _training(job.training.identity())
    for key, value in paper.training.items():
        if own.get(key) != value:
            yield f"other settings: training.{key} {_shown(own.get(key))}, paper {_shown(value)}"


def other_attack(paper: PaperSettings, job: SweepJob, label: str) -> Iterator[str]:
    """Yield how the parameters of an attack differ; "" is no attack."""
    own = next((attack.params for attack in job.attacks if attack.label == label), None)
    if not label or own is None:
        return
    for key, value in paper.attacks.get(label, {}).items():
        if own.get(key) != value and key != "data":
            yield f"other settings: {label}.{key} {_shown(own.get(key))}, paper {_shown(value)}"


def _agrees(dimension: Dimension, value: Scalar) -> bool:
    if not isinstance(dimension, Fixed):
        return holds(dimension, value)
    wanted = dimension.value
    if isinstance(wanted, float | int) and isinstance(value, float | int) and not isinstance(wanted, bool):
        return abs(float(wanted) - float(value)) <= 1e-9 * max(1e-9, abs(float(wanted)))
    return wanted == value


def _described(dimension: Dimension) -> str:
    return _shown(dimension.value) if isinstance(dimension, Fixed) else str(dimension)


def _section_model(section: SourceSection) -> str:
    if section.path is not None:
        return _without_revision(section.path)
    base = None if section.train is None else section.train.base
    return "" if base is None else _without_revision(base)


def _source_model(source: ModelSource) -> str:
    recipe = source.recipe or {}
    place = source.path or recipe.get("base")
    return _without_revision(str(place)) if place else "a small model made by the benchmark's recipe"


def _without_revision(place: str) -> str:
    return place.partition("@")[0]


def _without_places(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in options.items()
        if key.rpartition("_")[2] not in PLACES and key not in (FORMAT_KEY, "chat")
    }


def _training(identity: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in identity.items() if key not in NOT_TRAINING}


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
