"""Plugins of other processes and of installed packages. Oracle: a real process, a real installed distribution."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docs_pages import examples
from tests.support.plugin_text import METHOD
from unlearn_sweep.plugins import ENVIRONMENT, PluginError, environment, load, plugin_file, use


@pytest.fixture(autouse=True)
def _no_plugins_afterwards() -> Iterator[None]:
    yield
    use(())


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, (variables.pop("PYTHONPATH", ""), *sys.path)))
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_another_process_finds_the_plugins_in_its_environment(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(METHOD)
    named = environment([plugin_file(tmp_path / "mine.py")])
    done = python("from unlearn_sweep.methods.catalog import build; print(build('hinge', {'margin': 4.0}))", **named)
    assert done.stdout.strip() == "Hinge(margin=4.0)", done.stderr
    assert environment([]) == {}


def test_a_plugin_that_was_edited_meanwhile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(METHOD + "# of this test alone: a process keeps the plugins that it has loaded\n")
    named = plugin_file(path)
    path.write_text(METHOD)
    with pytest.raises(PluginError, match="was changed"):
        load(named)


def test_catalogs_load_no_plugin_for_what_is_built_in(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise RuntimeError('loaded')")
    named = environment([plugin_file(tmp_path / "mine.py")])
    done = python("from unlearn_sweep.methods.catalog import METHODS; print(METHODS['npo'].name)", **named)
    assert (done.stdout.strip(), done.stderr) == ("npo", "")
    done = python("from unlearn_sweep.methods.catalog import METHODS; print(len(METHODS))", **named)
    assert "line 1: RuntimeError: loaded" in done.stderr


def distribution(folder: Path, module: str, group: str) -> None:
    """An installed package `my-losses` with one module and an entry point, as pip leaves it."""
    (folder / "my_losses.py").write_text(module)
    info = folder / "my_losses-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-losses\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\nhinge = my_losses:CARD\n")


def test_an_installed_package_adds_a_method(tmp_path: Path) -> None:
    distribution(tmp_path, METHOD, "unlearn_sweep.methods")
    code = "from unlearn_sweep.methods.catalog import build, modules; print(build('hinge', {}), modules('hinge', {}))"
    assert python(code, PYTHONPATH=str(tmp_path)).stdout.strip() == "Hinge(margin=1.0) ('my_losses',)"


def test_an_installed_package_adds_a_sampler(tmp_path: Path) -> None:
    """The example of docs/extend.md as a package; its proposals come from there."""
    distribution(tmp_path, examples("extend.md")["my_sampler.py"], "unlearn_sweep.samplers")
    code = (
        "from unlearn_sweep.engine.samplers.catalog import build_sampler, SAMPLERS, sampler_card; "
        "print(list(SAMPLERS)[-1], sampler_card('steps').module, build_sampler('steps', {}).params)"
    )
    assert python(code, PYTHONPATH=str(tmp_path)).stdout.strip() == "steps my_losses width=0.2"


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("import nothing_of_this_name\n", "my-losses (entry point hinge = my_losses:CARD): ModuleNotFoundError"),
        (METHOD.replace('name="hinge"', 'name="npo"'), "'npo' is built in"),
    ],
)
def test_a_broken_package_is_named(module: str, words: str, tmp_path: Path) -> None:
    distribution(tmp_path, module, "unlearn_sweep.methods")
    code = "from unlearn_sweep.sweeps.cli import main; import sys; sys.argv = ['unlearn-sweep', 'methods']; main()"
    done = python(code, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_environment_is_plain_json(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(METHOD)
    (entry,) = json.loads(environment([plugin_file(tmp_path / "mine.py")])[ENVIRONMENT])
    assert set(entry) == {"name", "path", "digest"}
