"""The toy world as fixtures, trained once a session; attacks must leave it as it is, and a test proves that."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tests.evaluators.attacks.toy_world import ascend, fit, make_benchmark, make_model, make_tokenizer
from unlearn_sweep.evaluators.attacks.attack import Target
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.rows import Template


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def benchmark() -> Benchmark:
    return make_benchmark()


@pytest.fixture(scope="session")
def tokenizer(benchmark: Benchmark) -> PreTrainedTokenizerFast:
    return make_tokenizer(benchmark)


@pytest.fixture(scope="session")
def original(benchmark: Benchmark, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Knows forget and retain facts. Never changed by a test: attacks must leave it alone."""
    model = make_model(len(tokenizer))
    fit(model, benchmark, tokenizer, ("forget", "retain"))
    return model


@pytest.fixture(scope="session")
def unlearned(original: LlamaForCausalLM, benchmark: Benchmark, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The original after gradient ascent on the forget answers."""
    model = copy.deepcopy(original)
    ascend(model, benchmark, tokenizer)
    return model


@pytest.fixture(scope="session")
def target(
    unlearned: LlamaForCausalLM,
    original: LlamaForCausalLM,
    benchmark: Benchmark,
    tokenizer: PreTrainedTokenizerFast,
) -> Target:
    return Target(
        model=unlearned,
        tokenizer=tokenizer,
        benchmark=benchmark,
        seed=5,
        original=lambda: original,
    )


@pytest.fixture(scope="session")
def chat_target(target: Target) -> Target:
    """The same world asked through a chat template."""
    tokenizer = copy.deepcopy(target.tokenizer)
    tokenizer.chat_template = (
        "<s>{% for m in messages %}{% if m.role == 'user' %}[user] {{ m.content }} {% else %}"
        "[model] {{ m.content }}</s>"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}[model] {% endif %}"
    )
    benchmark = replace(target.benchmark, template=Template(chat=True))
    return replace(target, tokenizer=tokenizer, benchmark=benchmark)


@pytest.fixture
def tied_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model whose head and input embedding are one matrix; a fresh one for each test."""
    return make_model(len(tokenizer), tied=True, seed=3)
