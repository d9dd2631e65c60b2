"""Settings taken over from another sweep. Oracle: its records, and the ranges of the new file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.sweep_folder import trial, write_sweep
from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.engine.search_settings import Configuration, SearchPlan
from unlearn_sweep.engine.search_space import Choice, Fixed, Integer, LogUniform, MethodSpace, holds
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.file.warm_start import first_settings
from unlearn_sweep.sweeps.resolve import resolve

METHODS = "methods: {npo: {learning_rate: {log: [1e-4, 1e-2]}, beta: {log: [0.05, 1.0]}, retain: nll}}"


def _member(number: int, **params: Any) -> Any:
    """Trials on a line on which none beats another."""
    values = {"learning_rate": 1e-3, "beta": 0.1, "retain": "kl"} | params
    return trial(number, params=values, ue=0.1 + number / 10, ut=0.9 - number / 10, rob=0.5)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Its front: one setting inside, one of another rate, one repeated, one of another method; a beaten one besides."""
    beaten = trial(5, params={"learning_rate": 5e-3, "beta": 0.2}, ue=0.0, ut=0.0, rob=0.0)
    foreign = _member(4).model_copy(update={"method": "graddiff"})
    members = [_member(0), _member(1, learning_rate=0.5), _member(2), _member(3, beta=0.7), foreign, beaten]
    return write_sweep(tmp_path / "other", members)


def _text(other: Path, methods: str = METHODS) -> str:
    search = f"search: {{trials: 6, warm_start: '{other}'}}"
    return sweep_text(methods=methods, search=search, storage=f"storage: {other.parent}")


def test_front_members_inside_the_space_come_first_each_once(other: Path) -> None:
    job = resolve(parse_spec(_text(other)))
    assert job.search.first == [
        Configuration(method="npo", params={"learning_rate": 1e-3, "beta": 0.1}),
        Configuration(method="npo", params={"learning_rate": 1e-3, "beta": 0.7}),
    ]
    broker = StudyBroker(
        other.parent / "journal",
        job.spaces,
        SearchPlan(sampler="random", allocation="equal", trials=4, seed=1, first=job.search.first),
        identity={},
    )
    asked = [broker.ask() for _ in range(4)]
    params = [proposal.params for proposal in asked if proposal is not None]
    assert [(found["learning_rate"], found["beta"]) for found in params[:2]] == [(1e-3, 0.1), (1e-3, 0.7)]
    assert {found["retain"] for found in params} == {"nll"}  # what is not searched is as this file says
    assert len({(found["learning_rate"], found["beta"]) for found in params}) == 4


def test_the_other_sweep_going_on_makes_no_other_sweep_of_this_one(other: Path) -> None:
    before = resolve(parse_spec(_text(other)))
    write = _member(6, beta=0.9)
    (other / "trials" / "6.json").write_text(write.model_dump_json())
    after = resolve(parse_spec(_text(other)))
    assert before.search.first != after.search.first
    assert before.digest() == after.digest()


@pytest.mark.parametrize(
    ("methods", "folder", "said"),
    [
        (METHODS, "nowhere", "is no sweep"),
        ("methods: {npo: {learning_rate: {log: [1e-6, 1e-5]}}}", "other", "none of its 5 trials on the front is in"),
    ],
)
def test_what_cannot_be_begun_with_is_a_mistake(other: Path, methods: str, folder: str, said: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_spec(_text(other.parent / folder, methods))
    (problem,) = refused.value.problems
    assert problem.path == "search.warm_start"
    assert said in problem.message


@pytest.mark.parametrize(
    ("began_with", "refused"), [(None, True), ("elsewhere", True), ("other", False)], ids=["nothing", "another", "this"]
)
def test_a_sweep_that_has_begun_is_not_begun_otherwise(other: Path, began_with: str | None, refused: bool) -> None:
    """Its own copy of the file tells with what it began: with that the same command goes on, with nothing else."""
    spec = parse_spec(_text(other))
    resolve(spec)  # not begun: nothing to hold it against
    begun = write_sweep(other.parent / "small", [trial(0)])
    search = {} if began_with is None else {"search": {"trials": 6, "warm_start": str(other.parent / began_with)}}
    (begun / "spec.yaml").write_text(yaml.safe_dump({"name": "small", **search}))
    if not refused:
        assert len(resolve(spec).search.first) == 2
        return
    with pytest.raises(SpecError) as error:
        resolve(spec)
    (problem,) = error.value.problems
    assert problem.path == "search.warm_start"
    assert problem.line is not None
    assert "has already started" in problem.message


@pytest.mark.parametrize(
    ("dimension", "inside", "outside"),
    [
        (LogUniform(0.1, 1.0), [0.1, 1, 1.0], [0.09, 2, "0.5", True]),
        (Integer(1, 3), [1, 3], [0, 1.5, True]),
        (Choice(("a", 1, True)), ["a", 1, True], ["b", 2, False, 1.0]),
        (Fixed(2), [2], [3, 2.0]),
    ],
)
def test_whether_a_value_lies_in_a_dimension(dimension: Any, inside: list[Any], outside: list[Any]) -> None:
    assert all(holds(dimension, value) for value in inside)
    assert not any(holds(dimension, value) for value in outside)


def test_the_first_settings_of_an_empty_front_are_none(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "empty", [trial(0, rob_is_bound=True)])
    assert first_settings(folder, [MethodSpace(method="npo", params={"beta": Fixed(0.1)})]) == []
