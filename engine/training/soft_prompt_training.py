"""Train the tokens of a soft prompt with the backends of the defender: ZeRO, bfloat16, several ranks.

The steps are those of `evaluators.attacks.soft_prompt`, which trains in one process: the same rows in the same order,
the mean over a batch's supervised tokens, signed gradients at a constant rate, no dropout. No weight moves, so the
weights are sharded under ZeRO stage 3 alone; the other stages share the soft tokens, which are small.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from unlearn_sweep.engine.models.loading import load_tokenizer, model_context
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training.assembly import Models, create_backend
from unlearn_sweep.engine.training.attack_states import SOFT_TOKENS
from unlearn_sweep.engine.training.attack_training import Attacker, Recipe, train_states, without_dropout
from unlearn_sweep.engine.training.cache import DataCache
from unlearn_sweep.engine.training.first_rows import smallest
from unlearn_sweep.engine.training.forward import SupervisedLM
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.engine.training.worker import own_process
from unlearn_sweep.engine.zero.shards import gathered
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.short_training import refuse_no_examples
from unlearn_sweep.evaluators.attacks.soft_prompt import SoftEmbedding, SoftPrompt, start_ids
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.model_parts import vocabulary_embedding

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_DATA = DataCache()


def train_soft_prompt(task: TrainJob, *, benchmark: Benchmark | None = None) -> TrainOutcome:
    """Train and write the soft tokens of each state to `output_dir`. Every rank must call this.

    `benchmark` is used in place of the job's, for data outside the catalog.

    Raises:
        ValueError: the attack is no soft prompt, or its parameters are wrong.
        AttackError: there is nothing to train on, or a loss or a soft token is not finite.
        RowsDoNotFitError: memory gave out, and fewer rows in one pass may fit.
    """
    asked = task.attack
    attack = None if asked is None else build(asked.name, asked.params)
    if not isinstance(attack, SoftPrompt):
        raise ValueError(f"attack {asked and asked.name!r} trains no soft tokens")
    with own_process(task):
        data = benchmark if benchmark is not None else _DATA.benchmark(task.benchmark)
        return train_states(_prepare(task, attack, data))


def _prepare(task: TrainJob, attack: SoftPrompt, benchmark: Benchmark) -> Attacker:
    tokenizer = load_tokenizer(task.tokenizer or task.start_model, model=task.start_model)
    fitted = _DATA.fitted(benchmark, tokenizer, model_context(task.start_model))
    model = Models(task).load(task.start_model)
    dtype, ranks, params = model.dtype, Ranks.current(), attack.params
    soft = put_soft_tokens(attack, model, task.seed)
    examples = attack.examples(fitted, tokenizer, soft)
    refuse_no_examples(examples)
    if task.training.activation_checkpointing:
        model.activation_checkpointing_enable()
    module = SupervisedLM(model, logits=task.training.logits)
    without_dropout(module, recomputes=task.training.activation_checkpointing)
    return Attacker(
        task=task,
        recipe=Recipe(curve=params.curve, batch_size=params.batch_size, learning_rate=params.step_size, warmup=False),
        examples=examples,
        model=model,
        dtype=dtype,
        backend=create_backend(task, module, ranks),
        ranks=ranks,
        rows=smallest(task.training.micro_batch_size, task.micro_rows),
        write=partial(write_soft_tokens, soft),
    )


def put_soft_tokens(attack: SoftPrompt, model: PreTrainedModel, seed: int) -> SoftEmbedding:
    """Freeze a model, sharded or not, and give its input embedding soft tokens. Every rank must call this."""
    model.requires_grad_(False)
    base = vocabulary_embedding(model)
    with gathered(base.parameters()):
        soft = SoftEmbedding(base, start_ids(attack.params, base, seed).to(model.device))
    model.set_input_embeddings(soft)
    return soft


@torch.no_grad()
def write_soft_tokens(soft: SoftEmbedding, folder: Path | None) -> bool:
    """Write the soft tokens as they are now into a new folder. Return whether all are finite; False without one.

    Every rank must call this. `folder` is None on ranks that only help to gather them.
    """
    with gathered([soft.soft]):
        embeddings = soft.soft.detach().float().cpu().clone()
    if folder is None:
        return False
    folder.mkdir()
    save_file({"embeddings": embeddings}, folder / SOFT_TOKENS)
    return bool(embeddings.isfinite().all())
