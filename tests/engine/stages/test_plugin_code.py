"""Which stages follow the code of a plugin. Oracle: a table of edits, as for the code that is built in."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path

import pytest

from tests.support.plugin_text import METHOD, METRIC
from unlearn_sweep.engine.driver.plugin_files import keep_plugins
from unlearn_sweep.engine.job import (
    AttackSettings,
    BenchmarkSettings,
    ModelSource,
    SearchSettings,
    SweepJob,
    TrainingSettings,
)
from unlearn_sweep.engine.search_space import Fixed, MethodSpace
from unlearn_sweep.engine.stages import measuring_requests, training_requests
from unlearn_sweep.engine.stages.sweep_code import sweep_code
from unlearn_sweep.engine.store.code import code_digests, code_version, version_of
from unlearn_sweep.plugins import PluginError, plugin_file, use

QUANTIZE = AttackSettings(label="quantize", name="quantize", family="quantize", params={"bits": 4})
TRAINED = {"unlearn hinge", "sweep"}
MEASURED = {"evaluate", "attack", "sweep"}
EDITS = {
    "docstring": (METHOD, '"""A hinge on the forget tokens."""', '"""Another text."""', set()),
    "comment": (METHOD, "batch = step.forward", "# why\n        batch = step.forward", set()),
    "range in the card": (METHOD, "search=(0.5, 4.0)", "search=(0.1, 9.0)", set()),
    "summary in the card": (METHOD, 'summary="a hinge"', 'summary="a better hinge"', set()),
    "loss": (METHOD, "loss.sum()", "2 * loss.sum()", TRAINED),
    "default of the class": (METHOD, "margin: float = 1.0", "margin: float = 2.0", TRAINED),
    "function of the metric": (METRIC, "len(measured.row.answer)", "len(measured.row.question)", MEASURED),
    "summary of the metric": (METRIC, 'summary="characters of', 'summary="letters of', set()),
    "kinds of the metric": (METRIC, 'unit="characters"', 'unit="characters",\n        kinds=("question",)', MEASURED),
}


@pytest.fixture(autouse=True)
def _no_plugins_afterwards() -> Iterator[None]:
    yield
    use(())


def job(storage: Path) -> SweepJob:
    return SweepJob(
        name="n",
        seed=1,
        storage=storage,
        directory=storage / "n",
        benchmark=BenchmarkSettings(name="authors"),
        original=ModelSource(path="/a/model"),
        gold=ModelSource(path="/a/gold"),
        spaces=[MethodSpace(method="hinge", params={"margin": Fixed(1.0)})],
        training=TrainingSettings(epochs=1),
        ue_metrics=["answer_length"],
        ut_metrics=["probability"],
        attacks=[QUANTIZE],
        search=SearchSettings(trials=1),
    )


def keys(folder: Path, method: str, metric: str) -> dict[str, str]:
    """The key of one stage of each kind, and the version of a sweep's code, with these texts as plugins."""
    folder.mkdir()
    for name, text in (("mine.py", method), ("length.py", metric)):
        (folder / name).write_text(text)
    use(plugin_file(folder / name) for name in ("mine.py", "length.py"))
    made = job(Path("/storage"))
    params = {"learning_rate": 1e-5}
    found = {
        "unlearn hinge": training_requests.unlearn_stage(made, "hinge", params, 1, "o", "d"),
        "unlearn npo": training_requests.unlearn_stage(made, "npo", params, 1, "o", "d"),
        "evaluate": measuring_requests.evaluate_stage(made, "m", "d"),
        "attack": measuring_requests.attack_stage(made, QUANTIZE, "m", "o", "d"),
        "link": measuring_requests.link_stage(made, QUANTIZE, "m", "o", "d"),
    }
    return {name: request.key for name, request in found.items()} | {"sweep": version_of(sweep_code(made))}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_changes_the_stages_that_compute_with_it_and_no_others(edit: str, tmp_path: Path) -> None:
    text, old, new, expected = EDITS[edit]
    assert old in text
    edited: Set[str] = expected
    before = keys(tmp_path / "before", METHOD, METRIC)
    method, metric = (part.replace(old, new) if part is text else part for part in (METHOD, METRIC))
    after = keys(tmp_path / "after", method, metric)
    assert {name for name in before if before[name] != after[name]} == edited


def test_the_code_of_a_sweep_names_a_plugin_by_its_file_and_follows_its_imports(tmp_path: Path) -> None:
    keys(tmp_path / "here", METHOD, METRIC)
    found = sweep_code(job(tmp_path))
    assert {"plugin mine", "plugin length", "unlearn_sweep.methods.token_losses"} <= set(found)


def test_a_package_counts_by_its_own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative and absolute imports inside the package are followed, a stranger's package is not."""
    package = tmp_path / "my_losses"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "loss.py").write_text("import json\nfrom my_losses import other\nfrom .helper import HALF\n")
    (package / "helper.py").write_text("HALF = 0.5\n")
    (package / "other.py").write_text("ONE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert set(code_digests("my_losses.loss")) >= {"my_losses.loss", "my_losses.helper", "my_losses.other"}
    assert "json" not in code_digests("my_losses.loss")
    (package / "second.py").write_text("from .helper import HALF\n")
    assert code_version("my_losses.second") != code_version("my_losses.helper")


def test_a_sweep_keeps_its_plugins_as_they_were(tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text(METHOD)
    named = plugin_file(source)
    (kept,) = keep_plugins([named], tmp_path / "sweep")
    assert (Path(kept.path).read_text(), kept.module) == (METHOD, named.module)
    source.write_text(METRIC)
    assert keep_plugins([named], tmp_path / "sweep") == (kept,)
    with pytest.raises(PluginError, match="changed after the sweep read it"):
        keep_plugins([named], tmp_path / "other")
