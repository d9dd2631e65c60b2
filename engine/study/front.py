"""Compute the Pareto front of a sweep and its hypervolume curve from the records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unlearn_sweep.engine.store.records import Front, TrialRecord, front_point

if TYPE_CHECKING:
    from unlearn_sweep.evaluators.front import GrowingFront

REFERENCE_POINT = (0.0, 0.0, 0.0)


def point_of(record: TrialRecord) -> tuple[float, float, float] | None:
    """Return (UE, UT, Rob) of a complete, feasible trial with a measured Rob, and None for every other trial.

    In a sweep without attacks Rob is always None. The points then use Rob 1, so that the front is that of UE and UT.
    """
    return front_point(
        (record.ue, record.ut, record.rob),
        state=record.state,
        infeasible=record.infeasible,
        rob_is_bound=record.rob_is_bound,
        attacked=bool(record.attacks),
    )


def members_of(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials on the front, in the given order."""
    from unlearn_sweep.evaluators.front import non_dominated

    placed = [(record, point) for record in records if (point := point_of(record)) is not None]
    flags = non_dominated([point for _, point in placed])
    return [record for (record, _), member in zip(placed, flags, strict=True) if member]


def rivals_of(records: Sequence[TrialRecord]) -> list[tuple[float, float, float]]:
    """Return the non-dominated points. A point dominated by any of the trials is dominated by one of these."""
    return [point for record in members_of(records) if (point := point_of(record)) is not None]


def front_of(records: Sequence[TrialRecord], *, wanted: int) -> Front:
    """Return the non-dominated trials, and the hypervolume curve over the settled trials in order of finish time."""
    from unlearn_sweep.evaluators.front import hypervolume_curve, non_dominated

    settled = sorted((record for record in records if record.state != "duplicate"), key=lambda record: record.finished)
    placed = [
        (position, record, point) for position, record in enumerate(settled, start=1) if (point := point_of(record))
    ]
    points = [point for _, _, point in placed]
    volumes = hypervolume_curve(points, REFERENCE_POINT)
    members = non_dominated(points)
    return Front(
        reference_point=REFERENCE_POINT,
        front=[record.key for (_, record, _), member in zip(placed, members, strict=True) if member],
        hypervolume=float(volumes[-1]) if len(volumes) else 0.0,
        hypervolume_curve=[(position, float(volume)) for (position, _, _), volume in zip(placed, volumes, strict=True)],
        trials_settled=len(settled),
        trials_wanted=wanted,
    )


class SweepFront:
    """Computes `front_of` incrementally: dominance and hypervolume use only the current front, not all trials.

    It is rebuilt once if a trial finished before the last one added (its record came late), or if an already
    added trial ran again (an audit).
    """

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self._records: list[TrialRecord] = []
        self._numbers: set[int] = set()
        self._points = self._no_points()
        self._curve: list[tuple[int, float]] = []

    def add(self, record: TrialRecord) -> Front:
        """Add a settled trial and return the front. A duplicate changes nothing."""
        if record.state != "duplicate":
            others = self._records if record.number not in self._numbers else self._without(record.number)
            if len(others) < len(self._records) or (others and record.finished < others[-1].finished):
                self._begin_anew([*others, record])
            else:
                self._append(record)
        return Front(
            reference_point=REFERENCE_POINT,
            front=[key for key, _ in self._points.members],
            hypervolume=self._points.volume,
            hypervolume_curve=self._curve,
            trials_settled=len(self._records),
            trials_wanted=self.wanted,
        )

    def _without(self, number: int) -> list[TrialRecord]:
        return [record for record in self._records if record.number != number]

    def _begin_anew(self, records: Sequence[TrialRecord]) -> None:
        self._records, self._points, self._curve = [], self._no_points(), []
        for record in sorted(records, key=lambda record: record.finished):
            self._append(record)

    def _append(self, record: TrialRecord) -> None:
        self._records.append(record)
        self._numbers.add(record.number)
        point = point_of(record)
        if point is not None:
            self._curve = [*self._curve, (len(self._records), self._points.add(record.key, point))]

    @staticmethod
    def _no_points() -> GrowingFront[str]:
        from unlearn_sweep.evaluators.front import GrowingFront

        return GrowingFront[str](REFERENCE_POINT)
