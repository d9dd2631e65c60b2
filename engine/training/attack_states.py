"""The list of an attack's states that a training has left in a folder, each with the folder of its model or tokens."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, RootModel

STATES = "states.json"
SOFT_TOKENS = "soft_tokens.safetensors"
"""In the folder of a state of a soft prompt: one tensor [P, D] in float32."""


class StateFile(BaseModel):
    """One state: the model after `step` steps, the last step's loss and the first one's in nats a token."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    step: int
    folder: Path
    loss: float | None
    first_loss: float | None


class _States(RootModel[list[StateFile]]):
    pass


def write_states(folder: Path, states: list[StateFile]) -> None:
    """Write the list; the states' own folders are named as they lie inside `folder`."""
    (folder / STATES).write_text(_States(states).model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_states(folder: Path) -> list[StateFile]:
    """Read the list, weakest state first, with full paths.

    Raises:
        OSError, ValueError: there is no such list, or it is damaged.
    """
    states = _States.model_validate_json((folder / STATES).read_bytes()).root
    return [state.model_copy(update={"folder": folder / state.folder}) for state in states]
