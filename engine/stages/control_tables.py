"""Tables of the controls: what original and gold model answered, before and after each attack.

Every trial of a sweep is scored against the same tables, so a process reads them once and keeps them.
"""

from __future__ import annotations

import threading
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.store.stages import StageStore

if TYPE_CHECKING:
    import pandas as pd

SWEEPS_KEPT = 2


def control_tables(prepared: Prepared, store: StageStore) -> ControlTables:
    """The tables of this preparation, from memory where this process has read them before."""
    return _tables(prepared.model_dump_json(), store.root.parent)


@lru_cache(maxsize=SWEEPS_KEPT)
def _tables(prepared: str, storage: Path) -> ControlTables:
    return ControlTables(Prepared.model_validate_json(prepared), StageStore(storage))


class ControlTables:
    """Rows of original and gold, read at first use. Callers must not change what they are given."""

    def __init__(self, prepared: Prepared, store: StageStore) -> None:
        self._prepared = prepared
        self._store = store
        self._attacked: dict[tuple[str, str], dict[float, pd.DataFrame]] = {}
        self._reading = threading.Lock()

    @cached_property
    def original(self) -> pd.DataFrame:
        return self._store.rows(self._prepared.evaluations["original"])

    @cached_property
    def gold(self) -> pd.DataFrame:
        """Its own rows; without a gold model, the original's with every metric at chance."""
        rows = self._store.rows(self._prepared.evaluations["gold"])
        return self._at_chance(rows) if self._prepared.gold_at_chance else rows

    @cached_property
    def halves(self) -> dict[str, frozenset[str]]:
        """Facts of the search and of the report half, drawn within each split."""
        from unlearn_sweep.evaluators.rows import halves

        both = [halves(groups, salt="search") for _, groups in self.original.groupby("split")["group_id"]]
        return {
            "search": frozenset().union(*(search for search, _ in both)),
            "report": frozenset().union(*(report for _, report in both)),
        }

    def attacked(self, label: str, which: str) -> dict[float, pd.DataFrame]:
        """Rows of a control after an attack, by strength, in the attack's order."""
        with self._reading:
            if (label, which) not in self._attacked:
                rows = self._store.rows(self._prepared.attacks[label][which])
                if which == "gold" and self._prepared.gold_at_chance:
                    rows = self._at_chance(rows)
                self._attacked[label, which] = by_strength(rows)
            return self._attacked[label, which]

    def _at_chance(self, rows: pd.DataFrame) -> pd.DataFrame:
        from unlearn_sweep.evaluators.floor import at_chance

        return at_chance(rows)

    def read_ahead(self) -> None:
        """Read everything in the background: a trial waits seconds for its training and can use them.

        What fails here fails again, loudly, where it is needed.
        """
        threading.Thread(target=self._read, name="read-controls", daemon=True).start()

    def _read(self) -> None:
        import unlearn_sweep.evaluators.objectives  # noqa: F401  (what scores, and the libraries under it)

        _ = self.halves, self.gold
        for label, models in self._prepared.attacks.items():
            for which in models:
                self.attacked(label, which)


def by_strength(rows: pd.DataFrame) -> dict[float, pd.DataFrame]:
    """The rows of each strength. A duplicate strength cannot be told apart, so attacks list each once."""
    return {float(at): rows.loc[rows["strength"] == at] for at in dict.fromkeys(rows["strength"].tolist())}
