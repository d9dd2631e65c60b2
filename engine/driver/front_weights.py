"""Find the weights of front members that are missing from the store, so that every model of a front can be exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.study.front import members_of


class FrontWeights:
    """The weights of the front members of one sweep.

    Args:
        store: the stage store.
        code_version: version of the code that would train a model again.
        fetch: look for the weights of a stage key elsewhere before they count as missing.
    """

    def __init__(self, store: StageStore, code_version: str, *, fetch: Callable[[str], None] | None = None) -> None:
        self._store = store
        self._code_version = code_version
        self._fetch = fetch
        self._rebuilding: set[int] = set()

    def missing(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Return the front members whose weights are missing, can be rebuilt and are not yet being rebuilt.

        Weights can be missing because a trial with only cache hits is settled without them.
        """
        members = [record for record in members_of(records) if record.number not in self._rebuilding]
        return [record for record in members if self._can_be_rebuilt(record) and not self._has_weights(record)]

    def take(self, records: Sequence[TrialRecord]) -> TrialRecord | None:
        """Return a front member whose weights the caller must now rebuild, or None. Each is returned once."""
        record = next(iter(self.missing(records)), None)
        if record is not None:
            self._rebuilding.add(record.number)
        return record

    def lost(self, records: Sequence[TrialRecord]) -> str | None:
        """Return a notice of the front members whose weights are missing and were made by other code, or None."""
        lost = [record for record in members_of(records) if not self._can_be_rebuilt(record)]
        numbers = ", ".join(str(record.number) for record in lost if not self._has_weights(record))
        if not numbers:
            return None
        return (
            f"weights of front members {numbers} are not stored. Other code made these trials, so they are not trained "
            "again; to export one, go back to that version or run the sweep under another name"
        )

    def _can_be_rebuilt(self, record: TrialRecord) -> bool:
        """Return whether this code gives a trial the weights it had. Other code trains another model."""
        return record.code == self._code_version

    def _has_weights(self, record: TrialRecord) -> bool:
        """Return whether the store has a trial's weights, after `fetch` looked for them elsewhere.

        A trial without a training stage has none to lose.
        """
        key = record.stage_keys.get("unlearn")
        if key is None:
            return True
        if not self._store.has_weights(key) and self._fetch is not None:
            self._fetch(key)
        return self._store.has_weights(key)
