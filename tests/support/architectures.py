"""Small random models of the classes that people have: made from their configurations, two blocks, width 16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark

OPTIONS = {"authors": 6, "forget_authors": 2, "facts_per_author": 2, "trained_forms": 1, "evaluated_forms": 1}
LLAMA = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
}
HEADS = {"head_dim": 8}
Sizes = dict[str, Any]
CLASSES: dict[str, tuple[str, Sizes]] = {
    "llama": ("Llama", LLAMA | {"tie_word_embeddings": False}),
    "llama_tied": ("Llama", LLAMA | {"tie_word_embeddings": True}),
    "mistral": ("Mistral", LLAMA | {"sliding_window": 64}),
    "qwen2": ("Qwen2", LLAMA),
    "qwen3": ("Qwen3", LLAMA | HEADS),
    "gemma2": ("Gemma2", LLAMA | HEADS | {"query_pre_attn_scalar": 8, "sliding_window": 64}),
    "gemma3": ("Gemma3Text", LLAMA | HEADS | {"query_pre_attn_scalar": 8, "sliding_window": 64}),
    "gemma3_multimodal": (
        "Gemma3",
        {
            "text_config": LLAMA | HEADS | {"query_pre_attn_scalar": 8, "sliding_window": 64},
            "vision_config": {
                "hidden_size": 16,
                "intermediate_size": 24,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "image_size": 28,
                "patch_size": 14,
            },
            "mm_tokens_per_image": 4,
        },
    ),
    "phi3": ("Phi3", LLAMA | {"pad_token_id": None, "partial_rotary_factor": 1.0}),
    "olmo2": ("Olmo2", LLAMA),
    "gpt2": ("GPT2", {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 512}),
    "gpt_neox": ("GPTNeoX", {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}),
    "opt": (
        "OPT",
        {
            "hidden_size": 16,
            "ffn_dim": 24,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "max_position_embeddings": 512,
            "word_embed_proj_dim": 16,
        },
    ),
    "bloom": ("Bloom", {"hidden_size": 16, "n_layer": 3, "n_head": 2}),
    "gptj": ("GPTJ", {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 512, "rotary_dim": 4}),
    "falcon": ("Falcon", {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}),
    "mixtral": ("Mixtral", LLAMA | {"num_local_experts": 3, "num_experts_per_tok": 2}),
    "qwen2_moe": (
        "Qwen2Moe",
        LLAMA
        | {
            "moe_intermediate_size": 12,
            "shared_expert_intermediate_size": 12,
            "num_experts": 3,
            "num_experts_per_tok": 2,
            "decoder_sparse_step": 1,
        },
    ),
    "gpt_oss": (
        "GptOss",
        LLAMA | HEADS | {"num_local_experts": 3, "num_experts_per_tok": 2, "sliding_window": 64},
    ),
    "qwen3_moe": (
        "Qwen3Moe",
        LLAMA | HEADS | {"moe_intermediate_size": 12, "num_experts": 3, "num_experts_per_tok": 2},
    ),
}
NO_DROPOUT = ("attn_pdrop", "embd_pdrop", "resid_pdrop", "attention_dropout", "hidden_dropout", "dropout")


def small_benchmark() -> Benchmark:
    return load_benchmark("authors", OPTIONS)


def small_model(name: str, tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> PreTrainedModel:
    """A random model of this class for `tokenizer`, without dropout."""
    prefix, sizes = CLASSES[name]
    make: Callable[..., Any] = getattr(transformers, f"{prefix}Config")
    ids = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None, "pad_token_id": tokenizer.pad_token_id}
    values = {**ids, **sizes, "vocab_size": len(tokenizer)}
    if "text_config" in sizes:
        values = {**sizes, "text_config": {**ids, **sizes["text_config"], "vocab_size": len(tokenizer)}}
    config = make(**values)
    for field in NO_DROPOUT:
        if hasattr(config, field):
            setattr(config, field, 0.0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return transformers.AutoModelForCausalLM.from_config(config).eval()
