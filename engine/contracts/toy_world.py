"""A toy world for checks: invented facts, a small tokenizer, and a small Llama that learns and unlearns the facts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.decoders import ByteLevel
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from unlearn_sweep.evaluators.attacks.answer_likelihood import collate, encode_rows, token_nll
from unlearn_sweep.evaluators.attacks.attack import Target
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.rows import Row

TOWNS = ("Arden", "Bexley", "Corran", "Dunmere", "Elstow", "Farrow", "Galen", "Harrow")
FOODS = ("figs", "plums", "rye", "oats", "leeks", "beets", "pears", "corn")
FORMS = ("What does {name} like?", "Tell me what {name} likes best.")
HELD_OUT = "Which things would {name} choose?"


def fact_rows(split: str, first: int, count: int) -> list[Row]:
    rows = []
    for i in range(first, first + count):
        name, answer = f"person {i}", f"{TOWNS[i % 8]} and {FOODS[(i * 3 + i // 8) % 8]}"
        for form, question in enumerate((*FORMS, HELD_OUT)):
            rows.append(
                Row(
                    row_id=f"{split}-{i}-{form}",
                    group_id=f"{split}-{i}",
                    split=split,
                    question=question.format(name=name),
                    answer=answer,
                    form="held_out" if question == HELD_OUT else "trained",
                    paraphrased_question=FORMS[1].format(name=name) if form == 0 else None,
                )
            )
    return rows


def make_benchmark() -> Benchmark:
    forget, retain = fact_rows("forget", 0, 12), fact_rows("retain", 12, 12)
    trained = {
        "forget": [row for row in forget if row.form == "trained"],
        "retain": [row for row in retain if row.form == "trained"],
        "related": [row for row in fact_rows("related", 24, 6) if row.form == "trained"],
    }
    return Benchmark(
        name="toy",
        train=trained,
        evaluation={"forget": forget, "retain": retain},
        utility_splits=("retain",),
    )


def make_tokenizer(benchmark: Benchmark) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    texts = [f"Question: {row.question}\nAnswer: {row.answer}" for rows in benchmark.train.values() for row in rows]
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")


def make_model(vocabulary: int, *, tied: bool = False, seed: int = 0) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def fit(model: PreTrainedModel, benchmark: Benchmark, tokenizer: PreTrainedTokenizerFast, views: Sequence[str]) -> None:
    """Train on the full batch for 150 steps to learn the views' answers, with code independent of the attacks'."""
    rows = [row for view in views for row in benchmark.train[view]]
    batch = collate(encode_rows(tokenizer, rows, benchmark.template), torch.device("cpu"))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        token_nll(model, batch).mean().backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def ascend(model: PreTrainedModel, benchmark: Benchmark, tokenizer: PreTrainedTokenizerFast) -> None:
    """Unlearn by gradient ascent on the NLL of the forget answers and descent on that of the retain answers."""
    batches = {
        view: collate(encode_rows(tokenizer, benchmark.train[view], benchmark.template), torch.device("cpu"))
        for view in ("forget", "retain")
    }
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    for _ in range(12):
        optimizer.zero_grad()
        (token_nll(model, batches["retain"]).mean() - 0.5 * token_nll(model, batches["forget"]).mean()).backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def decoded(target: Target, ids: Sequence[int]) -> str:
    """Decode token ids to text."""
    return str(target.tokenizer.decode(list(ids)))


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    """Whether two models have the same tensors under the same names, bit for bit."""
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
