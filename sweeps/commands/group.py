"""The group of all commands: the one place where an error of the user becomes a message and an exit status."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import typer
from typer.core import TyperGroup

from unlearn_sweep.engine.privacy.secrets import visible
from unlearn_sweep.sweeps.printing import print_error, print_refusal
from unlearn_sweep.user_error import EXIT_INTERRUPTED, UserError

UsageError = cast(type[Exception], typer.BadParameter.__mro__[1])
"""Typer's error of unknown commands, options and values; typer itself exports only this subclass."""


class CommandGroup(TyperGroup):
    """Runs a command. Prints a UserError without a traceback and exits with its status."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _errors_explained():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _errors_explained():
            return super().invoke(ctx)


@contextlib.contextmanager
def _errors_explained() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise typer.Exit(print_refusal(error)) from None
    except UsageError as error:  # typer prints it: what the user typed may be in the message
        if isinstance(message := getattr(error, "message", None), str):
            setattr(error, "message", visible(message))  # noqa: B010 - typer does not export the class that has it
        raise
    except KeyboardInterrupt:
        print_error("interrupted; rerun the same command to resume")
        raise typer.Exit(EXIT_INTERRUPTED) from None
