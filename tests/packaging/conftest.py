"""Source archive, wheel and installation, each made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.built import copy_of_the_project, installed, run_backend, unpacked


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = copy_of_the_project(tmp_path_factory.mktemp("project"))
    return run_backend(project, "build_sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source archive, so that it shows that the archive is whole."""
    source = unpacked(sdist, tmp_path_factory.mktemp("source"))
    return run_backend(source, "build_wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(wheel, tmp_path_factory.mktemp("installed"))
