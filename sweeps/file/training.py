"""Read searched settings of the training from the sweep file: each may be a value or a space, as a method's parameter.

The limits of a setting are those of its field in `TrainingSettings`, so a setting that is added there is searchable.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from unlearn_sweep.engine.optimizers.catalog import SECTIONS
from unlearn_sweep.engine.search_space import CHECKPOINT, Choice, Dimension, Fixed, MethodSpace, Scalar, end_values
from unlearn_sweep.engine.training.settings import CHANGES_NO_WEIGHTS, LoraSettings, TrainingSettings
from unlearn_sweep.engine.training_space import PREFIX, checkpoint_dimension, settings_to_try
from unlearn_sweep.methods.cards import Param
from unlearn_sweep.sweeps.file.dimensions import read_dimension
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, shown
from unlearn_sweep.sweeps.file.yaml_lines import KeyPath

PATH: KeyPath = ("training",)
NOT_SEARCHED = CHANGES_NO_WEIGHTS | {
    "backend", "zero_stage", "micro_batch_size", "activation_checkpointing", "betas",
}  # fmt: skip
"""What changes nothing of the weights but rounding, and pairs of numbers."""
LENGTHS = ("epochs", "max_steps")


@dataclass(frozen=True, slots=True)
class TrainingSpace:
    """The searched settings of the training.

    Attributes:
        dimensions: Each by its dotted name, without a prefix: `lora.rank`.
        section: The section of the file with the first value of each in its place.
    """

    dimensions: Mapping[str, Dimension] = field(default_factory=dict)
    section: Any = None

    @property
    def epochs(self) -> Dimension | None:
        return self.dimensions.get("epochs")

    def added_to(self, spaces: Sequence[MethodSpace], training: TrainingSettings) -> tuple[MethodSpace, ...]:
        """Return the methods' spaces with these dimensions, and with that of the share if several are measured.

        Epochs are a parameter of the methods already.
        """
        share = checkpoint_dimension(training)
        with_share = {} if share is None else {CHECKPOINT: share}
        found = map(self._added_to, spaces)
        return tuple(replace(space, params={**space.params, **with_share}) for space in found)

    def _added_to(self, space: MethodSpace) -> MethodSpace:
        own = {
            f"{PREFIX}{name}": dimension
            for name, dimension in self.dimensions.items()
            if name != "epochs" or "epochs" not in space.params
        }
        optimizer = f"{PREFIX}optimizer"
        sections = {name: name.split(".")[1] for name in own if optimizer in own and name.count(".") > 1}
        only_if = {name: (optimizer, section) for name, section in sections.items() if section in SECTIONS}
        return MethodSpace(method=space.method, params={**space.params, **own}, only_if={**space.only_if, **only_if})


def read_training_space(section: Any, collector: ProblemCollector) -> TrainingSpace:
    """Return the searched settings of the section `training`. Report mistakes in their spaces."""
    if not isinstance(section, dict):
        return TrainingSpace(section=section)
    dimensions: dict[str, Dimension] = {}
    plain = _read_section(section, TrainingSettings, (), dimensions, collector)
    return TrainingSpace(dimensions=dimensions, section=plain)


def _read_section(
    section: Mapping[str, Any],
    model: type[BaseModel],
    inside: tuple[str, ...],
    dimensions: dict[str, Dimension],
    collector: ProblemCollector,
) -> dict[str, Any]:
    """Add the spaces of a section to `dimensions`. Return the section with the first value of each in its place."""
    plain: dict[str, Any] = {}
    for name, value in section.items():
        path = (*PATH, *inside, name)
        known = model.model_fields.get(name)
        below = None if known is None else _section_of(known)
        if known is None or not isinstance(value, dict) or name == "resources_per_worker":
            plain[name] = value
        elif below is not None:
            plain[name] = _read_section(value, below, (*inside, name), dimensions, collector)
        elif (dimension := _read(name, known, value, path, collector)) is not None:
            plain[name] = end_values(dimension)[0]
            if not isinstance(dimension, Fixed):
                dimensions[".".join((*inside, name))] = dimension
    return plain


def _read(name: str, known: FieldInfo, value: Any, path: KeyPath, collector: ProblemCollector) -> Dimension | None:
    param = None if name in NOT_SEARCHED else param_of(name, known)
    if param is None:
        allowed = f"a value; searched are {listing(sorted(searchable()))}"
        collector.add(path, f"{name} is not searched", given=shown(value), allowed=allowed, advice="write one value")
        return None
    return read_dimension(param, value, path, collector)


def searchable() -> list[str]:
    """Return the dotted names of the settings that a sweep can search."""
    return [name for name, _ in searchable_params()]


def searchable_params() -> Iterator[tuple[str, Param]]:
    """Yield the dotted name of each setting that a sweep can search, with its limits."""
    for name, known in TrainingSettings.model_fields.items():
        below = _section_of(known)
        fields = {name: known} if below is None else {f"{name}.{own}": one for own, one in below.model_fields.items()}
        for full, one in fields.items():
            param = None if name in NOT_SEARCHED else param_of(full.rpartition(".")[2], one)
            if param is not None:
                yield full, param


def param_of(name: str, known: FieldInfo) -> Param | None:
    """Return a setting as a parameter that can be searched; None if its values are no numbers or words."""
    limits = list(known.metadata)
    kind = known.annotation
    while get_origin(kind) in (Annotated, Union, types.UnionType):
        arguments = get_args(kind)
        if get_origin(kind) is Annotated:
            kind, more = arguments[0], arguments[1:]
            limits += [limit for one in more for limit in (one.metadata if isinstance(one, FieldInfo) else [one])]
        else:
            kind = next(one for one in arguments if one is not type(None))
    summary = known.description or ""
    if get_origin(kind) is Literal:
        return Param(name=name, default=known.default, scale="choice", choices=get_args(kind), summary=summary)
    if kind not in (int, float):
        return None
    low, low_open, high = _bounds(limits)
    default = known.default if known.default is not None else kind(1)
    scale = "int" if kind is int else "uniform"
    return Param(
        name=name, default=default, scale=scale, low=low, low_open=low_open, high=high, summary=summary
    )  # fmt: skip


def _bounds(limits: Sequence[Any]) -> tuple[float | None, bool, float | None]:
    """Return the lowest value, whether it is left out itself, and the highest."""
    low: float | None = None
    high: float | None = None
    low_open = False
    for limit in limits:
        match limit:
            case annotated_types.Ge(ge=int() | float() as bound):
                low = bound
            case annotated_types.Gt(gt=int() | float() as bound):
                low, low_open = bound, True
            case annotated_types.Le(le=int() | float() as bound) | annotated_types.Lt(lt=int() | float() as bound):
                high = bound
    return low, low_open, high


def _section_of(known: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a section within the section; None for a value."""
    if known.annotation == LoraSettings | None:
        return LoraSettings
    kind = known.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def section_model(name: str) -> type[BaseModel]:
    """Return the model of a section of `training`.

    Raises:
        KeyError: there is no such section.
    """
    found = _section_of(TrainingSettings.model_fields[name])
    if found is None:
        raise KeyError(f"training.{name} is no section")
    return found


def check_training_space(
    space: TrainingSpace, training: TrainingSettings, collector: ProblemCollector
) -> list[TrainingSettings]:
    """Report values that do not fit the other settings. Return the settings at the ends of all ranges and choices."""
    for name in space.dimensions:
        path = (*PATH, *name.split("."))
        section = name.split(".")[0]
        if section in SECTIONS and section not in _optimizers(space, training):
            message, advice = f"{section} is not the optimizer", f"add it to training.optimizer: {section}"
            collector.add(path, message, allowed=f"settings of {listing(_optimizers(space, training))}", advice=advice)
    alone = MethodSpace(method="", params={f"{PREFIX}{name}": one for name, one in space.dimensions.items()})
    try:
        return list(settings_to_try(training, alone))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = (*PATH, *(part for part in first["loc"] if isinstance(part, str)))
        found = first.get("ctx", {})
        message = found.get("message") or first["msg"]
        collector.add(
            path, message, given=shown(first["input"]), allowed=found.get("allowed"), advice=found.get("advice")
        )
        return []


def _optimizers(space: TrainingSpace, training: TrainingSettings) -> list[str]:
    dimension = space.dimensions.get("optimizer")
    values: tuple[Scalar, ...] = dimension.values if isinstance(dimension, Choice) else (training.optimizer,)
    return [str(value) for value in values]
