"""What chance does to a front: the probability of each trial to be a member, and errors of differences.

Every trial was measured on the same facts, so bootstrap draw n has the same facts in all trials (`TrialRecord.draws`):
differences between trials keep what the trials share. The values here are means over both halves of the facts. What a
retraining with another seed changes is known from the finalists (`seeds_for_finalists`): their standard deviation over
seeds, pooled, is added to every trial; a finalist stands for the mean over its seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from unlearn_sweep.engine.store.draws import unpack
from unlearn_sweep.engine.store.records import AttackScore, TrialRecord
from unlearn_sweep.engine.study.front import point_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PREFIXES = ("", "report_")
"""Of the fields of the search half and of the report half."""


class FrontNoise(BaseModel):
    """How sure the front is.

    Attributes:
        probability: by trial number, the share of the draws in which no other trial dominates it: the probability to be
            on the front of all facts of this kind. Only trials that can be on the front are in it.
        draws: number of draws. A share has a standard error of at most 0.5 / sqrt(draws).
        both_halves: whether the values are means over both halves; else they are those of the search half.
        seed_deviation: by objective, standard deviation over seeds, pooled over the finalists; empty if none ran with
            two seeds. What a seed changes is then not part of the probabilities.
        unmeasured: number of complete trials whose Rob is only a bound. They are left out.
        reason: why there are no probabilities; None if there are.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    probability: dict[int, float] = Field(default_factory=dict)
    draws: int = 0
    both_halves: bool = False
    seed_deviation: dict[str, float] = Field(default_factory=dict)
    unmeasured: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """Objectives of trials in every draw: `values` [trials, draws, objectives]."""

    trials: tuple[TrialRecord, ...]
    objectives: tuple[str, ...]
    values: NDArray[np.float64]
    both_halves: bool
    seed_deviation: dict[str, float]

    def of(self, number: int) -> NDArray[np.float64]:
        """Return the values [draws, objectives] of a trial by its number."""
        return self.values[next(place for place, trial in enumerate(self.trials) if trial.number == number)]


def front_noise(records: Sequence[TrialRecord], sample: Sample | None) -> FrontNoise:
    """Return the probability of each trial of the sample. `sample` is `sample_of(records, ...)`."""
    unmeasured = sum(record.state == "complete" and record.rob_is_bound for record in records)
    if sample is None:
        placed = _placed(records)
        without = sum(not record.draws for record in placed)
        reason = "no trial has all its objectives" if not placed else f"{without} of {len(placed)} trials have no draws"
        return FrontNoise(unmeasured=unmeasured, reason=reason)
    shares = membership(sample.values)
    return FrontNoise(
        probability={trial.number: float(share) for trial, share in zip(sample.trials, shares, strict=True)},
        draws=sample.values.shape[1],
        both_halves=sample.both_halves,
        seed_deviation=sample.seed_deviation,
        unmeasured=unmeasured,
    )


def membership(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of draws [trials] in which no other trial dominates. `values` is [trials, draws, objectives]."""
    import moocore
    import numpy as np

    members = np.zeros(len(values))
    for draw in range(values.shape[1]):
        points = np.ascontiguousarray(values[:, draw])
        members += np.asarray(moocore.is_nondominated(points, maximise=True, keep_weakly=True), dtype=np.float64)
    return members / values.shape[1]


def sample_of(records: Sequence[TrialRecord], objectives: Sequence[str]) -> Sample | None:
    """Return the draws of all trials that can be on the front; None if there are none, or one of them has no draws."""
    import numpy as np

    trials = _placed(records)
    search = [_drawn(trial, objectives, "") for trial in trials]
    if not trials or any(found is None for found in search):
        return None
    report = [_drawn(trial, objectives, "report_") for trial in trials]
    both = all(found is not None for found in report)
    values = np.stack([found for found in search if found is not None])
    if both:
        values = (values + np.stack([found for found in report if found is not None])) / 2
    deviation = _seed_deviation(trials, objectives, both=both)
    values = _over_seeds(values, trials, objectives, deviation, both=both)
    return Sample(tuple(trials), tuple(objectives), values, both, deviation)


def drawn_objective(trial: TrialRecord, name: str, prefix: str) -> NDArray[np.float64] | None:
    """Return one objective of a trial in every draw [draws], on the half of `prefix`; None if it is not known."""
    import numpy as np

    if getattr(trial, f"{prefix}{name}") is None:
        return None
    if name != "rob":
        packed = trial.draws.get(f"{prefix}{name}")
        return None if packed is None else _filled(unpack(packed))
    families: dict[str, list[NDArray[np.float64]]] = {}
    for attack in counted_attacks(trial):
        if _value(attack, prefix) is None:
            continue
        packed = trial.draws.get(f"{prefix}attack:{attack.attack}")
        if packed is None:
            return None
        families.setdefault(attack.family, []).append(_filled(unpack(packed)))
    if not families:
        return None
    return np.min([np.mean(inside, axis=0) for inside in families.values()], axis=0)


def counted_attacks(trial: TrialRecord) -> list[AttackScore]:
    """Return the attacks that count for Rob: those that ran, and of a searched attacker the worst on the search half.

    The worst stays the same in every draw, so that a draw is not the lowest of many noisy numbers.
    """
    worst = trial.rob_detail.worst if trial.rob_detail is not None else {}
    done = [attack for attack in trial.attacks if not attack.skipped]
    return [attack for attack in done if attack.searched is None or worst.get(attack.searched) == attack.attack]


def _placed(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [record for record in records if point_of(record) is not None]


def _value(attack: AttackScore, prefix: str) -> float | None:
    return attack.report_value if prefix else attack.value


def _filled(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace a draw without a value by the mean of the others."""
    import numpy as np

    return np.where(np.isnan(draws), np.nanmean(draws), draws)


def _drawn(trial: TrialRecord, objectives: Sequence[str], prefix: str) -> NDArray[np.float64] | None:
    import numpy as np

    columns = [drawn_objective(trial, name, prefix) for name in objectives]
    known = [column for column in columns if column is not None]
    return np.stack(known, axis=-1) if len(known) == len(columns) else None


def _runs(trial: TrialRecord, name: str, *, both: bool) -> list[float]:
    """Return an objective of each complete run of a trial: its own, then those of its other seeds."""
    found = []
    for run in (trial, *(seed for seed in trial.seeds if seed.state == "complete")):
        values = [getattr(run, f"{prefix}{name}") for prefix in (PREFIXES if both else PREFIXES[:1])]
        if None not in values:
            found.append(sum(values) / len(values))
    return found


def _seed_deviation(trials: Sequence[TrialRecord], objectives: Sequence[str], *, both: bool) -> dict[str, float]:
    """Return the pooled standard deviation of each objective over seeds; empty without a trial with two runs."""
    deviation = {}
    for name in objectives:
        squares, freedom = 0.0, 0
        for values in (_runs(trial, name, both=both) for trial in trials if trial.seeds):
            mean = sum(values) / len(values) if values else 0.0
            squares += sum((value - mean) ** 2 for value in values)
            freedom += max(0, len(values) - 1)
        if freedom:
            deviation[name] = math.sqrt(squares / freedom)
    return deviation


def _over_seeds(
    values: NDArray[np.float64],
    trials: Sequence[TrialRecord],
    objectives: Sequence[str],
    deviation: dict[str, float],
    *,
    both: bool,
) -> NDArray[np.float64]:
    """Move each trial to the mean over its seeds, and add what that mean still varies by."""
    import numpy as np

    noise = np.random.default_rng(0).standard_normal(values.shape)
    moved = values.copy()
    for column, name in enumerate(objectives):
        if name not in deviation:
            continue
        for place, trial in enumerate(trials):
            runs = _runs(trial, name, both=both)
            moved[place, :, column] += sum(runs) / len(runs) - runs[0]
            moved[place, :, column] += noise[place, :, column] * deviation[name] / math.sqrt(len(runs))
    return moved
