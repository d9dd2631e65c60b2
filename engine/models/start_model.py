"""The models that trainings start from: a given base, or a small one with random weights and a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer, save_model
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark, TrainRecipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|pad|>"


def create_start_model(benchmark: Benchmark, recipe: TrainRecipe, directory: Path) -> None:
    """Write the initial model of a training (weights and tokenizer) to `directory`.

    With `recipe.base`, save that model and its tokenizer as safetensors. Otherwise create a Llama model from
    `recipe.config` with random weights (seed `recipe.seed`) and train a byte-level BPE tokenizer on the benchmark's
    texts. The same benchmark and recipe give the same files. The global random state does not change.

    Raises:
        ValueError: the recipe has neither a base nor a configuration, or Llama does not accept the configuration.
    """
    if recipe.base is not None:
        save_model(load_model(recipe.base, dtype="stored", device="cpu"), load_tokenizer(recipe.base), directory)
        return
    if not recipe.config:
        raise ValueError(f"benchmark {benchmark.name!r}: its recipe has neither a base model nor a configuration")
    tokenizer = train_tokenizer(benchmark.tokenizer_texts, vocab_size=recipe.vocab_size)
    save_model(random_llama(recipe, tokenizer), tokenizer, directory)


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer with at most `vocab_size` entries. It round-trips any text unchanged."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END_OF_TEXT, pad_token=PADDING, clean_up_tokenization_spaces=False
    )


def random_llama(recipe: TrainRecipe, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Create a float32 Llama model whose weights depend only on the recipe's configuration and seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    unknown = sorted(set(recipe.config) - set(LlamaConfig().to_dict()))
    if unknown:
        raise ValueError(f"recipe.config: no such Llama configuration value: {', '.join(unknown)}")
    config = LlamaConfig(
        **cast(dict[str, Any], dict(recipe.config)),
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=cast(int, tokenizer.eos_token_id),
        pad_token_id=cast(int, tokenizer.pad_token_id),
    )
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(recipe.seed)
        return LlamaForCausalLM(config)
