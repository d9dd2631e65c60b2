"""Finalists: front members trained again with other seeds and attacked with the whole battery.

The search evaluates each configuration with one seed, so some front members owe their place to chance. Other seeds show
which. The results of a finalist are stored in `seeds` of the trial's record; they change neither its objectives nor the
front.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from unlearn_sweep.engine.store.records import SeedScore, TrialRecord
from unlearn_sweep.engine.study.front import members_of

MAX_SEED = 2**32


def other_seeds(record: TrialRecord, seeds: int) -> list[int]:
    """Return the `seeds` - 1 additional seeds of a trial: the integers after its own seed."""
    return [(record.seed + step) % MAX_SEED for step in range(1, seeds)]


def missing_seeds(records: Sequence[TrialRecord], seeds: int) -> Iterator[tuple[TrialRecord, int]]:
    """Yield the trial and seed of each missing run until every front member has `seeds` seeds, by trial number."""
    if seeds < 2:
        return
    for record in sorted(members_of(records), key=lambda record: record.number):
        there = {score.seed for score in record.seeds}
        yield from ((record, seed) for seed in other_seeds(record, seeds) if seed not in there)


class Finalists:
    """Hands out each missing seed once. Needs no persistent state: finished seeds are in the records."""

    def __init__(self, seeds: int) -> None:
        self.seeds = seeds
        self._given: set[tuple[int, int]] = set()

    def next(self, settled: Mapping[int, TrialRecord]) -> tuple[TrialRecord, int] | None:
        """Return the next trial and seed to run, or None if all are handed out."""
        for record, seed in missing_seeds(list(settled.values()), self.seeds):
            if (record.number, seed) not in self._given:
                self._given.add((record.number, seed))
                return record, seed
        return None

    def are_given(self, settled: Mapping[int, TrialRecord]) -> bool:
        """Return whether all missing seeds are handed out."""
        left = missing_seeds(list(settled.values()), self.seeds)
        return all((record.number, seed) in self._given for record, seed in left)


def seed_score(record: TrialRecord) -> SeedScore:
    """Convert the record of a finalist run to the entry for its trial's record."""
    return SeedScore(**{name: getattr(record, name) for name in SeedScore.model_fields})


def with_seed(record: TrialRecord, score: SeedScore) -> TrialRecord:
    """Return the trial's record with `score` added, sorted by seed. Replace an existing entry of the same seed."""
    others = {**{known.seed: known for known in record.seeds}, score.seed: score}
    return record.model_copy(update={"seeds": [others[seed] for seed in sorted(others)]})
