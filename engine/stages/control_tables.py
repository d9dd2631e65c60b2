"""Per-row tables of the controls (original and gold model), before and after each attack.

Every trial of a sweep is scored against the same tables, so a process reads them once and caches them.
"""

from __future__ import annotations

import threading
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.row_halves import with_halves
from unlearn_sweep.engine.store.stages import StageStore

if TYPE_CHECKING:
    import pandas as pd

SWEEPS_KEPT = 2


def control_tables(prepared: Prepared, store: StageStore) -> ControlTables:
    """Return the tables of this preparation, from the cache if this process has read them before."""
    return _tables(prepared.model_dump_json(), store.root.parent)


@lru_cache(maxsize=SWEEPS_KEPT)
def _tables(prepared: str, storage: Path) -> ControlTables:
    return ControlTables(Prepared.model_validate_json(prepared), StageStore(storage))


class ControlTables:
    """Rows of the original and the gold model, read on first use. Callers must not modify the returned tables."""

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
        """Rows of the gold model. If there is none, the original's rows with every metric at chance."""
        rows = self._store.rows(self._prepared.evaluations["gold"])
        return self._at_chance(rows) if self._prepared.gold_at_chance else rows

    @cached_property
    def halves(self) -> dict[str, frozenset[str]]:
        """Group ids of the search half and of the report half, as the rows of the original model name them."""
        rows = with_halves(self.original, {})
        return {half: frozenset(rows.loc[rows["half"] == half, "group_id"].tolist()) for half in ("search", "report")}

    def groups_after(self, request: int) -> frozenset[str]:
        """Return the forget groups of later requests than this one."""
        rows = self.original
        return frozenset(rows.loc[rows["request"] > request, "group_id"].tolist())

    def attacked(self, label: str, which: str) -> dict[float, pd.DataFrame]:
        """Return the rows of a control after an attack, by strength, in the order of the attack."""
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
        """Read all tables in a background thread, while the trial waits for its training.

        An error here does not reach the caller; the same read fails again when the table is needed.
        """
        threading.Thread(target=self._read, name="read-controls", daemon=True).start()

    def _read(self) -> None:
        # Loads the scoring code and its libraries.
        import unlearn_sweep.evaluators.objectives.robustness
        import unlearn_sweep.evaluators.objectives.utility  # noqa: F401

        _ = self.halves, self.gold
        for label, models in self._prepared.attacks.items():
            for which in models:
                self.attacked(label, which)


def by_strength(rows: pd.DataFrame) -> dict[float, pd.DataFrame]:
    """Return the rows of each strength. Attacks list each strength once, since duplicates would be merged."""
    return {float(at): rows.loc[rows["strength"] == at] for at in dict.fromkeys(rows["strength"].tolist())}
