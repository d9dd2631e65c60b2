"""Trials of another sweep as knowledge. Oracles: its records, and a search whose best point the other sweep knows."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from tests.support.sweep_folder import trial, write_sweep
from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.engine.search_settings import LearntTrial, SearchPlan
from unlearn_sweep.engine.search_space import MethodSpace, Scalar, Uniform
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.engine.study.learnt_trials import by_rank, learnt_trials
from unlearn_sweep.sweeps.file.learn_from import learnt_from
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.resolve import resolve

METHODS = "methods: {npo: {learning_rate: {log: [1e-4, 1e-2]}, beta: {log: [0.05, 1.0]}, retain: nll}}"
SPACE = MethodSpace(method="npo", params={"x": Uniform(0.0, 1.0), "y": Uniform(0.0, 1.0)})


@pytest.fixture
def other(tmp_path: Path) -> Path:
    inside = {"learning_rate": 1e-3, "beta": 0.1}
    records = [
        trial(0, params=inside, ue=0.1, ut=0.2, rob=0.3),
        trial(1, params={**inside, "beta": 3.0}),  # outside
        trial(2, params={**inside, "beta": 0.2}, state="collapsed", ue=None, ut=None, rob=None, attacks=[]),
        trial(3, params={**inside, "beta": 0.3}, state="failed", ue=None, ut=None, rob=None),
        trial(4, params={**inside, "beta": 0.4}, rob=None),  # no value
        trial(
            6, params={**inside, "beta": 0.6}, state="stopped", ue=None, ut=None, rob=None, attacks=[]
        ),  # unknown end
        trial(5, params={**inside, "beta": 0.5}, ue=0.0, ut=0.1, rob=0.2),  # beaten, and told all the same
    ]
    return write_sweep(tmp_path / "other", records)


def text(other: Path, search: str = "trials: 6") -> str:
    return sweep_text(methods=METHODS, search=f"search: {{{search}, learn_from: '{other}'}}", storage="storage: runs")


def test_all_trials_in_the_space_are_told_whether_on_the_front_or_not(other: Path) -> None:
    search = resolve(parse_spec(text(other))).search
    assert [(found.params["beta"], found.values) for found in search.learnt] == [
        (0.1, {"ue": 0.1, "ut": 0.2, "rob": 0.3}),
        (0.2, None),
        (0.5, {"ue": 0.0, "ut": 0.1, "rob": 0.2}),
    ]
    assert search.first == []


def test_the_other_sweep_going_on_makes_no_other_sweep_of_this_one(other: Path) -> None:
    before = resolve(parse_spec(text(other)))
    (other / "trials" / "0.json").unlink()
    after = resolve(parse_spec(text(other)))
    assert before.search.learnt != after.search.learnt
    assert before.digest() == after.digest()


@pytest.mark.parametrize(
    ("search", "folder", "said"),
    [
        ("trials: 6", "nowhere", "is no sweep"),
        ("trials: 6, sampler: random", "other", "random does not learn from another sweep"),
    ],
)
def test_what_nothing_can_be_learnt_from_is_a_mistake(other: Path, search: str, folder: str, said: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_spec(text(other.parent / folder, search))
    (problem,) = refused.value.problems
    assert problem.path == "search.learn_from"
    assert said in problem.message


def test_another_scale_changes_no_rank() -> None:
    settings: list[dict[str, Scalar]] = [{"x": place / 10, "y": 0.5} for place in range(4)]
    levels = [0.1, 0.3, 0.2, 0.3]
    told = [LearntTrial(method="npo", params=params, values=dict.fromkeys(("ue", "ut", "rob"), level))
            for params, level in zip(settings, levels, strict=True)]  # fmt: skip
    ranked = by_rank(learnt_trials(told, SPACE, ("ue", "ut", "rob")))
    assert [found.values[0] for found in ranked] == [0.2, 0.7, 0.4, 0.7]
    lower = [found.model_copy(update={"values": {name: value / 9 for name, value in (found.values or {}).items()}})
             for found in told]  # fmt: skip
    again = by_rank(learnt_trials(lower, SPACE, ("ue", "ut", "rob")))
    assert [found.values for found in again] == [found.values for found in ranked]


def test_a_search_begins_where_the_other_one_ended(tmp_path: Path) -> None:
    """The best point is (0.8, 0.2). The other sweep has lower values everywhere, and the same best point."""

    def level(x: float, y: float) -> float:
        return max(0.0, 1 - ((x - 0.8) ** 2 + (y - 0.2) ** 2) ** 0.5)

    grid = [(x / 6, y / 6) for x in range(7) for y in range(7)]
    told = [
        LearntTrial(method="npo", params={"x": x, "y": y}, values=dict.fromkeys(("ue", "ut", "rob"), 0.3 * level(x, y)))
        for x, y in grid
    ]

    def mean_level(learnt: list[LearntTrial], seed: int) -> float:
        plan = SearchPlan(sampler="tpe", trials=8, seed=seed, learnt=learnt)
        folder = tmp_path / f"{seed}-{len(learnt)}"
        folder.mkdir()
        broker, levels = StudyBroker(folder / "journal", [SPACE], plan, identity={}), []
        while (asked := broker.ask()) is not None:
            levels.append(level(float(asked.params["x"]), float(asked.params["y"])))
            values = dict.fromkeys(("ue", "ut", "rob"), levels[-1])
            broker.settle(trial(asked.number, key=asked.key, params=asked.params, **values))
        return statistics.fmean(levels)

    without, learning = ([mean_level(known, seed) for seed in range(4)] for known in ([], told))
    assert min(learning) > max(without)
    assert statistics.fmean(learning) > 0.8


def test_nothing_is_learnt_from_an_empty_sweep(tmp_path: Path) -> None:
    assert learnt_from(write_sweep(tmp_path / "none", [trial(0, state="failed")]), [SPACE]) == []
