"""`unlearn-sweep check-plugin`: run the contract suites on the cards of a plugin and report each check."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_sweep.plugins import Named, PluginError, load
from unlearn_sweep.sweeps.file.plugins import checked_plugin, use_plugins

OPTIONS = "CHECK"
"""Name of a plugin's optional table of check inputs by card name: {"cases": [{...}], "identity": {...}}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Result of one check of one card. `reason` is None if the check passed."""

    card: str
    check: str
    reason: str | None
    seconds: float

    def line(self) -> str:
        head = "pass" if self.reason is None else "FAIL"
        return f"{head}  {self.card}: {self.check}" + ("" if self.reason is None else f"\n      {self.reason}")


def check_plugin(path: Path) -> Iterator[CheckResult]:
    """Run every check of every card of a plugin, one result at a time.

    Raises:
        PluginError: the plugin cannot be loaded, or its `CHECK` table is invalid.
    """
    use_plugins([path])
    file, cards = checked_plugin(path.resolve())
    options = _options(getattr(load(file), OPTIONS, {}), cards, file.path)
    from unlearn_sweep.engine.contracts.suites import checks_of

    for card in cards:
        for name, check in checks_of(card, **options.get(card.name, {})):
            yield _result(card.name, name, check)


def _result(card: str, name: str, check: Callable[[], None]) -> CheckResult:
    from unlearn_sweep.engine.contracts.failure import ContractError

    began, reason = time.monotonic(), None
    try:
        check()
    except ContractError as error:
        reason = str(error)
    except Exception as error:  # any exception from plugin code is a failed check
        reason = f"{type(error).__name__}: {error}"
    return CheckResult(card=card, check=name, reason=reason, seconds=time.monotonic() - began)


def _options(table: Any, cards: tuple[Named, ...], path: str) -> dict[str, dict[str, Any]]:
    """Return the plugin's `CHECK` table.

    Raises:
        PluginError: the value is not a table, or has unknown card names or keys.
    """
    names = [card.name for card in cards]
    wanted = f'{OPTIONS} = {{"{names[0]}": {{"cases": [{{...}}], "identity": {{...}}}}}}'
    if not isinstance(table, dict) or not all(isinstance(value, dict) for value in table.values()):
        raise PluginError(f"{path}: {OPTIONS} is no table; wanted: {wanted}")
    for name, value in table.items():
        if name not in names or not set(value) <= {"cases", "identity"}:
            raise PluginError(f"{path}: {OPTIONS}[{name!r}] fits no card, or has other keys; wanted: {wanted}")
    return table
