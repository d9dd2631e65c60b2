"""Write the weights of a training at some shares of its steps, beside those at its end, and change nothing of it.

A written share is a folder `<share>` that appears at once: the model folder `model` and the training's outcome so far,
`outcome.json`. It stays where it is when the process is killed; the next one goes on behind it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from unlearn_sweep.engine.models.loading import load_model
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training.adapter_file import save_adapter
from unlearn_sweep.engine.training.assembly import Loaded
from unlearn_sweep.engine.training.export import changed_by, write_weights
from unlearn_sweep.engine.training.schedule import steps_at
from unlearn_sweep.engine.training.state import History
from unlearn_sweep.engine.training.weight_change import relative_change
from unlearn_sweep.methods.composition import final_weights

MODEL = "model"
OUTCOME = "outcome.json"


class WeightsOnTheWay:
    """Implement `loop.Exporter` for a job with `export_shares`.

    Args:
        loaded: The training.
        outcome: Makes the outcome of a training from its history and whether its weights are finite.
    """

    def __init__(self, loaded: Loaded, outcome: Callable[[Loaded, History, bool | None], TrainOutcome]) -> None:
        job = loaded.training.job
        self.loaded = loaded
        self.outcome = outcome
        self.folder = Path(job.export_dir or "")
        self.steps = {share: steps_at(share, loaded.training.run.steps) for share in job.export_shares}

    def has_all_before(self, step: int) -> bool:
        return all(written(self.folder, share) for share, at in self.steps.items() if at <= step)

    def write(self, history: History) -> bool:
        due = [share for share, step in self.steps.items() if step == history.steps]
        for share in due:
            self._write(share, history)
        return bool(due)

    def write_rest(self, history: History) -> None:
        for share, step in self.steps.items():
            if step > history.steps:
                self._write(share, history)

    def _write(self, share: float, history: History) -> None:
        ranks, target = self.loaded.training.ranks, self.folder / share_name(share)
        device = self.loaded.training.run.device
        tokens = ranks.sum(torch.tensor(history.tokens, dtype=torch.float64, device=device))
        with ExitStack() as stack:
            folder: Path | None = None
            if ranks.first:
                shutil.rmtree(target, ignore_errors=True)  # of an attempt that was killed before its checkpoint
                folder = stack.enter_context(durable.new_folder(target))
            finite = self._weights(None if folder is None else folder / MODEL)
            everywhere = bool(ranks.sum(torch.tensor(float(finite), device=device)).item())
            if folder is not None:
                outcome = self.outcome(self.loaded, replace(history, tokens=int(tokens)), everywhere)
                moved = relative_change(self.loaded.training.job.start_model, folder / MODEL)
                content = outcome.model_copy(update={"relative_change": moved}).model_dump_json(indent=1)
                (folder / OUTCOME).write_text(content, encoding="utf-8")
        ranks.wait()

    @torch.no_grad()
    def _weights(self, folder: Path | None) -> bool:
        """Write the weights as the training would leave them now. Return whether all are finite, on rank 0."""
        loaded, random = self.loaded, torch.get_rng_state()
        if folder is not None:
            folder.mkdir()
        final = final_weights(loaded.training.method)
        start = None
        if final is not None:
            job = loaded.training.job
            sharded = job.training.zero == 3
            start = loaded.load_again() if sharded else load_model(job.start_model, dtype="float32", device="cpu")
        try:
            with self._averaged():
                if folder is not None and loaded.training.job.adapter_file is not None:
                    save_adapter(loaded.model, folder.with_name(Path(loaded.training.job.adapter_file).name))
                change: Callable[[str, Tensor], Tensor] = changed_by(final, start)
                return write_weights(loaded.model, loaded.tokenizer, loaded.dtype, folder, change)
        finally:
            torch.set_rng_state(random)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the mean of the weights in their place, if the method keeps one, and take the weights back."""
        average = self.loaded.training.average
        if average is None or average.mean is None:
            yield
            return
        kept = average.put_for_now()
        try:
            yield
        finally:
            average.take_back(kept)


def share_name(share: float) -> str:
    """Return the name of a share's folder."""
    return f"{share:g}"


def written(folder: Path, share: float) -> TrainOutcome | None:
    """Return the outcome of a share that was written into `folder`; None if there is none."""
    path = folder / share_name(share) / OUTCOME
    return TrainOutcome.model_validate_json(path.read_bytes()) if path.is_file() else None
