"""What the source archive and the wheel hold, and whether the wheel works far from the repository.

Oracle: the files that git tracks, and the commands themselves.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.packaging.built import PACKAGES, environment_of, tracked_files
from unlearn_sweep import __version__

SHIPPED = (".py", ".yaml", ".csv", ".html", ".css", ".js")


def shipped_files() -> set[str]:
    """Every file of the four folders, by its name inside the package."""
    own = (name for name in tracked_files() if name.partition("/")[0] in PACKAGES)
    return {f"unlearn_sweep/{name}" for name in own} | {
        f"unlearn_sweep/{name}" for name in ("__init__.py", "plugins.py", "user_error.py", "py.typed")
    }


def test_the_wheel_holds_every_file_of_the_four_folders_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        found = {name for name in file.namelist() if ".dist-info/" not in name}
        licences = [name for name in file.namelist() if name.endswith("LICENSE")]
    assert found == shipped_files()
    assert {Path(name).suffix for name in found} >= set(SHIPPED)
    assert len(licences) == 1


def test_the_source_archive_holds_the_files_behind_the_links_and_no_tests(sdist: Path) -> None:
    with tarfile.open(sdist) as file:
        names = {member.name.partition("/")[2]: member for member in file.getmembers()}
    assert {f"src/{name}" for name in shipped_files()} <= set(names)
    assert not any(member.issym() or member.islnk() for member in names.values())
    assert not [name for name in names if name.startswith(("tests", "bench"))]
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"} <= set(names)


def run(installation: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "unlearn_sweep.sweeps.cli", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment_of(installation), capture_output=True, text=True, check=False
    )


def test_an_installation_prints_its_version_and_an_example_that_is_valid(installation: Path, tmp_path: Path) -> None:
    assert run(installation, tmp_path, "--version").stdout == f"unlearn-sweep {__version__}\n"
    printed = run(installation, tmp_path, "example", "quickstart")
    (tmp_path / "q.yaml").write_text(printed.stdout)
    checked = run(installation, tmp_path, "validate", "q.yaml")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith("q.yaml: valid; 12 trials")
    place = run_python(installation, tmp_path, "import unlearn_sweep.sweeps.cli as cli; print(cli.__file__)")
    assert Path(place).is_relative_to(installation)


def run_python(installation: Path, folder: Path, code: str) -> str:
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment_of(installation), capture_output=True, check=True)
    return done.stdout.decode().strip()


def test_an_installation_lists_its_examples(installation: Path, tmp_path: Path) -> None:
    listed = run(installation, tmp_path, "example").stdout.splitlines()
    files = [name for name in sorted(shipped_files()) if name.endswith(".yaml")]
    shipped = [name.removeprefix("unlearn_sweep/sweeps/").removesuffix(".yaml") for name in files]
    assert [line.split()[0] for line in listed] == shipped


def test_an_installation_has_the_numbers_of_the_papers(installation: Path, tmp_path: Path) -> None:
    done = run(installation, tmp_path, "papers", "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 10_000
