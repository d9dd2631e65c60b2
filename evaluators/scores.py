"""Inputs and results of the objectives. A number that cannot be had is None with a reason.

Results are pydantic models, so that a record on disk holds them whole: `engine.store.records` imports these types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import pandas as pd


FORGET_SPLIT = "forget"
"""The split of what is to be forgotten."""


class Score(BaseModel):
    """Base of the results: no unknown fields, immutable, numbers that are not finite become null on disk."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, ser_json_inf_nan="null")


class Normalised(Score):
    """One metric laid between its anchors. `score` in [0, 1], higher is better; None with a `reason`.

    `weight` is the weight of the metric in UE, at least 0; None if all metrics count the same.
    """

    metric: str
    split: str
    group: str
    value: float | None
    original: float | None
    gold: float | None
    score: float | None
    reason: str | None = None
    weight: float | None = None

    @classmethod
    def missing(cls, metric: str, split: str, group: str, reason: str) -> Normalised:
        """A part that was never measured."""
        return cls(
            metric=metric, split=split, group=group, value=None, original=None, gold=None, score=None, reason=reason
        )


class Objective(Score):
    """UE or UT: its value, a bootstrap standard error over facts, its parts, and the mean of each group (UT: split).

    `rows` were scored; `dropped` counts, by table, rows left out because another table lacks them.
    """

    value: float | None
    standard_error: float | None = None
    parts: tuple[Normalised, ...] = ()
    groups: dict[str, float] = Field(default_factory=dict)
    reason: str | None = None
    rows: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackTables:
    """One strength of an attack, measured on the unlearned, the original and the gold model under that same attack.

    `scored_groups` are the facts the attack did not use itself (None: all). `utility` is UT of the attacked unlearned
    model against the original that was not attacked; None where it was not measured.
    """

    strength: float
    unit: str
    unlearned: pd.DataFrame
    original: pd.DataFrame
    gold: pd.DataFrame
    scored_groups: frozenset[str] | None = None
    utility: float | None = None
    notes: dict[str, float] = field(default_factory=dict)


class AttackPoint(Score):
    """One strength: `still_forgotten` is UE with anchors under the same attack, `metrics` are the model's own means.

    `report_metrics` are the means over the half that the search never saw; empty where only one half was measured.
    """

    strength: float
    unit: str
    still_forgotten: float | None
    utility: float | None
    metrics: dict[str, float] = Field(default_factory=dict)
    report_metrics: dict[str, float] = Field(default_factory=dict)
    notes: dict[str, float] = Field(default_factory=dict)
    reason: str | None = None


class AttackScore(Score):
    """One attack on one model: mean of `still_forgotten` over strengths above 0, or None with a reason.

    One setting of a searched attacker: the lowest `still_forgotten` of the states that keep the utility an attacker
    needs, and `worst_strength` is the strength of that state; None there if no state kept it, and `reason` says so.

    `utility` is that of the last, strongest point.
    """

    value: float | None
    standard_error: float | None = None
    utility: float | None = None
    curve: tuple[AttackPoint, ...] = ()
    worst_strength: float | None = None
    reason: str | None = None


class Robustness(Score):
    """Rob. With `is_bound`, attacks in `unfinished` are still to come and `value` is the most that Rob can become.

    `families` holds each family's mean; `excluded` names finished attacks that have no score. `worst` names the setting
    of each searched attacker that left least forgotten, among the finished ones.
    """

    value: float | None
    is_bound: bool = False
    families: dict[str, float] = Field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    reason: str | None = None
    worst: dict[str, str] = Field(default_factory=dict)
