"""Steps of GCG against nanoGCG's way to take them: `python bench/speed_gcg.py --tofu DIR`.

Both draw the same candidates and drop those that the tokenizer reads differently. The plain objective is nanoGCG's:
the gradient goes to a one-hot matrix [tokens, V], and candidates are scored as whole sequences with logits at all
places. nanoGCG's cache of what stands before the text is on, as it is by default. The losses of all steps must agree.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from operations import flops
from side_by_side import Result, World, options, pairs, show, world
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.evaluators.attacks.adversarial_text import Slot
from unlearn_sweep.evaluators.attacks.attack import Target
from unlearn_sweep.evaluators.attacks.forget_halves import different_facts, forget_halves, seen_rows
from unlearn_sweep.evaluators.attacks.gcg import AnswerObjective, answer_search
from unlearn_sweep.evaluators.attacks.gcg_params import GcgParams
from unlearn_sweep.evaluators.joint_tokens import Ids
from unlearn_sweep.evaluators.rows import Row

STEPS, LONGEST, DRAFT_BLOCKS, WIDTH = 2, 10, 1, 64
ROUNDING = 1e-5
"""Nats by which a loss counts as equal."""


def main() -> None:
    given = options(__doc__).parse_args()
    lines: dict[str, Callable[[World, argparse.Namespace, str], Result]]
    lines = {f"GCG step, width {width}": partial(line, width=width) for width in (64, 256)}
    equal = f"GCG to an equal loss, width {WIDTH}, {STEPS} plain steps"
    lines[equal] = partial(equal_loss, draft_blocks=None)
    lines[f"{equal}, probe sampling"] = partial(equal_loss, draft_blocks=DRAFT_BLOCKS)
    with world(given) as made:
        show((run(made, given, name) for name, run in lines.items() if given.only in name), given)


def line(made: World, given: argparse.Namespace, name: str, *, width: int) -> Result:
    model, tokenizer = load_model(made.model).eval(), load_tokenizer(made.model)
    target = Target(model=model, tokenizer=tokenizer, benchmark=made.benchmark, seed=0)
    params = GcgParams(steps=[1], prompts=1, search_width=width)
    rows = different_facts(seen_rows(made.benchmark, forget_halves(made.benchmark)), 1, seed=0)
    search, other = answer_search(target, params, rows), answer_search(target, params, rows)
    other.objective = Plain(model, other.texts.slots, batch_tokens=params.batch_tokens)
    traces: dict[str, list[float]] = {"ours": [], "plain": []}

    def ours() -> None:
        search.step()
        traces["ours"].append(search.current.loss)

    def plain() -> None:
        other.step()
        traces["plain"].append(other.current.loss)

    timed = pairs(given, ours, plain)
    apart = max(abs(one - two) for one, two in zip(traces["ours"], traces["plain"], strict=True))
    return timed.result(name=name, difference=apart, equal="nats", aim=3)


def equal_loss(made: World, given: argparse.Namespace, name: str, *, draft_blocks: int | None) -> Result:
    """Ours until it has the loss that the plain way reaches in `STEPS` steps; each pair has its own question.

    A search that is not there after `LONGEST` times as many steps ends; `difference` says how much it lacks. FLOPs are
    those of a first pair, which is not timed.
    """
    model, tokenizer = load_model(made.model).eval(), load_tokenizer(made.model)
    target = Target(model=model, tokenizer=tokenizer, benchmark=made.benchmark, seed=0)
    known = seen_rows(made.benchmark, forget_halves(made.benchmark))
    first, *asked = (Race(target, row, draft_blocks) for row in different_facts(known, given.pairs + 1, seed=0))
    plain_work = flops(first.plain)  # before ours, which runs until it has that loss
    slow, fast = [seconds(race.plain) for race in asked], [seconds(race.ours) for race in asked]
    return Result(
        name=name,
        ours=fast,
        plain=slow,
        difference=max(race.lacking for race in asked),
        equal="nats above the plain loss, at most",
        aim=6,
        notes=f"our steps: {[race.steps for race in asked]}",
        flops=(flops(first.ours), plain_work),
    )


class Race:
    """Both searches on one question."""

    def __init__(self, target: Target, row: Row, draft_blocks: int | None) -> None:
        params = GcgParams(steps=[1], prompts=1, search_width=WIDTH)
        self.other = answer_search(target, params, [row])
        self.other.objective = Plain(target.model, self.other.texts.slots, batch_tokens=params.batch_tokens)
        self.search = answer_search(target, params.model_copy(update={"draft_blocks": draft_blocks}), [row])
        self.steps = 0

    @property
    def lacking(self) -> float:
        return self.search.best.loss - self.other.best.loss

    def plain(self) -> None:
        for _ in range(STEPS):
            self.other.step()

    def ours(self) -> None:
        while self.lacking > ROUNDING and self.steps < LONGEST * STEPS:
            self.search.step()
            self.steps += 1


def seconds(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


class Plain(AnswerObjective):
    """One question; the cache of the ids before the text, and logits at all places behind it."""

    def __init__(self, model: PreTrainedModel, slots: Sequence[Slot], *, batch_tokens: int) -> None:
        super().__init__(model, slots, batch_tokens=batch_tokens)
        (self.slot,) = slots
        self.prefix = DynamicCache(config=model.config)
        with torch.no_grad():
            model(input_ids=torch.tensor([self.slot.before]), past_key_values=self.prefix, use_cache=True)
        self.target = torch.tensor([self.slot.answer])

    def losses(self, texts: Sequence[Ids]) -> list[float]:
        with torch.no_grad():
            ids = torch.tensor([[*text, *self.slot.behind, *self.slot.answer] for text in texts])
            logits = self._logits(self.model.get_input_embeddings()(ids))
            first = ids.shape[1] - self.target.shape[1]
            wide = logits[:, first - 1 : -1].contiguous()
            labels = self.target.repeat(len(texts), 1)
            losses = functional.cross_entropy(wide.view(-1, wide.shape[-1]), labels.view(-1), reduction="none")
            return losses.view(len(texts), -1).mean(-1).double().tolist()

    def scores(self, text: Ids) -> Tensor:
        embedding = self.model.get_input_embeddings()
        weight = next(embedding.parameters())
        chosen = functional.one_hot(torch.tensor([text]), len(weight)).float().requires_grad_()
        behind = embedding(torch.tensor([[*self.slot.behind, *self.slot.answer]]))
        inputs = torch.cat([chosen @ weight, behind], dim=1)
        first = inputs.shape[1] - self.target.shape[1]
        wide = self._logits(inputs)[:, first - 1 : -1]
        loss = functional.cross_entropy(wide.reshape(-1, wide.shape[-1]), self.target.view(-1))
        (gradient,) = torch.autograd.grad(loss, [chosen])
        return -gradient[0]

    def _logits(self, inputs: Tensor) -> Tensor:
        cache = copy.deepcopy(self.prefix)
        cache.batch_repeat_interleave(len(inputs))
        return self.model(inputs_embeds=inputs, past_key_values=cache, use_cache=True).logits


if __name__ == "__main__":
    main()
