"""`search.stop_trainings` in a sweep file. Oracles: values and refusals written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.engine.stopping.settings import StopTrainings
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.methods.catalog import METHODS
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import SweepSpec, parse_spec
from unlearn_sweep.sweeps.file.stopping import why_unprobed
from unlearn_sweep.sweeps.plan.obstacles import obstacles_of
from unlearn_sweep.sweeps.resolve import Overrides, resolve


def spec_of(search: str, **parts: str) -> SweepSpec:
    return parse_spec(sweep_text(search=f"search: {{{search}}}", storage="storage: runs", **parts))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("trials: 30", None),
        ("trials: 30, stop_trainings: false", None),
        ("trials: 30, stop_trainings:", None),
        ("trials: 30, stop_trainings: true", StopTrainings()),
        ("trials: 30, stop_trainings: {}", StopTrainings()),
        (
            "trials: 30, stop_trainings: {rungs: [0.1, 0.9], sure: 1, finish_anyway: 0, learn_from: 3, rows: 8}",
            StopTrainings(rungs=(0.1, 0.9), sure=1.0, finish_anyway=0.0, learn_from=3, rows=8),
        ),
    ],
)
def test_the_option_in_all_its_forms(tmp_path: Path, given: str, expected: StopTrainings | None) -> None:
    job = resolve(spec_of(given), Overrides(storage=str(tmp_path)))
    assert job.search.stop_trainings == expected


def test_a_sweep_that_stops_is_another_and_one_that_does_not_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: what is hashed, which in older versions had no such option."""
    plain, off, on = (
        resolve(spec_of(f"trials: 30{more}"), Overrides(storage=str(tmp_path))).digest()
        for more in ("", ", stop_trainings: false", ", stop_trainings: true")
    )
    assert plain == off != on
    hashed: list[dict[str, Any]] = []
    monkeypatch.setattr("unlearn_sweep.engine.job.digest", hashed.append)
    for more in ("", ", stop_trainings: true"):
        resolve(spec_of(f"trials: 30{more}"), Overrides(storage=str(tmp_path))).digest()
    assert ["stop_trainings" in content["search"] for content in hashed] == [False, True]


@pytest.mark.parametrize(
    ("option", "path"),
    [
        ("{rungs: []}", "search.stop_trainings.rungs"),
        ("{rungs: [0.5, 1]}", "search.stop_trainings.rungs[1]"),
        ("{rungs: [0, 0.5]}", "search.stop_trainings.rungs[0]"),
        ("{rungs: [0.5, 0.25]}", "search.stop_trainings.rungs"),
        ("{rungs: [0.5, 0.5]}", "search.stop_trainings.rungs"),
        ("{sure: 1.5}", "search.stop_trainings.sure"),
        ("{sure: 0}", "search.stop_trainings.sure"),
        ("{finish_anyway: -0.1}", "search.stop_trainings.finish_anyway"),
        ("{learn_from: 0}", "search.stop_trainings.learn_from"),
        ("{rows: 0}", "search.stop_trainings.rows"),
        ("{rung: [0.5]}", "search.stop_trainings.rung"),
        ("3", "search.stop_trainings"),
    ],
)
def test_a_wrong_value_is_found_where_it_is(option: str, path: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec_of(f"trials: 30, stop_trainings: {option}")
    assert [problem.path for problem in caught.value.problems] == [path]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"rest": "requests: [1, 2]"}, "a sweep of requests"),
        ({"training": "training: {checkpoints: [0.5, 1.0]}"}, "the shares of a training"),
        ({"methods": "methods: {npo: , task_vector: }"}, "method task_vector cannot be stopped"),
        ({"methods": "methods: {npo>undo: }"}, "two trainings in turn"),
        ({"methods": "methods: {undo: }"}, "begins at a damaged model"),
        ({"methods": "methods: {task_vector+sam: }"}, "keeps what its training moved away from"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_it_cannot_serve_is_refused(parts: dict[str, str], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec_of("trials: 30, stop_trainings: true", **parts)
    found = [problem for problem in caught.value.problems if problem.path == "search.stop_trainings"]
    assert len(found) == 1
    assert words in found[0].message


def test_every_method_but_these_is_served() -> None:
    refused = {name for name, entry in METHODS.items() if entry.kind == "method" and why_unprobed(name) is not None}
    assert refused == {"task_vector", "undo"}


def test_a_search_too_short_to_stop_anything_is_noted() -> None:
    assert any("first 10 trials only teach" in note for note in spec_of("trials: 10, stop_trainings: true").notes)
    (longer,) = spec_of("trials: 11, stop_trainings: {rungs: [0.1, 0.5]}").notes
    assert "may stop after 10%, 50% of its steps" in longer
    assert not spec_of("trials: 11").notes


def test_a_benchmark_without_rows_to_probe_is_an_obstacle(tmp_path: Path) -> None:
    """Multiple choice has no answer with a probability. Oracle: the made-up authors, who have answers."""
    from dataclasses import replace

    job = resolve(spec_of("trials: 30, stop_trainings: true"), Overrides(storage=str(tmp_path)))
    benchmark = load_benchmark(job.benchmark.name, job.benchmark.params)
    assert not any("stop_trainings" in text for text in obstacles_of(job, benchmark))
    rows = [replace(row, kind="choice", choices=("a", "b")) for row in benchmark.evaluation["retain"]]
    other = replace(benchmark, evaluation={**benchmark.evaluation, "retain": rows})
    found = [text for text in obstacles_of(job, other) if "stop_trainings" in text]
    assert len(found) == 1
    assert "no utility rows" in found[0]
