"""One training whose weights several trials measure: at its end, and at shares of its steps.

Whoever comes first runs it to its end, and it leaves the weights of all shares in the store. A share whose weights have
gone since, or that is wanted alone, is trained up to there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.store.records import StageResult
from unlearn_sweep.engine.store.stages import ADAPTER_FILE, StageRequest

MODEL = "model"
OUTCOME = "outcome.json"
Work = Callable[[StageRequest[TrainOutcome], dict[str, Any]], Callable[[Path], TrainOutcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRun:
    """The training of one trial.

    Attributes:
        runner: Runs its stage.
        request: The stage of the weights at a share.
        shares: The shares that the sweep measures.
        hold: Marks the weights of another share, by their key, as waiting for the trial that measures them.
        work: Makes what computes a stage, from its request and further fields of the training's job.
    """

    runner: StageRunner
    request: Callable[[float], StageRequest[TrainOutcome]]
    shares: tuple[float, ...]
    hold: Callable[[str], None]
    work: Work

    def weights_at(self, share: float, *, alone: bool) -> StageResult:
        """Return the stage of the weights at a share, run now if they are not in the store.

        `alone`: no other share is wanted.

        Raises:
            StageFailedError: the training failed.
        """
        whole, wanted = self.request(1.0), self.request(share)
        if alone or (share < 1 and self.runner.store.recall(whole) is not None):
            return self.runner.run(wanted, self.work(wanted, {"stop_at": share}))
        found = self.runner.run(whole, self._whole(whole))
        if share == 1:
            return found
        return self.runner.recall(wanted) or self.runner.run(wanted, self.work(wanted, {"stop_at": share}))

    def _whole(self, whole: StageRequest[TrainOutcome]) -> Callable[[Path], TrainOutcome]:
        store = self.runner.store
        folder = store.partial_folder(f"{whole.key}-shares")

        def train(scratch: Path) -> TrainOutcome:
            on_the_way = [share for share in self.shares if share < 1 and store.find(self.request(share)) is None]
            more = {"export_shares": tuple(on_the_way), "export_dir": str(folder)} if on_the_way else {}
            outcome = self.work(whole, more)(scratch)
            for share in on_the_way:
                self._leave(share, folder / f"{share:g}")
            shutil.rmtree(folder, ignore_errors=True)
            return outcome

        return train

    def _leave(self, share: float, made: Path) -> None:
        """Move the weights of a share to the store."""
        request, store = self.request(share), self.runner.store
        self.hold(request.key)

        def move(scratch: Path) -> TrainOutcome:
            outcome = TrainOutcome.model_validate_json((made / OUTCOME).read_bytes())
            store.keep_weights(request.key, made / MODEL)
            if (made / ADAPTER_FILE).is_file():
                shutil.copy2(made / ADAPTER_FILE, scratch / ADAPTER_FILE)
            return outcome

        self.runner.leave(request, move)
