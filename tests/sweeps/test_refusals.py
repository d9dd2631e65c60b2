"""Errors of users and storages on the command line: status, message, advice. Oracle: the documented statuses.

The table names every error class of the project. A class that is not in it fails the last test.
"""

from __future__ import annotations

import ast
import importlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from unlearn_sweep.plugins import PluginError
from unlearn_sweep.sweeps.commands.group import CommandGroup
from unlearn_sweep.sweeps.file.problems import Problem, SpecError
from unlearn_sweep.user_error import EXIT_FAILED, EXIT_REFUSED, UserError

ROOT = Path(__file__).parents[2]
STATUSES = {
    "engine.driver.changed_code.SweepChangedError": EXIT_REFUSED,
    "engine.store.driver_lock.SweepBusyError": EXIT_FAILED,
    "engine.store.driver_lock.UnwritableStorageError": EXIT_REFUSED,
    "engine.mirror.address.MirrorError": EXIT_REFUSED,
    "engine.models.headers.BrokenWeightsError": EXIT_REFUSED,
    "engine.models.loaded.WrongWeightsError": EXIT_REFUSED,
    "engine.models.loading.UnusableModelError": EXIT_REFUSED,
    "engine.on_ray.heartbeat.HeadLostError": EXIT_FAILED,
    "engine.resources.placement.NoRoomError": EXIT_REFUSED,
    "engine.stages.measurable.UnmeasurableError": EXIT_REFUSED,
    "engine.stages.prompt_probe.PromptFormatError": EXIT_REFUSED,
    "engine.stages.runner.ClusterLostError": EXIT_FAILED,
    "engine.store.damaged.DamagedStorageError": EXIT_FAILED,
    "engine.study.plugin_sampler.SamplerError": EXIT_FAILED,
    "engine.store.durable.DiskFullError": EXIT_FAILED,
    "engine.store.snapshot.NotASweepError": EXIT_REFUSED,
    "engine.tracking.sink.SyncError": EXIT_REFUSED,
    "evaluators.attacks.attack.AttackError": EXIT_REFUSED,
    "evaluators.benchmarks.task_data.TaskDataError": EXIT_REFUSED,
    "evaluators.chat_text.ChatTemplateError": EXIT_REFUSED,
    "evaluators.halves.TooFewFactsError": EXIT_REFUSED,
    "evaluators.chat_models.endpoint.EndpointUnusableError": EXIT_REFUSED,
    "evaluators.judge.judge.JudgeFailedError": EXIT_REFUSED,
    "evaluators.model_parts.UnsupportedModelError": EXIT_REFUSED,
    "evaluators.written_views.writers.WriterFailedError": EXIT_REFUSED,
    "evaluators.tasks.definitions.TaskError": EXIT_REFUSED,
    "evaluators.thinking.ThinkingError": EXIT_REFUSED,
    "plugins.PluginError": EXIT_REFUSED,
    "sweeps.export.ExportError": EXIT_REFUSED,
    "sweeps.report.records.SweepNotFoundError": EXIT_REFUSED,
    "sweeps.rescore.RescoreError": EXIT_REFUSED,
}
"""Classes that are made from one message."""
OTHERS: dict[str, tuple[tuple[Any, ...], int]] = {
    "sweeps.python_interface.RunFailedError": (("sweep a ended with status 3", 3), EXIT_FAILED),
    "engine.stages.runner.StageFailedError": (("unlearn", "broken"), EXIT_FAILED),
    "engine.store.damaged.DamagedFileError": ((Path("trials/0.json"), "cut off", "Move it away"), EXIT_REFUSED),
}
MANY_LINES = {"sweeps.file.problems.SpecError"}
"""Lists every mistake with its line."""
INTERNAL = {
    "engine.contracts.failure.ContractError",  # a failed check of check-plugin, printed as FAIL
    "engine.mirror.copies.BrokenCopyError",  # the stage counts as missing in the mirror
    "engine.process_lost.ProcessLostError",  # the stage begins again
    "engine.measuring.worker.UnusableSourceError",  # the measuring process does the work itself
    "engine.stages.runner._ShortOfMemoryError",  # the stage begins again, alone
    "engine.stages.runner.TrainingStoppedError",  # the trial is settled as stopped
    "engine.store.durable.LockedElsewhereError",  # becomes SweepBusyError, or means: skip
    "engine.study.journal.DamagedJournalError",  # the journal is rebuilt from the records
    "engine.study.enqueued.UnusableSettingError",  # the file is renamed, and an event says why
    "engine.models.weight_files.UnplannedTensorError",  # a bug of the export: the training fails
    "engine.training.restart.RowsDoNotFitError",  # the training starts again with half the rows
    "engine.training.smaller_batches.SmallerIsAnotherTrainingError",  # the training fails: out of memory, under compat
    "engine.training.loss.MethodError",  # a bug of a method: the trial fails
    "engine.training.reference.ReferenceChangedError",  # a bug of a method: the trial fails
    "evaluators.chat_models.endpoint.CallError",  # the row has no verdict
    "evaluators.chat_models.endpoint.FieldRefusedError",  # the call is made in another form
    "evaluators.split_statistic.NoValueError",  # the metric has no value, with this reason
    "evaluators.attacks.attack.AttackDivergedError",  # the setting of a searched attacker left no model
    "engine.store.calibration.NotCalibratedError",  # becomes a SpecError
    "sweeps.paper.values.NotMeasuredError",  # the metric has no value, with this reason
}


def class_of(name: str) -> type[UserError]:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(f"unlearn_sweep.{module}"), last)


def printed(error: Exception) -> tuple[int, str]:
    """Exit status and stderr of a command in which this error is raised."""
    app = typer.Typer(cls=CommandGroup, rich_markup_mode=None, pretty_exceptions_enable=False)

    @app.callback()
    def group() -> None: ...

    @app.command()
    def fail() -> None:
        raise error

    done = CliRunner().invoke(app, ["fail"])
    assert done.stdout == ""
    return done.exit_code, done.stderr


CASES: list[tuple[str, tuple[Any, ...], int]] = [
    (name, ("a thing is wrong",), status) for name, status in STATUSES.items()
]
CASES += [(name, arguments, status) for name, (arguments, status) in OTHERS.items()]


@pytest.mark.parametrize(("name", "arguments", "status"), CASES, ids=[name for name, _, _ in CASES])
def test_status_and_two_lines(name: str, arguments: tuple[Any, ...], status: int) -> None:
    error = class_of(name)(*arguments)
    code, text = printed(error)
    assert code == status
    message, advice = text.splitlines()
    assert str(arguments[0]) in message
    assert message.endswith(".")
    assert advice[0].isupper()
    assert advice.endswith(".")


@pytest.mark.parametrize("name", sorted(STATUSES))
def test_an_error_with_its_own_advice_survives_pickling(name: str) -> None:
    """Workers of Ray return errors by pickle."""
    error = class_of(name)("no model")
    error.advice = "Name one."
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.message, again.advice) == (type(error), "no model", "Name one.")


def test_advice_of_one_error_is_part_of_its_text_and_printed_once() -> None:
    error = PluginError("no model", advice="Name one")
    assert str(error) == "no model. Name one"
    assert printed(error) == (EXIT_REFUSED, "no model.\nName one.\n")


def test_lines_to_copy_get_no_full_stop() -> None:
    _, text = printed(UserError("no weights", advice="Run these lines:\n\nname: a\nseed: 3"))
    assert text == "no weights.\nRun these lines:\n\nname: a\nseed: 3\n"


def test_mistakes_of_a_sweep_file_are_listed() -> None:
    code, text = printed(SpecError("s.yaml", [Problem(path="seed", message="missing", line=3)]))
    assert (code, text.splitlines()[0]) == (EXIT_REFUSED, "s.yaml: 1 mistake; nothing was started or written.")
    assert "s.yaml:3: seed: missing" in text


def test_secrets_and_control_characters_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", "correct-horse-battery")
    _, text = printed(UserError("\x1b[2J correct-horse-battery \u202e"))
    assert text.splitlines()[0] == "\\x1b[2J [SERVICE_TOKEN] \\u202e."


def test_a_bug_has_a_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        raise_through(ZeroDivisionError("a bug"))


def raise_through(error: Exception) -> None:
    app = typer.Typer(cls=CommandGroup)

    @app.callback()
    def group() -> None: ...

    @app.command()
    def fail() -> None:
        raise error

    CliRunner().invoke(app, ["fail"], catch_exceptions=False)


def error_classes(path: Path) -> set[str]:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    classes = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    return {f"{module}.{name}" for name in classes if name.endswith("Error")}


def test_the_table_has_every_error_class() -> None:
    packages = ("engine", "evaluators", "methods", "sweeps")
    found = {name for package in packages for path in (ROOT / package).rglob("*.py") for name in error_classes(path)}
    assert {*found, "plugins.PluginError"} == {*STATUSES, *OTHERS, *MANY_LINES, *INTERNAL}
