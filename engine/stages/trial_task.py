"""What a trial is asked to do, under which name it runs, and which attempt it is."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.search_space import Scalar
from unlearn_sweep.engine.stages.attack_order import AttackOutlook
from unlearn_sweep.engine.stopping.records import Probing


class TrialTask(BaseModel):
    """One proposal, with the facts it may use from the settled trials visible to it.

    Attributes:
        number: number of the trial in the sweep.
        key: trial key.
        method: name of the unlearning method.
        params: parameters of the method.
        seed: seed of the training.
        rivals: (UE, UT, Rob) of the non-dominated visible trials.
        outlook: expected effect and cost of each attack; empty while there are too few trials to learn from.
        tried_first: settings of searched attackers that left least forgotten in the last visible trial. Only the order
            depends on it.
        probing: how its training is probed, and by what it stops; None: it runs to its end.
        finalist: a front member that is run again with another seed; no attack is skipped.
        weights_only: a settled trial whose weights must be trained again; nothing is measured.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    number: int
    key: str
    method: str
    params: dict[str, Scalar]
    seed: int
    rivals: list[tuple[float, float, float]] = []
    outlook: dict[str, AttackOutlook] = {}
    tried_first: list[str] = []
    probing: Probing | None = None
    finalist: bool = False
    weights_only: bool = False

    @property
    def holder(self) -> str:
        """Name of the run inside its sweep: the trial's number, with a suffix for finalists and weights-only runs."""
        if self.weights_only:
            return weights_holder(self.number)
        return holder_of(self.number, self.seed) if self.finalist else str(self.number)


def holder_of(number: int, seed: int) -> str:
    """Return the name of a finalist's run inside its sweep."""
    return f"{number}-seed-{seed}"


def weights_holder(number: int) -> str:
    """Return the name of the run that recreates the weights of a front member."""
    return f"{number}-weights"


def count_attempt(marks: Path) -> int:
    """Return the number of the attempt that starts now, from 1.

    The file `marks` has one byte per start, so killed processes are counted too.
    """
    marks.parent.mkdir(parents=True, exist_ok=True)
    with marks.open("ab") as file:
        file.write(b".")
        return file.tell()
