"""Measuring workers as real processes. Oracle: the same evaluation in one process, equal to the bit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tests.evaluators import tiny_models
from tests.evaluators.test_model_batches import make_rows, measured
from unlearn_sweep.engine.measuring.messages import StoredModel
from unlearn_sweep.engine.measuring.shared_models import SharedModels
from unlearn_sweep.engine.process_lost import ProcessLostError
from unlearn_sweep.evaluators.attacks.abliterate import project_outputs
from unlearn_sweep.evaluators.attacks.short_training import private_copy
from unlearn_sweep.evaluators.model_batches import run_batches

pytestmark = pytest.mark.slow

ROWS = make_rows(24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_models.llama().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_models.tokenizer()


@pytest.fixture(scope="module")
def shared_models() -> Iterator[SharedModels]:
    shared_models = SharedModels()
    yield shared_models
    shared_models.close()


@pytest.fixture(scope="module")
def model(shared_models: SharedModels, folder: Path) -> PreTrainedModel:
    return shared_models.load(StoredModel(path=str(folder), dtype="auto", attention="auto"), 2)


def shared(
    shared_models: SharedModels, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, scratch: Path
) -> pd.DataFrame:
    """The table of two processes, the second of which is ready when they begin."""
    with shared_models.sharing(model, 1, scratch):
        shared_models.ready()
        before = shared_models.counted()
        table = measured(model, tokenizer, ROWS).table
        assert shared_models.helped_since(before) == 1
    return table


@dataclass(frozen=True)
class Process:
    """The id of the process that computes it, after a while."""

    size: int = 1
    seconds: float = 0.05

    def run(self, model: PreTrainedModel) -> int:
        time.sleep(self.seconds)
        return os.getpid()


@dataclass(frozen=True)
class Failing:
    """Fails in the worker, and not in the process that is `own`."""

    own: int
    size: int = 1

    def run(self, model: PreTrainedModel) -> int:
        if os.getpid() != self.own:
            raise MemoryError("no room for this batch")
        time.sleep(0.05)
        return 0


def test_two_processes_give_the_table_of_one(
    shared_models: SharedModels, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    alone = measured(model, tokenizer, ROWS).table
    pd.testing.assert_frame_equal(shared(shared_models, model, tokenizer, tmp_path), alone, check_exact=True)


def test_a_model_that_is_on_no_disk_is_shared_with_its_hooks(
    shared_models: SharedModels, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    owned = private_copy(model)
    with torch.no_grad():
        owned.lm_head.weight.mul_(1.1)
    project_outputs(owned, {1: nn.functional.normalize(torch.arange(32.0), dim=0)})
    alone = measured(owned, tokenizer, ROWS).table
    pd.testing.assert_frame_equal(shared(shared_models, owned, tokenizer, tmp_path), alone, check_exact=True)
    assert not alone.equals(measured(model, tokenizer, ROWS).table)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_pickled_is_measured_by_this_process_alone(
    shared_models: SharedModels, model: PreTrainedModel, tmp_path: Path
) -> None:
    owned = private_copy(model)
    owned.model.layers[0].register_forward_hook(lambda *_: None)
    with shared_models.sharing(owned, 1, tmp_path):
        shared_models.ready()
        assert run_batches(owned, [Process()] * 4) == [os.getpid()] * 4


def test_both_processes_compute_and_none_waits_for_the_other(
    shared_models: SharedModels, model: PreTrainedModel
) -> None:
    with shared_models.sharing(model, 1):
        shared_models.ready()
        run_batches(model, [Process(seconds=2.0)] * 2)  # the worker imports this module
        found = run_batches(model, [Process(), Process(size=9, seconds=3.0), *[Process()] * 8])
    assert set(found) == {os.getpid(), *shared_models.pids()}
    assert sum(pid != found[1] for pid in found) >= 5  # while one is at the largest batch, which begins first


def test_an_error_of_a_batch_is_raised_as_it_was_and_ends_the_workers(
    shared_models: SharedModels, model: PreTrainedModel
) -> None:
    with shared_models.sharing(model, 1):
        shared_models.ready()
        (pid,) = shared_models.pids()
        with pytest.raises(MemoryError, match="no room for this batch"):
            run_batches(model, [Failing(os.getpid())] * 6)
    assert shared_models.pids() == []
    assert gone(pid)


def test_a_killed_worker_is_a_lost_process_and_the_next_model_starts_another(
    shared_models: SharedModels, model: PreTrainedModel
) -> None:
    with shared_models.sharing(model, 1):
        shared_models.ready()
        (pid,) = shared_models.pids()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ProcessLostError, match="a measuring worker was lost: ended by signal 9"):
            run_batches(model, [Process()] * 6)
    with shared_models.sharing(model, 1):
        shared_models.ready()
        assert set(run_batches(model, [Process()] * 6)) == {os.getpid(), *shared_models.pids()}
        assert shared_models.pids() != [pid]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
