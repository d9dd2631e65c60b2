"""Finalists: the front's members trained again with other seeds, and attacked by the whole battery.

The search judges a configuration by one seed. Its front's members are those that did well, so some of them were lucky;
other seeds tell which. A finalist's results stand beside the trial's own in its record and change neither its
objectives nor the front.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from unlearn_sweep.engine.store.records import SeedScore, TrialRecord
from unlearn_sweep.engine.study.front import members_of

MAX_SEED = 2**32


def other_seeds(record: TrialRecord, seeds: int) -> list[int]:
    """The seeds beside the trial's own: the numbers that follow it."""
    return [(record.seed + step) % MAX_SEED for step in range(1, seeds)]


def missing_seeds(records: Sequence[TrialRecord], seeds: int) -> Iterator[tuple[TrialRecord, int]]:
    """What is still to be run for every member of the front to have `seeds` seeds, in order of numbers."""
    if seeds < 2:
        return
    for record in sorted(members_of(records), key=lambda record: record.number):
        there = {score.seed for score in record.seeds}
        yield from ((record, seed) for seed in other_seeds(record, seeds) if seed not in there)


class Finalists:
    """Gives out each missing seed once. Forgets nothing that matters: what is settled is in the records."""

    def __init__(self, seeds: int) -> None:
        self.seeds = seeds
        self._given: set[tuple[int, int]] = set()

    def next(self, settled: Mapping[int, TrialRecord]) -> tuple[TrialRecord, int] | None:
        """The next trial and seed to run; None where none is left to give out."""
        for record, seed in missing_seeds(list(settled.values()), self.seeds):
            if (record.number, seed) not in self._given:
                self._given.add((record.number, seed))
                return record, seed
        return None

    def are_given(self, settled: Mapping[int, TrialRecord]) -> bool:
        """Whether nothing is left to give out."""
        left = missing_seeds(list(settled.values()), self.seeds)
        return all((record.number, seed) in self._given for record, seed in left)


def seed_score(record: TrialRecord) -> SeedScore:
    """What a finalist's run adds to its trial's record."""
    return SeedScore(**{name: getattr(record, name) for name in SeedScore.model_fields})


def with_seed(record: TrialRecord, score: SeedScore) -> TrialRecord:
    """The trial's record with one more seed, by seed; a seed that is there already is replaced."""
    others = {**{known.seed: known for known in record.seeds}, score.seed: score}
    return record.model_copy(update={"seeds": [others[seed] for seed in sorted(others)]})
