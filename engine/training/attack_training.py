"""Train an attack's states with the backends of the defender: ZeRO, adapters, bfloat16, several ranks.

The steps are those of `evaluators.attacks.short_training`, which trains in one process: the same rows in the same
order, the mean over a batch's supervised tokens, AdamW at a constant rate after a linear warm-up, gradients clipped at
1, no dropout.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from unlearn_sweep.engine.models.loading import load_tokenizer, model_context
from unlearn_sweep.engine.out_of_memory import says_out_of_memory
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training.assembly import Models, create_backend, trainable
from unlearn_sweep.engine.training.attack_states import StateFile, write_states
from unlearn_sweep.engine.training.backend import StepBackend
from unlearn_sweep.engine.training.batches import micro_batch, micro_batch_count, rank_share
from unlearn_sweep.engine.training.cache import DataCache
from unlearn_sweep.engine.training.export import write_weights
from unlearn_sweep.engine.training.first_rows import smallest
from unlearn_sweep.engine.training.forward import SupervisedLM, pack
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.memory import MemoryPeak
from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.engine.training.restart import RowsDoNotFitError
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The steps of an attacker: when states are taken, rows a step, and the rate after a warm-up or from the start."""

    curve: tuple[int, ...]
    batch_size: int
    learning_rate: float
    warmup: bool


@dataclass(slots=True, kw_only=True)
class Attacker:
    """An attacker's training, ready to run.

    Attributes:
        task: The request.
        recipe: Its steps.
        examples: What is trained on, in the order from which batches are drawn.
        model: The model under attack.
        dtype: Number format in which it was loaded.
        backend: Runs forward, backward and step.
        ranks: This process's rank.
        rows: Rows that a rank holds in one pass; None: its whole share.
        write: Writes the state as it is now into a new folder (None on ranks that only help). Returns whether all of it
            is finite; False without a folder. Every rank must call it.
        tokens: Tokens fed through the model by this rank.
    """

    task: TrainJob
    recipe: Recipe
    examples: Sequence[Example]
    model: PreTrainedModel
    dtype: torch.dtype
    backend: StepBackend
    ranks: Ranks
    rows: int | None
    write: Callable[[Path | None], bool]
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
        return train_states(_prepare(task, data))


def train_states(attacker: Attacker) -> TrainOutcome:
    """Train and write each state to `output_dir`, with a list of the states. Every rank must call this.

    Raises:
        AttackError: a loss or a state is not finite.
        RowsDoNotFitError: memory gave out, and fewer rows in one pass may fit.
    """
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


def _prepare(task: TrainJob, benchmark: Benchmark) -> Attacker:
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
    without_dropout(module, recomputes=task.training.activation_checkpointing)
    params = attack.params
    return Attacker(
        task=task,
        recipe=Recipe(
            curve=params.curve,
            batch_size=params.batch_size,
            learning_rate=params.learning_rate,
            warmup=params.warmup,
        ),
        examples=examples,
        model=model,
        dtype=dtype,
        write=partial(write_weights, model, tokenizer, dtype),
        backend=create_backend(task, module, ranks),
        ranks=ranks,
        rows=smallest(task.training.micro_batch_size, task.micro_rows),
    )


def without_dropout(module: SupervisedLM, *, recomputes: bool) -> None:
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


def _steps(attacker: Attacker) -> Iterator[tuple[int, float | None, float | None]]:
    """Train, and yield step, the last step's loss and the first one's at each step count of the curve."""
    recipe = attacker.recipe
    batches = draw_batches(len(attacker.examples), recipe.batch_size, attacker.task.seed)
    done, first, loss = 0, None, None
    for wanted in recipe.curve:
        for step in range(done, wanted):
            rate = recipe.learning_rate * warmup_factor(step, recipe.curve[-1], enabled=recipe.warmup)
            loss = _step(attacker, step, [attacker.examples[index] for index in next(batches)], rate)
            first = loss if first is None else first
        done = wanted
        yield wanted, loss, first


def _step(attacker: Attacker, number: int, batch: Sequence[Example], learning_rate: float) -> float:
    """Take optimizer step `number` (from 0) over all ranks. Return the batch's mean loss before it, in nats a token.

    Raises:
        RowsDoNotFitError: memory gave out, and fewer rows in one pass may fit.
    """
    try:
        value = _gradient(attacker, batch)
    except (MemoryError, RuntimeError, OSError) as error:
        share = -(-len(batch) // attacker.ranks.world_size)
        rows = min(share, attacker.rows or share)
        if rows > 1 and says_out_of_memory(error):
            raise RowsDoNotFitError.at(number + 1, rows) from error
        raise
    refuse_divergence(value, 0.0, learning_rate)
    attacker.backend.step(learning_rate)
    return value


def _gradient(attacker: Attacker, batch: Sequence[Example]) -> float:
    """Add up the gradient of a batch's mean loss over all ranks. Return the loss."""
    ranks, size = attacker.ranks, attacker.rows
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
    return float(ranks.sum(total))


def _write_state(attacker: Attacker, folder: Path | None) -> None:
    """Write the state as it is now. Raise AttackError on every rank if a number of it is not finite."""
    finite = attacker.write(folder)
    everywhere = attacker.ranks.sum(torch.tensor(float(finite), device=attacker.model.device))
    if not everywhere.item():
        refuse_divergence(math.nan, math.nan, attacker.recipe.learning_rate)


def _outcome(attacker: Attacker, states: Sequence[StateFile], seconds: float, peak_mib: float) -> TrainOutcome:
    settings, ranks, steps = attacker.task.training, attacker.ranks, attacker.recipe.curve[-1]
    rows = min(attacker.recipe.batch_size, len(attacker.examples))
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
        micro_batch_rows=attacker.rows,
        mean_answer_tokens=sum(len(example.answer_ids) for example in attacker.examples) / len(attacker.examples),
        conventions={"normalise": "global", "epoch": "one pass over the attack's rows"},
    )
