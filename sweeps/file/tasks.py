"""Read and check the lm-evaluation-harness tasks of a sweep file: names, metrics and examples."""

from __future__ import annotations

from pathlib import Path

from unlearn_sweep.evaluators.tasks.definitions import TaskError, asked_task, known_files
from unlearn_sweep.evaluators.tasks.settings import METRIC, AskedTask, TaskSettings
from unlearn_sweep.sweeps.file.file_schema import EvaluatorsSection
from unlearn_sweep.sweeps.file.paths import check_data_path
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, near_miss, shown

PLACE = ("evaluators", "lm_eval")
FOLDER = ("evaluators", "lm_eval_folder")
SHOWN_NAMES = 8


def read_tasks(section: EvaluatorsSection, folder: Path, collector: ProblemCollector) -> tuple[AskedTask, ...]:
    """Return the tasks with defaults filled in. Report mistakes and leave out the tasks that have them."""
    if not collector.is_valid(PLACE) and section.lm_eval is None:
        return ()
    own = None
    if section.lm_eval_folder is not None:
        own = check_data_path(section.lm_eval_folder, FOLDER, folder, collector)
        if not collector.is_valid(FOLDER):
            return ()
    found: list[AskedTask] = []
    for name, settings in (section.lm_eval or {}).items():
        task = _read(name, settings or TaskSettings(), own, folder, collector)
        if task is not None:
            found.append(task)
    return tuple(found)


def _read(
    name: str, settings: TaskSettings, own: str | None, folder: Path, collector: ProblemCollector
) -> AskedTask | None:
    place = (*PLACE, name)
    if settings.data is not None:
        settings = settings.model_copy(
            update={"data": check_data_path(settings.data, (*place, "data"), folder, collector)}
        )
    try:
        return asked_task(name, settings, own)
    except TaskError as error:
        if not error.field:
            _add_unknown(name, error, own, collector)
        else:
            given = getattr(settings, error.field, None)
            collector.add(
                (*place, error.field) if given is not None else place,
                str(error),
                given=None if given is None else shown(given),
                allowed=listing(error.allowed) if error.allowed else None,
                nearest=near_miss(str(given), error.allowed) if error.allowed and given is not None else None,
            )
        return None


def _add_unknown(name: str, error: TaskError, own: str | None, collector: ProblemCollector) -> None:
    """Report an unknown task. There are about 14,000 tasks, so only the nearest name is shown."""
    if not error.allowed:
        collector.add((*PLACE, name), str(error), given=shown(name))
        return
    nearest = near_miss(name, error.allowed)
    known = len(known_files(own))
    collector.add(
        (*PLACE, name),
        str(error),
        given=shown(name),
        allowed=f"one of the {known} tasks and groups of lm-evaluation-harness (lm-eval ls tasks)",
        nearest=nearest,
        advice=f"write {nearest}" if nearest else "or define it in a folder of your own: evaluators.lm_eval_folder",
    )


def with_tasks(metrics: tuple[str, ...], tasks: tuple[AskedTask, ...], collector: ProblemCollector) -> tuple[str, ...]:
    """Add the metric of the tasks to UT's metrics if there are tasks. Report it as a mistake if named without tasks."""
    if METRIC in metrics and not tasks and collector.is_valid(PLACE):
        message = f"{METRIC} is made of tasks, and evaluators.lm_eval names none"
        collector.add(
            ("evaluators", "ut"), message, given=METRIC, advice="add evaluators: {lm_eval: {mmlu: {limit: 20}}}"
        )
    return (*metrics, METRIC) if tasks and METRIC not in metrics else metrics


def tasks_note(tasks: tuple[AskedTask, ...] | list[AskedTask]) -> tuple[str, ...]:
    """Return the notes of the plan about tasks: how they run, that their time is unknown, and unpinned data sets."""
    if not tasks:
        return ()
    described = "; ".join(task.described() for task in tasks)
    notes = [f"lm-evaluation-harness asks {described}: the time of that is not estimated"]
    floating = [task.name for task in tasks if not task.pinned]
    if floating:
        notes.append(f"the rows of {', '.join(floating)} come from the hub at no fixed revision (unpinned)")
    return tuple(notes)
