"""What lm-evaluation-harness says of its tasks, read from its YAML files: names, metrics, examples. Imports none of it.

The harness's own index takes some ten seconds and its import loads torch; a sweep file is to be checked in two.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from unlearn_sweep.evaluators.tasks.settings import NO_FILTER, AskedTask, TaskSettings
from unlearn_sweep.user_error import UserError

EXTRA = "pip install 'unlearn-sweep[lm-eval]'"
NAMED = re.compile(rb"""^[ \t]*["']?(task|group)["']?[ \t]*:[ \t]*["']?([^\s"'#\[{]+)""", re.MULTILINE)
MEANS = frozenset({"acc", "acc_all", "acc_bytes", "acc_mutual_info", "acc_norm", "exact_match", "likelihood"})
"""Metrics that the harness averages over rows where a task does not say how."""
BY_OUTPUT = {"multiple_choice": ("acc", "acc_norm"), "generate_until": ("exact_match",), "loglikelihood": ("acc",)}
"""Metrics of a task that names none, by its kind of output; as in the harness."""


class TaskError(UserError, ValueError):
    """A task that cannot be asked as it is given.

    `field` is what of it is wrong, "" where it is the name; `allowed` is what could stand there.
    """

    def __init__(self, message: str, *, field: str = "", allowed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.field = field
        self.allowed = allowed


def harness_folder() -> Path:
    """Where the harness's own task definitions are.

    Raises:
        TaskError: it is not installed.
    """
    found = importlib.util.find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        raise TaskError(f"lm-evaluation-harness is not installed: {EXTRA}")
    return Path(found.submodule_search_locations[0]) / "tasks"


def harness_version() -> str:
    """Version of the installed harness; part of the key of what was measured with it."""
    from importlib.metadata import version

    return version("lm_eval")


def task_identity(tasks: Sequence[AskedTask]) -> dict[str, Any]:
    """What decides the tasks' rows besides the model: how they are asked, the harness, and local files by content."""
    if not tasks:
        return {}
    places = {place for task in tasks for place in (task.data, task.folder) if place is not None}
    return {
        "tasks": [task.model_dump(exclude={"data", "folder", "counts", "pinned"}) for task in tasks],
        "harness": harness_version(),
        "files": [_content(Path(place)) for place in sorted(places)],
    }


def _content(place: Path) -> str:
    """Hash of a file, or of all files of a folder with their names in it."""
    found = hashlib.sha256()
    for file in [place] if place.is_file() else sorted(place.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            found.update(f"{file.relative_to(place)}\n".encode())
            found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:16]


@lru_cache(maxsize=4)
def task_files(folder: Path) -> Mapping[str, Path]:
    """Every task and group that the YAML files of a folder define, with the file."""
    files: dict[str, Path] = {}
    for file in sorted(folder.glob("**/*.yaml"), key=lambda path: path.as_posix()):
        for _, name in NAMED.findall(file.read_bytes()):
            files.setdefault(name.decode(errors="replace"), file)
    return files


def known_files(folder: str | None) -> dict[str, Path]:
    """The harness's tasks and one's own, which go first. Raises TaskError where the harness is missing."""
    own = {} if folder is None else task_files(Path(folder))
    return {**task_files(harness_folder()), **own}


class _Loader(yaml.SafeLoader):
    """A task's YAML with its functions as text: nothing of it is run."""


_Loader.add_constructor("!function", lambda loader, node: f"!function {node.value}")


def definition(file: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A task file with what it includes.

    Raises:
        TaskError: no YAML mapping, or files that include each other.
    """
    try:
        found = yaml.load(file.read_bytes(), Loader=_Loader)
    except (OSError, yaml.YAMLError) as error:
        raise TaskError(f"{file}: cannot be read as a task: {error}") from error
    if not isinstance(found, dict):
        raise TaskError(f"{file}: no mapping")
    if file in seen:
        raise TaskError(f"{file}: includes itself")
    included = found.pop("include", None) or []
    merged: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        merged |= definition((file.parent / name).resolve(), (*seen, file))
    return merged | found


def asked_task(name: str, settings: TaskSettings, folder: str | None) -> AskedTask:
    """The task with its own metric and number of examples filled in.

    Raises:
        TaskError: no such task, no such metric of it, or one that is no mean over rows, or lower where better.
    """
    files = known_files(folder)
    if name not in files:
        raise TaskError("unknown task", allowed=tuple(files))
    found = definition(files[name])
    return AskedTask(
        **{
            **settings.model_dump(),
            "metric": _metric(found, settings.metric),
            "num_fewshot": _fewshot(found, settings.num_fewshot),
        },
        name=name,
        folder=folder,
        pinned=settings.data is not None or _pinned(found),
    )


def _pinned(found: Mapping[str, Any]) -> bool:
    options = found.get("dataset_kwargs") or {}
    return "revision" in options or "data_files" in options or "custom_dataset" in found


def _fewshot(found: Mapping[str, Any], given: int | None) -> int | None:
    """A task that says 0 stays at 0: its examples stand in its own prompt. None: a group, each of whose tasks knows."""
    own = found.get("num_fewshot")
    if own == 0 and given:
        raise TaskError("the task shows its own examples, or none, and takes no others", field="num_fewshot")
    if given is not None:
        return given
    return None if "group" in found else int(own or 0)


def _metric(found: Mapping[str, Any], given: str | None) -> str:
    """ "metric,filter": the one given, or the first that is a mean over rows."""
    if "group" in found:
        return _group_metric(found, given)
    if "class" in found:  # a task in Python: its metrics are known when it is loaded
        if given is None:
            raise TaskError("the task is a Python class, so its metric has to be named", field="metric")
        return given if "," in given else f"{given},{NO_FILTER}"
    usable = {str(entry["metric"]): _unusable(entry) for entry in _entries(found)}
    filters = [str(entry["name"]) for entry in found.get("filter_list") or []] or [NO_FILTER]
    allowed = tuple(f"{metric},{name}" for metric, reason in usable.items() if reason is None for name in filters)
    if given is None:
        if not allowed:
            reasons = "; ".join(f"{metric}: {reason}" for metric, reason in usable.items())
            raise TaskError(f"the task has no metric with a value for each row ({reasons})", field="metric")
        return allowed[0]
    metric, _, filtered = given.partition(",")
    if usable.get(metric):
        raise TaskError(f"{metric} cannot be used: {usable[metric]}", field="metric", allowed=allowed)
    full = f"{metric},{filtered or filters[0]}"
    if full not in allowed:
        raise TaskError("the task has no such metric", field="metric", allowed=allowed)
    return full


def _entries(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    named = found.get("metric_list")
    if named is not None:
        return list(named)
    return [{"metric": metric} for metric in BY_OUTPUT.get(str(found.get("output_type")), ())]


def _unusable(entry: Mapping[str, Any]) -> str | None:
    """Why a metric cannot be taken row by row, or cannot serve utility."""
    aggregation = entry.get("aggregation")
    if aggregation != "mean" and not (aggregation is None and entry["metric"] in MEANS):
        return "it is no mean over rows"
    if entry.get("higher_is_better") is False:
        return "lower is better"
    return None


def _group_metric(found: Mapping[str, Any], given: str | None) -> str:
    """Of a group: what it is aggregated by. The rows of all its tasks count alike, as in the harness by default."""
    entries: list[dict[str, Any]] = list(found.get("aggregate_metric_list") or [])
    if not entries:
        if given is None:
            raise TaskError("the group names no metric for all of its tasks, so one has to be named", field="metric")
        return given if "," in given else f"{given},{NO_FILTER}"
    if any(entry.get("weight_by_size") is False for entry in entries):
        raise TaskError("the group weighs its tasks alike, whatever their size: name its tasks one by one")
    allowed = []
    for entry in entries:
        filters = entry.get("filter_list") or [NO_FILTER]
        allowed += [f"{entry['metric']},{name}" for name in (filters if isinstance(filters, list) else [filters])]
    if given is None:
        return allowed[0]
    match = next((full for full in allowed if given in (full, full.partition(",")[0])), None)
    if match is None:
        raise TaskError("the group has no such metric", field="metric", allowed=tuple(allowed))
    return match
