"""What every attack's parameters have in common. No model library: `validate` reads the parameters of all attacks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Steps = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackWork:
    """Work of an attack, without the evaluation of its states.

    Attributes:
        steps: optimization steps.
        trained_rows: rows with a forward and a backward pass.
        read_rows: rows with a forward pass only.
        states: number of states to measure.
        written_tokens: tokens generated for each forget row.
        drawn_answers: answers generated for each forget row besides those of the states' evaluation.
    """

    steps: int
    trained_rows: int
    read_rows: int
    states: int
    written_tokens: int = 0
    drawn_answers: int = 0


def work_without_training(
    *, states: int, read_rows: int = 0, written_tokens: int = 0, drawn_answers: int = 0
) -> AttackWork:
    """Return the work of an attack that takes no optimization step."""
    return AttackWork(
        steps=0,
        trained_rows=0,
        read_rows=read_rows,
        states=states,
        written_tokens=written_tokens,
        drawn_answers=drawn_answers,
    )


def work_in_turn(links: Sequence[AttackWork]) -> AttackWork:
    """Sum the work of attacks that run one after the other. Only the states of the last one are measured."""
    return AttackWork(
        steps=sum(link.steps for link in links),
        trained_rows=sum(link.trained_rows for link in links),
        read_rows=sum(link.read_rows for link in links),
        states=links[-1].states,
        written_tokens=sum(link.written_tokens for link in links),
        drawn_answers=sum(link.drawn_answers for link in links),
    )


class AttackParams(BaseModel):
    """Base of all attack parameters: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)

    def differs(self, *names: str) -> bool:
        """Return whether one of these fields has another value than its default.

        For options that do not go together. Whether a field was given says less: the resolved parameters of a chain's
        steps give every field.
        """
        return any(getattr(self, name) != type(self).model_fields[name].default for name in names)

    @abstractmethod
    def work(self) -> AttackWork:
        """Return the work of the attack with these parameters; `plan` and the order of attacks compute with it."""

    @property
    def leaves_plain_model(self) -> bool:
        """Whether every state is an ordinary model asked by unchanged prompts, which can be saved and loaded again."""
        return False

    @property
    def strongest(self) -> float | None:
        """The highest strength of its states; None where it is above 0 whatever the parameters say.

        A state of strength 0 is the model as it is, which counts for no score.
        """
        return None

    @property
    def forget_facts(self) -> int:
        """How many different forget facts the attacker needs to see again; the others are scored. 0: none."""
        return 0

    @property
    def facts_are_judged(self) -> bool:
        """Whether these facts are rows that models are judged by (questions), and not rows that they are trained on."""
        return False


class WeightsParams(AttackParams):
    """Base of the attacks that change a model's weights and nothing else."""

    @property
    def leaves_plain_model(self) -> bool:
        return True


def curve(value: int | Sequence[int], *, name: str, falling: bool = False) -> tuple[int, ...]:
    """The strengths of an attack from weak to strong: one number, or several that rise (or fall) strictly.

    Raises:
        ValueError: the list is empty, repeats a value or is out of order.
    """
    points = (value,) if isinstance(value, int) else tuple(value)
    ordered = tuple(sorted(set(points), reverse=falling))
    if not points or points != ordered:
        direction = "fall" if falling else "rise"
        raise ValueError(
            f"{name} must be non-empty and strictly {direction}, weak to strong; got {value}, try {list(ordered)}"
        )
    return points
