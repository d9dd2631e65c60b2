"""Greedy answers of 48 tokens against transformers' generate: `python bench/speed_generation.py --tofu DIR`.

The plain way is open-unlearning's: batches of 32 in the order of the file, padded on the left, `model.generate`. A
random model seldom writes an end, so in a second line answers end at the token that about a tenth of all steps write.

Two more lines have a model that was trained on the answers, as originals and gold models are, and one that was stopped
half way; how many answers each knows is printed. Answers end where the rows' do, what a likelihood pass over the
answers shows of them is not written again, and the rest is guessed from the answers and verified. That pass is counted
as ours, though the metrics need it in both ways. The answers must be equal; a row may differ where two tokens are
equally likely but for rounding, and is counted.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Sequence

import torch
from side_by_side import Result, World, options, pairs, show, world
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.engine.training.forward import SupervisedLM, pack
from unlearn_sweep.engine.training.training_views import Item
from unlearn_sweep.evaluators.generation import generate, known_opening
from unlearn_sweep.evaluators.inference import pad_left
from unlearn_sweep.evaluators.likelihood import score
from unlearn_sweep.evaluators.row_encoder import RowEncoder
from unlearn_sweep.evaluators.rows import Example
from unlearn_sweep.methods.token_losses import token_nll

BATCH, NEW_TOKENS = 32, 48


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=60, help="steps on the answers, and half of them; 0: none")
    given = parser.parse_args()
    with world(given) as made:
        random_lines = (line(made, given, end) for end in (False, True))
        trained = (trained_line(made, given, steps, name) for name, steps in trainings(given))
        show(itertools.chain(random_lines, trained), given)


def line(made: World, given: argparse.Namespace, ends: bool) -> Result:
    model, tokenizer = load_model(made.model).eval(), load_tokenizer(made.model)
    prompts = [example.prompt_ids for example in examples(made, given, tokenizer)]
    written = generate(model, prompts, max_new_tokens=NEW_TOKENS, end_ids=frozenset(), pad_id=0).tokens
    end = frequent(written) if ends else -1
    found: dict[str, list[tuple[int, ...]]] = {}

    def ours() -> None:
        ids = frozenset({end} if ends else ())
        found["ours"] = list(generate(model, prompts, max_new_tokens=NEW_TOKENS, end_ids=ids, pad_id=0).tokens)

    def plain() -> None:
        found["plain"] = plain_answers(model, prompts, end)

    timed = pairs(given, ours, plain)
    different = sum(one != other for one, other in zip(found["ours"], found["plain"], strict=True))
    kind = "some end early" if ends else "none ends early"
    name = f"greedy answers, {NEW_TOKENS} tokens, {len(prompts)} rows, {kind}"
    return timed.result(name=name, difference=different, equal="answers differ", aim=3)


def trainings(given: argparse.Namespace) -> list[tuple[str, int]]:
    """Name and steps of each trained line."""
    return [(f"was trained for {steps} steps", steps) for steps in (given.steps, given.steps // 2) if steps]


def trained_line(made: World, given: argparse.Namespace, steps: int, kind: str) -> Result:
    model, tokenizer = load_model(made.model), load_tokenizer(made.model)
    asked = examples(made, given, tokenizer)
    learn(model, asked, steps)
    end = int(asked[0].answer_ids[-1])
    prompts, ends = [example.prompt_ids for example in asked], frozenset({end})
    found: dict[str, list[tuple[int, ...]]] = {}
    passes = 0

    def ours() -> None:
        nonlocal passes
        scores = score(model, asked, pad_id=0, batch_tokens=4096, moments=())
        pairs_of = list(zip(scores.scores, asked, strict=True))
        done = generate(
            model,
            prompts,
            max_new_tokens=NEW_TOKENS,
            end_ids=ends,
            pad_id=0,
            openings=[
                known_opening(own, example.answer_ids, end_ids=ends, max_new_tokens=NEW_TOKENS)
                for own, example in pairs_of
            ],
            texts=[[example.answer_ids] for example in asked],
        )
        found["ours"], passes = list(done.tokens), scores.forward_passes + done.forward_passes

    def plain() -> None:
        found["plain"] = plain_answers(model, prompts, end)

    timed = pairs(given, ours, plain)
    different = sum(one != other for one, other in zip(found["ours"], found["plain"], strict=True))
    right = sum(
        one == tuple(example.answer_ids[:NEW_TOKENS]) for one, example in zip(found["plain"], asked, strict=True)
    )
    name = f"greedy answers, {NEW_TOKENS} tokens, {len(prompts)} rows, a model that {kind}"
    notes = f"{right} answers are the rows'; {passes} passes"
    return timed.result(name=name, difference=different, equal="answers differ", aim=3, notes=notes)


def examples(made: World, given: argparse.Namespace, tokenizer: PreTrainedTokenizerBase) -> list[Example]:
    rows = made.benchmark.evaluation["forget"][: given.rows]
    asked, _ = RowEncoder(tokenizer=tokenizer, template=made.benchmark.template).ask(rows, alternatives=False)
    return [item.answer for item in asked]


def learn(model: PreTrainedModel, asked: Sequence[Example], steps: int) -> None:
    """Train on the answers, all of them in each step."""
    items = [Item(("forget", number, 0), example) for number, example in enumerate(asked)]
    packed, module = pack({"forget": items}, model.device), SupervisedLM(model.train())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    for _ in range(steps):
        token_nll(module.outputs(packed).logits, packed.targets).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def frequent(written: Sequence[Sequence[int]]) -> int:
    """Return the token whose share of all steps is nearest to a tenth."""
    counts = Counter(token for answer in written for token in answer)
    whole = sum(counts.values())
    return min(counts, key=lambda token: abs(counts[token] / whole - 0.1))


@torch.inference_mode()
def plain_answers(model: PreTrainedModel, prompts: Sequence[Sequence[int]], end: int) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for first in range(0, len(prompts), BATCH):
        ids, mask = pad_left(prompts[first : first + BATCH], 0)
        options = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "pad_token_id": 0, "eos_token_id": end}
        out = model.generate(input_ids=ids, attention_mask=mask, **options)  # pyright: ignore
        for row in out[:, ids.shape[1] :].tolist():
            found.append(tuple(row[: row.index(end) + 1] if end in row else row))
    return found


if __name__ == "__main__":
    main()
