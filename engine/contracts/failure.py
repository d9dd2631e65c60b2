"""The error of the contract checks."""

from __future__ import annotations


class ContractError(Exception):
    """A contract is violated. The message names the requirement and the values found."""


def require(kept: bool, message: str) -> None:
    """Raise ContractError with `message` unless `kept`."""
    if not kept:
        raise ContractError(message)
