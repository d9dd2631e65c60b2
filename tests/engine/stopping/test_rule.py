"""The rule that stops trainings, and what it cost. Oracles: loops over the definition, and numbers by hand."""

from __future__ import annotations

import random
from itertools import product

import pytest

from unlearn_sweep.engine.stopping.decision import are_probes_of, are_whole, provisional_of, runs_anyway
from unlearn_sweep.engine.stopping.rule import Ended, added_volume, mean_added, provisional, stops_at
from unlearn_sweep.engine.stopping.settings import StopTrainings
from unlearn_sweep.engine.store.outcomes import ProbePoint

Point = tuple[float, float, float]


def dominates(one: Point, other: Point) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other


def by_definition(
    rungs: list[tuple[float, float]], ended: list[Ended], front: list[Point], sure: float, attacked: bool
) -> int | None:
    """Every finished trial is asked at every rung where the training would end if it went on as that trial did."""
    for place, (ue, ut) in enumerate(rungs):
        lost = 0
        for one in ended:
            if one.end is None:
                lost += 1
                continue
            rise, fall = one.end[0] - one.rungs[place][0], one.end[1] - one.rungs[place][1]
            rob = ue + (one.end[2] - one.rungs[place][0]) if attacked else 1.0
            raw = (ue + rise, ut + fall, rob)
            end = tuple(0.0 if value < 0 else 1.0 if value > 1 else value for value in raw)
            lost += any(dominates(point, (end[0], end[1], end[2])) for point in front)
        if lost / len(ended) >= sure:
            return place
    return None


@pytest.mark.parametrize("attacked", [True, False])
def test_the_rule_is_its_definition(attacked: bool) -> None:
    draw, found = random.Random(7), set[int | None]()

    def value() -> float:
        """Often one of few, so that there are ties and values at both ends."""
        return draw.choice([0.0, 0.5, 1.0]) if draw.random() < 0.5 else draw.random()

    def pair() -> tuple[float, float]:
        return value(), value()

    for _ in range(600):
        front = [(value(), value(), value() if attacked else 1.0) for _ in range(4)]
        ended = [
            Ended(
                [pair() for _ in range(3)],
                None if draw.random() < 0.1 else (value(), value(), value() if attacked else 1.0),
            )
            for _ in range(draw.randint(5, 12))
        ]
        rungs, sure = [pair() for _ in range(draw.randint(0, 3))], draw.choice([0.3, 0.5, 0.8])
        expected = by_definition(rungs, ended, front, sure, attacked)
        assert stops_at(rungs, ended, front, wanted=3, sure=sure, learn_from=5, attacked=attacked) == expected
        found.add(expected)
    assert found >= {None, 0, 1}


def test_too_few_whole_trials_stop_nothing() -> None:
    whole, part = Ended([(0.0, 1.0)] * 3, None), Ended([(0.0, 1.0)] * 2, None)
    front: list[Point] = [(0.5, 0.5, 0.5)]
    given = {"wanted": 3, "sure": 0.9, "learn_from": 3}
    assert stops_at([(0.5, 0.5)], [whole] * 3, front, **given) == 0  # all three broke
    assert stops_at([(0.5, 0.5)], [whole, whole, part, part], front, **given) is None
    assert stops_at([], [whole] * 3, front, **given) is None


def test_provisional_values_by_hand() -> None:
    assert provisional(0.2, 0.6, (0.8, 0.8)) == (pytest.approx(0.75), pytest.approx(0.75))
    assert provisional(0.9, 0.9, (0.8, 0.8)) == (0.0, 1.0)
    assert provisional(0.2, 0.6, (0.0, 0.8)) is None


def test_added_volume_by_hand() -> None:
    """On a front of one cube of .5, a point (.5, .5, .6) adds .5 * .5 * .1, and one inside the cube nothing."""
    front: list[Point] = [(0.5, 0.5, 0.5)]
    assert added_volume((0.5, 0.5, 0.6), front) == pytest.approx(0.025)
    assert added_volume((0.4, 0.4, 0.4), front) == 0.0
    assert added_volume(None, front) == 0.0
    assert mean_added([(0.5, 0.5, 0.6), None], front) == pytest.approx(0.0125)
    assert mean_added([], front) is None


def probe(share: float, forget: float | None, retain: float | None = 0.5, rows: int = 4) -> ProbePoint:
    return ProbePoint(share=share, step=int(8 * share), forget=forget, retain=retain, seconds=0.1, rows=rows)


def test_probes_are_laid_between_nothing_and_the_original() -> None:
    first, second = probe(0.0, 0.8), probe(0.25, 0.4)
    assert provisional_of([first, second]) == [(pytest.approx(0.5), 1.0)]
    assert provisional_of([first, probe(0.25, None), second]) == []  # nothing behind a missing number
    assert provisional_of([probe(0.0, None), second]) == []
    assert provisional_of([probe(0.0, 0.0), second]) == []
    assert provisional_of([]) == []


def test_probes_of_other_rungs_or_rows_are_none() -> None:
    probes, rungs = [probe(0.0, 0.8), probe(0.25, 0.4), probe(0.5, 0.4)], (0.25, 0.5)
    assert are_whole(probes, rungs, 4)
    assert are_probes_of(probes[:2], rungs, 4)
    assert not are_whole(probes[:2], rungs, 4)
    for other in ((0.25,), (0.25, 0.5, 0.75), (0.3, 0.5)):
        assert not are_whole(probes, other, 4)
    assert not are_whole(probes, rungs, 5)
    assert not are_whole([probe(0.0, 0.8, rows=3), *probes[1:]], rungs, 4)


def test_the_share_that_runs_anyway_is_that_share_and_the_same_each_time() -> None:
    drawn = [runs_anyway(0.2, seed=seed, number=number) for seed, number in product(range(10), range(400))]
    assert drawn == [runs_anyway(0.2, seed=seed, number=number) for seed, number in product(range(10), range(400))]
    assert abs(sum(drawn) / len(drawn) - 0.2) < 0.025  # four standard errors
    assert not any(runs_anyway(0.0, seed=1, number=number) for number in range(50))
    assert all(runs_anyway(1.0, seed=1, number=number) for number in range(50))


def test_the_defaults_are_those_that_were_replayed() -> None:
    assert StopTrainings().model_dump() == {
        "rungs": (0.25, 0.5, 0.75), "sure": 0.95, "finish_anyway": 0.2, "learn_from": 10, "rows": 24
    }  # fmt: skip
