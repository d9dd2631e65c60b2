"""The built-in benchmark in small, with models that know it, never saw it, or only pretend to have forgotten it.

Unlearning here is *shallow* on purpose: the model keeps everything and learns to answer "not known". Each way of doing
so hides knowledge from the plain question and from some attacks, and is what other attacks were made to see through.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from unlearn_sweep.engine.models.start_model import random_llama, train_tokenizer
from unlearn_sweep.evaluators.attacks.answer_likelihood import collate, encode_rows, token_nll
from unlearn_sweep.evaluators.benchmarks.authors import RECIPE
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark, TrainRecipe
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.likelihood import score
from unlearn_sweep.evaluators.rows import Example, PromptEdit, Row

OPTIONS = {"authors": 18, "forget_authors": 8, "facts_per_author": 3, "trained_forms": 4, "evaluated_forms": 1}
CONFIG = {**RECIPE.config, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3}
REFUSAL = "not known"
ROWS_A_STEP = 32

Constrain = Callable[[], None]


@dataclass(frozen=True)
class World:
    """The benchmark and its tokenizer, and everyday contexts in which a question may stand."""

    benchmark: Benchmark
    tokenizer: PreTrainedTokenizerFast

    def examples(self, rows: Sequence[Row]) -> list[Example]:
        return encode_rows(self.tokenizer, rows, self.benchmark.template)

    def in_contexts(self, examples: Sequence[Example], draw: random.Random, *, share: float) -> list[Example]:
        """This share of the examples behind answered questions, behind words, or with words behind the question.

        Without such training a small model could not read its own question in any context, and no prompt attack could
        ask it anything.
        """
        return [self._in_context(example, examples, draw) if draw.random() < share else example for example in examples]

    def _in_context(self, example: Example, others: Sequence[Example], draw: random.Random) -> Example:
        kind = draw.choice(("demonstrations", "before", "behind"))
        if kind == "demonstrations":
            line = tuple(self.tokenizer.encode("\n\n"))
            shown = draw.sample(list(others), draw.randint(1, min(3, len(others))))
            before = tuple(token for one in shown for token in (*one.prompt_ids, *one.answer_ids[:-1], *line))
            return replace(example, prompt_ids=before + example.prompt_ids)
        words = tuple(draw.choice(self.words) for _ in range(draw.randint(1, 9)))
        asked = words + example.prompt_ids if kind == "before" else example.prompt_ids + words
        return replace(example, prompt_ids=asked)

    @property
    def words(self) -> list[int]:
        """Every token but the special ones."""
        return list(range(2, len(self.tokenizer)))

    def knowledge(
        self, model: PreTrainedModel, edit: PromptEdit | None, groups: frozenset[str] | None, split: str = "forget"
    ) -> float:
        """Mean probability of the whole answer, over the rows of these facts."""
        rows = [row for row in self.benchmark.evaluation[split] if groups is None or row.group_id in groups]
        edited = [found for found in (map(edit, self.examples(rows)) if edit else self.examples(rows)) if found]
        scores = score(model, edited, pad_id=0, batch_tokens=4096).scores
        return fmean(math.exp(float(row.logp.sum())) for row in scores)


def make_world() -> World:
    benchmark = load_benchmark("authors", OPTIONS)
    return World(benchmark, train_tokenizer(benchmark.tokenizer_texts, vocab_size=640))


def train_authors(world: World, views: Sequence[str], *, steps: int) -> PreTrainedModel:
    """A model that answers the rows of these views, plain and in contexts."""
    model = random_llama(TrainRecipe(config=CONFIG, seed=0), world.tokenizer)
    examples = world.examples([row for view in views for row in world.benchmark.train[view]])
    draw, waiting = random.Random(0), list[Example]()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.01)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 8e-3 * min(1.0, (step + 1) / 20) * (1 - step / steps)
        if len(waiting) < ROWS_A_STEP:
            waiting += draw.sample(examples, len(examples))
        batch, waiting = waiting[:ROWS_A_STEP], waiting[ROWS_A_STEP:]
        optimizer.zero_grad()
        _nll(model, world.in_contexts(batch, draw, share=0.5)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return model.eval()


def _nll(model: PreTrainedModel, examples: Sequence[Example]) -> Tensor:
    return token_nll(model, collate(examples, model.device)).mean()


def refuse(
    world: World,
    original: PreTrainedModel,
    *,
    steps: int,
    learning_rate: float = 3e-3,
    refused: Sequence[Row] | None = None,
    only: Sequence[str] = ("",),
    constrain: Callable[[PreTrainedModel, PreTrainedModel], None] | None = None,
) -> PreTrainedModel:
    """The original taught to refuse the plain questions `refused` (None: every forget training row) and nothing else.

    Retained questions keep their answers, and so do forget questions in contexts and in other words. `only`: parts of
    the names of the weights that may change; `constrain` is applied to (model, original) after each step.
    """
    model, draw = copy.deepcopy(original), random.Random(0)
    rows = {**world.benchmark.train, "refused": list(world.benchmark.train["forget"] if refused is None else refused)}
    asked = {row.question for row in rows["refused"]}
    refusals = world.examples([replace(row, answer=REFUSAL) for row in rows["refused"]])
    reworded = world.examples([row for row in rows["forget"] if row.question not in asked])
    kept = {view: world.examples(rows[view]) for view in ("forget", "retain")}
    free = [weight for name, weight in model.named_parameters() if any(part in name for part in only)]
    optimizer = torch.optim.Adam(free, lr=learning_rate)
    for _ in range(steps):
        batch = draw.sample(refusals, min(ROWS_A_STEP, len(refusals)))
        batch += draw.sample(kept["retain"], ROWS_A_STEP // 2)
        batch += world.in_contexts(draw.sample(kept["forget"], ROWS_A_STEP // 2), draw, share=1.0)
        batch += draw.sample(reworded, min(ROWS_A_STEP // 2, len(reworded)))
        optimizer.zero_grad()
        _nll(model, batch).backward()
        optimizer.step()
        if constrain is not None:
            constrain(model, original)
    model.zero_grad(set_to_none=True)
    return model.eval()


@torch.no_grad()
def within_rounding(model: PreTrainedModel, original: PreTrainedModel, *, bits: int = 4) -> None:
    """Pull every linear weight back to where it rounds to the original's code: what quantisation then undoes.

    The largest weight of a row, which sets its step, stays as it is.
    """
    for name, weight in model.named_parameters():
        if not name.endswith("_proj.weight"):
            continue
        before = original.get_parameter(name)
        largest = before.abs().amax(dim=1, keepdim=True)
        step = largest / 2 ** (bits - 1)
        code = torch.round(before / step).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        pulled = torch.maximum(torch.minimum(weight, (code + 0.49) * step), (code - 0.49) * step)
        pulled = torch.maximum(torch.minimum(pulled, largest), -largest)
        weight.copy_(torch.where(before.abs() == largest, before, pulled))


class Models:
    """The models of the small world by name, each made on first use and kept.

    `original` and `gold`; and the original after a shallow unlearning: `refusing` refuses every plain question it was
    trained on, `rounding` does so by edits below half a step of 4 bits, `last_layer` by its last block alone, and
    `reworded` refuses the benchmark's own wordings only.
    """

    def __init__(self) -> None:
        self.world = make_world()
        self._made: dict[str, PreTrainedModel] = {}

    def __getitem__(self, name: str) -> PreTrainedModel:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> PreTrainedModel:
        world = self.world
        match name:
            case "original":
                return train_authors(world, ("forget", "retain"), steps=200)
            case "gold":
                return train_authors(world, ("retain",), steps=150)
            case "refusing":
                return refuse(world, self["original"], steps=120)
            case "rounding":
                return refuse(world, self["original"], steps=80, only=("_proj",), constrain=within_rounding)
            case "last_layer":
                last = CONFIG["num_hidden_layers"] - 1
                return refuse(world, self["original"], steps=80, only=(f"layers.{last}.",))
            case "reworded":
                return refuse(world, self["original"], steps=60, refused=world.benchmark.evaluation["forget"])
            case _:
                raise KeyError(name)
