"""What `run` refuses before it starts: a sweep that another driver has, Ray's client mode. Oracle: the words."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from tests.support.recorded_attacks import recorded_job
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store import durable
from unlearn_sweep.sweeps.launch import launch
from unlearn_sweep.user_error import EXIT_FAILED, EXIT_REFUSED, UserError


def _launch(job: SweepJob, address: str | None = None) -> tuple[int, str]:
    screen = io.StringIO()
    try:
        return launch(job, address=address, plain=True, console=Console(file=screen, width=400)), screen.getvalue()
    except UserError as error:
        return error.status, error.text()


def _job(tmp_path: Path) -> SweepJob:
    return recorded_job(tmp_path, "sweep", [], prune=False).model_copy(update={"mlflow": "off"})


def test_the_second_driver_of_a_sweep_is_told_who_has_it(tmp_path: Path) -> None:
    job = _job(tmp_path)
    with durable.file_lock(job.directory / "driver.lock", holder="process 4711 of somebody on another-machine"):
        code, said = _launch(job)
    assert code == EXIT_FAILED
    assert "process 4711 of somebody on another-machine" in said
    assert not (job.directory / "events.jsonl").exists()


def test_client_mode_is_refused_with_what_to_do(tmp_path: Path) -> None:
    code, said = _launch(_job(tmp_path), address="ray://head:10001")
    assert code == EXIT_REFUSED
    assert "ray job submit" in said
    assert not (tmp_path / "sweep").exists()
