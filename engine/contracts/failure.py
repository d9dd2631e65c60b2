"""What a check of a contract raises."""

from __future__ import annotations


class ContractError(Exception):
    """A promise of the contract is not kept. The message says which, with the values seen."""


def require(kept: bool, message: str) -> None:
    """Raise ContractError with `message` unless `kept`."""
    if not kept:
        raise ContractError(message)
