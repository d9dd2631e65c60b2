"""The Python interface: run a sweep or an audit, and read its results as data frames and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_sweep.user_error import EXIT_FAILED, UserError

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from unlearn_sweep.engine.job import SweepJob
    from unlearn_sweep.sweeps.report.document import Report
    from unlearn_sweep.sweeps.report.uncertainty import Half

SHOWN = ("method", "ue", "ut", "rob", "report_ue", "report_ut", "report_rob")


class RunFailedError(UserError):
    """A sweep ended before its end. What it printed says why; `exit_status` is that of the command `run`."""

    status = EXIT_FAILED
    advice = "What it printed says why. Run it again to go on from what is finished."

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class Sweep:
    """A sweep in a folder: run it, and read what is settled so far.

    Results are read from disk at each access, so a sweep that runs elsewhere can be followed. Data frames are copies.
    """

    def __init__(self, directory: Path, job: SweepJob | None = None) -> None:
        """Use `Sweep.load` for a sweep file and `open` for a folder."""
        self.directory = directory
        self._job = job

    @classmethod
    def load(
        cls,
        file: str | Path,
        *,
        trials: int | None = None,
        storage: str | Path | None = None,
        max_concurrent: int | None = None,
    ) -> Sweep:
        """Check a sweep file (YAML), as the command `run` does. Nothing starts, and nothing is written.

        Args:
            file: The sweep file. Relative paths in it start from the current folder.
            trials: Trials in all, in place of the file's; more extend a finished sweep.
            storage: Folder of all results, in place of the file's.
            max_concurrent: Trials at once at most.

        Raises:
            UserError: The file has mistakes; the message lists all of them with their lines.
        """
        from unlearn_sweep.sweeps.checked_job import checked_job
        from unlearn_sweep.sweeps.file.problems import SpecError
        from unlearn_sweep.sweeps.file.spec import load_spec
        from unlearn_sweep.sweeps.resolve import Overrides

        place = None if storage is None else str(storage)
        overrides = Overrides(trials=trials, storage=place, max_concurrent=max_concurrent)
        try:
            job = checked_job(load_spec(Path(file)), overrides)
        except SpecError as error:  # as text, an exception of Python shows its message only
            raise UserError(error.text()) from error
        return cls(job.directory, job)

    def run(self, *, address: str | None = None, accept_new_code: bool = False) -> Sweep:
        """Run or resume the sweep to its end in this process, print one line for each change, and return the sweep.

        Args:
            address: A Ray cluster to join ("auto" or host:port); None starts Ray on this machine.
            accept_new_code: Go on although the code changed since the last start.

        Raises:
            UserError: The sweep was opened from its folder and not loaded from a sweep file.
            RunFailedError: The sweep ended before its end.
        """
        if self._job is None:
            raise UserError(f"{self.directory} was opened by its folder", advice="Load its sweep file with Sweep.load.")
        from unlearn_sweep.sweeps.launch import launch

        code = launch(self._job, address=address, plain=True, accept_new_code=accept_new_code)
        if code != 0:
            raise RunFailedError(f"sweep {self._job.name} ended with status {code}", code)
        return self

    @property
    def trials(self) -> pd.DataFrame:
        """All trials, indexed by number, with the columns of trials.csv.

        Among them `method`, `state`, `on_front`, `ue`, `ut`, `rob` (search half), `report_ue` and so on (rows that the
        search never saw), `ue_standard_error` and so on, `param.NAME`, `attack.NAME`, `seconds`. All objectives are in
        [0, 1], higher is better; NaN where there is no value, and `ue_missing` and so on then has the reason.
        """
        import pandas as pd

        from unlearn_sweep.sweeps.report.table import FIXED, trial_line

        lines = [trial_line(trial) for trial in self._report().trials]
        more = sorted({name for line in lines for name in line} - set(FIXED))
        table = pd.DataFrame(lines, columns=[*FIXED, *more]).set_index("number")
        numbers = [name for name in table.columns if name.removeprefix("report_") in ("ue", "ut", "rob")]
        return table.astype(dict.fromkeys(numbers, "float64"))

    @property
    def front(self) -> pd.DataFrame:
        """The trials on the Pareto front, in the form of `trials`."""
        trials = self.trials
        return trials.loc[trials["on_front"].astype(bool)]

    @property
    def controls(self) -> pd.DataFrame:
        """What the original and the gold model scored, one line for each model, split, half and metric.

        Columns: `model`, `split`, `half` ("search" or "report"), `metric`, `value`, `standard_error` (NaN if unknown),
        `n` (rows). Empty until they are measured.
        """
        import pandas as pd

        columns = ("model", "split", "half", "metric", "value", "standard_error", "n")
        found = self._report().controls
        controls = [found.original, found.gold] if found is not None else []
        lines = [
            {"model": control.model, **one.model_dump(include=set(columns))}
            for control in controls
            for one in control.measured
        ]
        return pd.DataFrame(lines, columns=list(columns))

    def answers(self, trial: int | None = None) -> pd.DataFrame:
        """What original, gold and one trial (None: the recommended trials) answer, before and under each attack.

        Columns as in `engine.answers.Answers.table`: `model`, `trial`, `attack` ("" before any), `strength`, `unit`,
        `split`, `row_id`, `question`, `reference`, `answer`. What is missing is in the frame's `attrs["problems"]`.

        Raises:
            UserError: The trial has no record.
        """
        from unlearn_sweep.engine.answers import read_answers
        from unlearn_sweep.engine.store.snapshot import read_snapshot

        chosen = [pick.number for pick in self._report().picks] if trial is None else [int(trial)]
        try:
            found = read_answers(read_snapshot(self.directory), chosen)
        except ValueError as error:
            raise UserError(str(error)) from error
        found.table.attrs["problems"] = list(found.problems)
        return found.table

    def plot_front(self, half: Half | None = None) -> Figure:
        """Draw all trials in each pair of objectives, the front outlined, as a plotly figure.

        `half`: "search" (the rows the search used), "report" (rows it never saw), None: the report's choice.
        """
        from unlearn_sweep.sweeps.plots import front_figure

        report = self._report()
        return front_figure(report, half or report.compared_on)

    def plot_history(self, half: Half | None = None) -> Figure:
        """Draw each objective by trial, with the best value so far. `half` as in `plot_front`."""
        from unlearn_sweep.sweeps.plots import history_figure

        report = self._report()
        return history_figure(report, half or report.compared_on)

    def plot_hypervolume(self) -> Figure:
        """Draw the hypervolume of the front after each settled trial."""
        from unlearn_sweep.sweeps.plots import hypervolume_figure

        return hypervolume_figure(self._report())

    def plot_attack(self, attack: str | None = None) -> Figure:
        """Draw what is still forgotten over the strength of one attack (None: the one with most strengths).

        Raises:
            UserError: that attack has no curve.
        """
        from unlearn_sweep.sweeps.plots import attack_figure

        return attack_figure(self._report(), attack)

    def plot_training(self, term: str | None = None) -> Figure:
        """Draw one term of the loss over the steps of each training (None: a cross entropy where recorded).

        Raises:
            UserError: that term is not recorded.
        """
        from unlearn_sweep.sweeps.plots import training_figure

        return training_figure(self._report(), term)

    def plot_parallel(self, method: str) -> Figure:
        """Draw the settings that vary and the objectives of one method's complete trials as parallel coordinates.

        Raises:
            UserError: the method has no complete trial.
        """
        from unlearn_sweep.sweeps.plots import parallel_figure

        return parallel_figure(self._report(), method)

    def plot_importance(self) -> Figure:
        """Draw how much each setting of each method matters for each objective (PED-ANOVA).

        Raises:
            UserError: no method has enough trials.
        """
        from unlearn_sweep.sweeps.plots import importance_figure

        return importance_figure(self._report())

    def enqueue(self, setting: Mapping[str, Any] | str) -> str:
        """Have the sweep try a setting next, such as `{"npo": {"beta": 0.1}}`, and return when it will be tried.

        Raises:
            UserError: it is not a setting of the sweep's search space.
        """
        from unlearn_sweep.sweeps.enqueue import enqueue_setting
        from unlearn_sweep.sweeps.file.problems import SpecError

        text = setting if isinstance(setting, str) else json.dumps(setting)
        try:
            return enqueue_setting(self.directory, text).when
        except SpecError as error:
            raise UserError(error.text()) from error

    def report(self) -> Path:
        """Write the report into the sweep's folder and return its page."""
        from unlearn_sweep.sweeps.report.build import build_report

        return build_report(self.directory).page

    def __repr__(self) -> str:
        return f"Sweep({str(self.directory)!r})"

    def _repr_html_(self) -> str:
        """Show state and front in a notebook; before the first start, where the sweep will be."""
        if not (self.directory / "events.jsonl").is_file():
            return f"<p>Sweep in <code>{escape(str(self.directory))}</code>: not started</p>"
        report = self._report()
        settled = sum(trial.state not in ("running", "duplicate") for trial in report.trials)
        wanted = "" if report.trials_wanted is None else f" of {report.trials_wanted}"
        head = f"<b>{escape(report.sweep)}</b>: {report.state}, {settled}{wanted} trials settled, front:"
        return f"<p>{head}</p>{self.front[list(SHOWN)].to_html(float_format='%.3f', na_rep='')}"

    def _report(self) -> Report:
        from unlearn_sweep.sweeps.report.build import load_report

        return load_report(self.directory)


def open_sweep(directory: str | Path) -> Sweep:
    """Open the folder of a sweep, `<storage>/<name>`, to read it: running, finished or stopped.

    Raises:
        SweepNotFoundError: The folder does not exist or is not a sweep. It is a ValueError.
    """
    from unlearn_sweep.sweeps.report.records import read_sweep

    return Sweep(read_sweep(directory).directory)


def audit(
    model: str | Path,
    benchmark: str,
    *,
    gold: str | Path | None = None,
    original: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    attacks: Sequence[str | Mapping[str, Any]] = (),
    storage: str | Path = "runs",
    name: str | None = None,
    seed: int = 0,
) -> Sweep:
    """Measure and attack one existing model, as the command `audit` does. The result reads as a sweep of one trial.

    Args:
        model: Folder or hub id of the model.
        benchmark: Name of the benchmark that it was to forget.
        gold: Model that never saw the forget set, or "chance"; where missing, UE and Rob have no value.
        original: Model before unlearning; where missing, no objective has a value.
        settings: Options of the benchmark.
        attacks: Names, or `{name: {parameter: value}}`; none: the command's battery.
        storage: Folder of all results.
        name: Folder below it; None: made of model and options.
        seed: Draws rows and demonstrations.

    Raises:
        UserError: a mistake in the arguments; the message lists all of them.
        RunFailedError: the audit ended before its end.
    """
    from unlearn_sweep.sweeps import audit as auditing
    from unlearn_sweep.sweeps.file.problems import SpecError
    from unlearn_sweep.sweeps.screen import Screen

    request = auditing.AuditRequest(
        model=str(model),
        benchmark=benchmark,
        gold=None if gold is None else str(gold),
        original=None if original is None else str(original),
        settings=[f"{key}={json.dumps(value)}" for key, value in (settings or {}).items()],
        attacks=[attack if isinstance(attack, str) else json.dumps(attack) for attack in attacks],
        storage=str(storage),
        name=name,
        seed=seed,
        folder=Path.cwd(),
    )
    try:
        checked = auditing.check(request)
    except SpecError as error:
        raise UserError(error.text()) from error
    code = auditing.audit(checked, console=Screen(), plain=True)
    if code != 0:
        raise RunFailedError(f"the audit of {model} ended with status {code}", code)
    return Sweep(checked.job.directory)
