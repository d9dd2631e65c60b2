"""Tasks of lm-evaluation-harness, loaded: from their definitions, with rows from the hub or from local files."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_sweep.evaluators.benchmarks.tables import find_table, read_table
from unlearn_sweep.evaluators.tasks.definitions import TaskError, definition, harness_folder, known_files
from unlearn_sweep.evaluators.tasks.settings import AskedTask

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager

RANDOM_SEED, OTHER_SEED = 0, 1234
"""The harness's own: some tasks shuffle choices when they are loaded, and examples are drawn."""
SHOWN_FROM = ("fewshot_split", "training_split", "validation_split")
"""Where a task takes its examples from: the first of these that it names."""


def load_task(asked: AskedTask) -> dict[str, Task]:
    """The task's leaves by name: itself, or the tasks of a group, ready to be asked.

    Raises:
        TaskError: it cannot be loaded; rows, examples or a metric are missing.
    """
    manager = _manager(asked)
    with _seeded():
        leaves = _with_own_rows(manager, asked) if asked.data is not None else manager.load(asked.name)["tasks"]
    for name, task in leaves.items():
        _check_metric(name, task, asked)
        _set_examples(task, asked)
        if asked.max_new_tokens is not None and task.OUTPUT_TYPE == "generate_until":
            task.set_config("generation_kwargs", {"max_gen_toks": asked.max_new_tokens}, update=True)
    return leaves


def _manager(asked: AskedTask) -> TaskManager:
    """The harness's index, of the folder the task is in and one's own; of everything where a group reaches further."""
    from lm_eval.tasks import TaskManager

    home = harness_folder()
    own: list[str | Path] = [] if asked.folder is None else [asked.folder]
    file = known_files(asked.folder)[asked.name]
    near = [str(home / file.relative_to(home).parts[0])] if file.is_relative_to(home) else []
    manager = TaskManager(include_defaults=False, include_path=[*near, *own])
    if _complete(manager, asked.name):
        return manager
    return TaskManager(include_path=own or None)


def _complete(manager: TaskManager, name: str) -> bool:
    """Whether the index has a name, and everything that a group of that name is made of."""
    entry = manager.task_index.get(name)
    if entry is None:
        return False
    members = (entry.cfg or {}).get("task") if entry.kind.name == "GROUP" else None
    names = [members] if isinstance(members, str) else [item for item in members or [] if isinstance(item, str)]
    return all(_complete(manager, member) for member in names)


def _leaf_names(manager: TaskManager, name: str) -> list[str]:
    """The tasks under a name. Raises TaskError for a group whose members are more than names."""
    entry = manager.task_index[name]
    if entry.kind.name == "TAG":
        return sorted(entry.tags)
    if entry.kind.name != "GROUP":
        return [name]
    members = (entry.cfg or {}).get("task")
    names = [members] if isinstance(members, str) else list(members or [])
    if not all(isinstance(member, str) for member in names):
        raise TaskError("the group changes its tasks, so local rows need their names one by one", field="data")
    return [leaf for member in names for leaf in _leaf_names(manager, member)]


def _with_own_rows(manager: TaskManager, asked: AskedTask) -> dict[str, Task]:
    """Each leaf over local rows in place of those of its definition."""
    from lm_eval.tasks._yaml_loader import load_yaml  # the one way to a definition with its functions

    leaves: dict[str, Task] = {}
    for name in _leaf_names(manager, asked.name):
        entry = manager.task_index[name]
        if entry.yaml_path is None or entry.kind.name == "PY_TASK":
            raise TaskError(f"{name} is a Python class and reads its own rows", field="data")
        found = definition(entry.yaml_path)
        rows = _local_rows(Path(asked.data or ""), name, found)
        _check_examples(name, rows, found, asked)
        changes: dict[str, Any] = {"custom_dataset": lambda rows=rows, **_: _dataset(rows), "dataset_kwargs": None}
        changes |= {key: None for key in SHOWN_FROM if found.get(key) not in rows}
        leaves |= manager.load({**load_yaml(entry.yaml_path), **changes})["tasks"]
    return leaves


def _local_rows(place: Path, name: str, found: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each split that a task reads, from a file or a folder laid out as the data set."""
    judged = found.get("test_split") or found.get("validation_split")
    if judged is None:
        raise TaskError(f"{name}: the task names no split to ask", field="data")
    if place.is_file():
        return {str(judged): _read(place)}
    config = found.get("dataset_name")
    folder = place / str(config) if config and (place / str(config)).is_dir() else place
    try:
        rows = {str(judged): _read(find_table(folder, str(judged)))}
    except ValueError as error:
        raise TaskError(f"{name}: {error}", field="data") from error
    for split in {found.get(key) for key in SHOWN_FROM} - {None}:
        if split not in rows and _is_there(folder, str(split)):
            rows[str(split)] = _read(find_table(folder, str(split)))
    return rows


def _check_examples(name: str, rows: Mapping[str, Any], found: Mapping[str, Any], asked: AskedTask) -> None:
    """Without the split its examples are from, a task would show rows it is asked about."""
    if (found.get("fewshot_config") or {}).get("samples") is not None:
        return  # they stand in the definition
    own = found.get("num_fewshot")
    shots = own if own == 0 or asked.num_fewshot is None else asked.num_fewshot
    source = next((found[key] for key in SHOWN_FROM if found.get(key)), None)
    if shots and source not in rows:
        advice = "give a folder with it, or num_fewshot: 0"
        raise TaskError(f"{name} takes its {shots} examples from split {source}: {advice}", field="data")


def _is_there(folder: Path, split: str) -> bool:
    try:
        find_table(folder, split)
    except ValueError:
        return False
    return True


def _read(file: Path) -> list[dict[str, Any]]:
    rows = [dict(row) for _, row in read_table(file)]
    if not rows:
        raise TaskError(f"{file}: no rows", field="data")
    return rows


def _dataset(rows: Mapping[str, list[dict[str, Any]]]) -> Any:
    """As `datasets.load_dataset` would give it; a column that a row lacks is None there."""
    from datasets import Dataset, DatasetDict

    splits = {}
    for split, found in rows.items():
        columns = dict.fromkeys(column for row in found for column in row)
        splits[split] = Dataset.from_list([{column: row.get(column) for column in columns} for row in found])
    return DatasetDict(splits)


def _check_metric(name: str, task: Task, asked: AskedTask) -> None:
    metrics: Any = task.aggregation()
    if asked.metric_name not in metrics:
        raise TaskError(f"{name} has no metric {asked.metric_name}", field="metric", allowed=tuple(metrics))


def _set_examples(task: Task, asked: AskedTask) -> None:
    """As many examples as asked for, drawn as the harness draws them. A task that says 0 stays at 0."""
    own: int | None = task.get_config("num_fewshot")
    if asked.num_fewshot is not None and own != 0:
        task.set_config("num_fewshot", asked.num_fewshot)
    elif own is None:
        task.set_config("num_fewshot", 0)
    task.set_fewshot_seed(seed=OTHER_SEED)


@contextmanager
def _seeded() -> Iterator[None]:
    """Python's and NumPy's generators as the harness seeds them, and afterwards as they were."""
    import numpy as np

    before, numpy_before = random.getstate(), np.random.get_state()
    random.seed(RANDOM_SEED)
    np.random.seed(OTHER_SEED)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)
