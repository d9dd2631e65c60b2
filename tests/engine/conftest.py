"""Fixtures of the engine's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.recorded_sweep import job_of
from tests.support.mirrors import finished_sweep
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.tracking.runs import RunStore, default_tracking_uri


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's schema and nothing in it: making one takes seconds, copying it none."""
    root = tmp_path_factory.mktemp("mlflow")
    RunStore.open(default_tracking_uri(root), "unused")
    return root / "mlflow.db"


@pytest.fixture
def storage(tmp_path: Path, empty_mlflow: Path) -> Path:
    """A storage folder with an MLflow database."""
    root = tmp_path / "runs"
    root.mkdir()
    shutil.copy(empty_mlflow, root / "mlflow.db")
    return root


@pytest.fixture(scope="session")
def recorded_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep, made once."""
    folder = tmp_path_factory.mktemp("made")
    finished_sweep(folder / "runs")
    return folder


@pytest.fixture
def here(recorded_storage: Path, tmp_path: Path) -> SweepJob:
    """A copy of it."""
    shutil.copytree(recorded_storage / "runs", tmp_path / "runs")
    return job_of(tmp_path / "runs")


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"file://{tmp_path}/copy"
