"""Train an attack's states with the backends of the defender: ZeRO, adapters, bfloat16, several ranks.

The steps are those of `evaluators.attacks.short_training`, which trains in one process: the same rows in the same
order, the mean over a batch's supervised tokens, AdamW at a constant rate after a linear warm-up, gradients clipped at
1, no dropout.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from unlearn_sweep.engine.models.loading import load_tokenizer, model_context
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training.assembly import Models, create_backend, trainable
from unlearn_sweep.engine.training.attack_states import StateFile, write_states
from unlearn_sweep.engine.training.backend import StepBackend
from unlearn_sweep.engine.training.batches import micro_batch, micro_batch_count, rank_share
from unlearn_sweep.engine.training.cache import DataCache
from unlearn_sweep.engine.training.export import write_weights
from unlearn_sweep.engine.training.forward import SupervisedLM, pack
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.memory import MemoryPeak
from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.engine.training.training_views import Item
from unlearn_sweep.engine.training.worker import own_process
from unlearn_sweep.engine.zero.shards import parameter_count
from unlearn_sweep.evaluators.attacks.attack import AttackError
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.short_training import (
    draw_batches,
    refuse_divergence,
    refuse_no_examples,
    warmup_factor,
)
from unlearn_sweep.evaluators.attacks.training_params import TrainingParams
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.rows import Example
from unlearn_sweep.methods.interface import Needs
from unlearn_sweep.methods.token_losses import token_nll

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VIEW = "train"


@runtime_checkable
class TrainingAttack(Protocol):
    """An attack that trains on examples of its own."""

    params: TrainingParams

    def examples(self, benchmark: Benchmark, tokenizer: PreTrainedTokenizerBase, seed: int) -> list[Example]: ...


@dataclass(slots=True, kw_only=True)
class _Attacker:
    """An attacker's training, ready to run."""

    task: TrainJob
    params: TrainingParams
    examples: Sequence[Example]
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype
    module: SupervisedLM
    backend: StepBackend
    ranks: Ranks
    tokens: int = 0


_DATA = DataCache()


def train_attack(task: TrainJob, *, benchmark: Benchmark | None = None) -> TrainOutcome:
    """Train and write the model of each state to `output_dir`, with a list of the states. Every rank must call this.

    `benchmark` is used in place of the job's, for data outside the catalog.

    Raises:
        ValueError: the attack does not train, or its parameters are wrong.
        AttackError: there is nothing to train on, or a loss or the weights are not finite.
    """
    with own_process(task):
        data = benchmark if benchmark is not None else _DATA.benchmark(task.benchmark)
        return _train(_prepare(task, data))


def _train(attacker: _Attacker) -> TrainOutcome:
    began, memory = time.perf_counter(), MemoryPeak(attacker.model.device)
    states: list[StateFile] = []
    try:
        with ExitStack() as stack:
            first = attacker.ranks.first
            folder = stack.enter_context(durable.new_folder(Path(attacker.task.output_dir))) if first else None
            for step, loss, first_loss in _steps(attacker):
                memory.look()
                states.append(StateFile(step=step, folder=Path(str(step)), loss=loss, first_loss=first_loss))
                _write_state(attacker, None if folder is None else folder / str(step))
            if folder is not None:
                write_states(folder, states)
    finally:
        attacker.backend.close()
    return _outcome(attacker, states, time.perf_counter() - began, memory.mib)


def _prepare(task: TrainJob, benchmark: Benchmark) -> _Attacker:
    asked = task.attack
    attack = None if asked is None else build(asked.name, asked.params)
    if asked is None or not isinstance(attack, TrainingAttack):
        raise ValueError(f"attack {asked and asked.name!r} has no examples to train on")
    tokenizer = load_tokenizer(task.tokenizer or task.start_model, model=task.start_model)
    fitted = _DATA.fitted(benchmark, tokenizer, model_context(task.start_model))
    examples = attack.examples(fitted, tokenizer, task.seed)
    refuse_no_examples(examples)
    model = Models(task).load(task.start_model)
    dtype, ranks = model.dtype, Ranks.current()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(task.seed)  # peft draws the adapters from it
        module = trainable(task, model, Needs(views=()), ())
    _without_dropout(module, recomputes=task.training.activation_checkpointing)
    return _Attacker(
        task=task,
        params=attack.params,
        examples=examples,
        model=model,
        tokenizer=tokenizer,
        dtype=dtype,
        module=module,
        backend=create_backend(task, module, ranks),
        ranks=ranks,
    )


def _without_dropout(module: SupervisedLM, *, recomputes: bool) -> None:
    """Set evaluation mode, or training mode without dropout: transformers recomputes activations in that alone.

    Raises:
        AttackError: activations are recomputed, and the configuration has dropout of its own.
    """
    if not recomputes:
        module.eval()
        return
    config = module.model.config.get_text_config().to_dict()
    dropped = sorted(name for name, value in config.items() if "drop" in name and isinstance(value, float) and value)
    if dropped:
        raise AttackError(f"attackers train without dropout, and {dropped[0]} is on: no activation_checkpointing here")
    module.train()


def _steps(attacker: _Attacker) -> Iterator[tuple[int, float | None, float | None]]:
    """Train, and yield step, the last step's loss and the first one's at each step count of the curve."""
    params = attacker.params
    batches = draw_batches(len(attacker.examples), params.batch_size, attacker.task.seed)
    done, first, loss = 0, None, None
    for wanted in params.curve:
        for step in range(done, wanted):
            rate = params.learning_rate * warmup_factor(step, params.curve[-1], enabled=params.warmup)
            loss = _step(attacker, [attacker.examples[index] for index in next(batches)], rate)
            first = loss if first is None else first
        done = wanted
        yield wanted, loss, first


def _step(attacker: _Attacker, batch: Sequence[Example], learning_rate: float) -> float:
    """Take one optimizer step over all ranks. Return the batch's mean loss before it, in nats a token."""
    ranks, size = attacker.ranks, attacker.task.training.micro_batch_size
    share = rank_share(
        [Item(key=(VIEW, row, 0), example=example) for row, example in enumerate(batch)], ranks.rank, ranks.world_size
    )
    tokens = sum(len(example.answer_ids) for example in batch)
    count, backend = micro_batch_count(len(batch), ranks.world_size, size), attacker.backend
    total = torch.zeros((), device=attacker.model.device)
    for number in range(count):
        packed = pack({VIEW: micro_batch(share, number, size)}, attacker.model.device)
        with backend.micro_batch(last=number == count - 1):
            supervised = packed.supervised(VIEW, backend.forward(packed))
            loss = token_nll(supervised.logits, supervised.targets).sum() / tokens
            backend.backward(loss * ranks.world_size)
        total += loss.detach()
        attacker.tokens += packed.tokens
    value = float(ranks.sum(total))
    refuse_divergence(value, 0.0, learning_rate)
    backend.step(learning_rate)
    return value


def _write_state(attacker: _Attacker, folder: Path | None) -> None:
    """Write the model as it is now. Raise AttackError on every rank if a weight is not finite."""
    finite = write_weights(attacker.model, attacker.tokenizer, attacker.dtype, folder)
    everywhere = attacker.ranks.sum(torch.tensor(float(finite), device=attacker.model.device))
    if not everywhere.item():
        refuse_divergence(math.nan, math.nan, attacker.params.learning_rate)


def _outcome(attacker: _Attacker, states: Sequence[StateFile], seconds: float, peak_mib: float) -> TrainOutcome:
    settings, ranks, steps = attacker.task.training, attacker.ranks, attacker.params.curve[-1]
    rows = min(attacker.params.batch_size, len(attacker.examples))
    tokens = torch.tensor(attacker.tokens, dtype=torch.float64, device=attacker.model.device)
    return TrainOutcome(
        steps=steps,
        planned_steps=steps,
        epochs=steps * rows / len(attacker.examples),
        seconds=seconds,
        reference_seconds=0.0,
        tokens=int(ranks.sum(tokens)),
        terms={"train_cross_entropy": states[-1].loss},
        curve=[{"step": state.step, "train_cross_entropy": state.loss} for state in states],
        stopped_early=None,
        stop_reason=None,
        weights_finite=True,
        parameters=parameter_count(attacker.model),
        peak_memory_mib=peak_mib,
        world_size=ranks.world_size,
        backend=f"deepspeed ZeRO-{settings.zero}" if settings.backend == "deepspeed" else "torch",
        dtype=str(attacker.dtype).removeprefix("torch."),
        global_batch_rows=rows,
        mean_answer_tokens=sum(len(example.answer_ids) for example in attacker.examples) / len(attacker.examples),
        conventions={"normalise": "global", "epoch": "one pass over the attack's rows"},
    )
