"""Greedy answers of 48 tokens against transformers' generate: `python bench/speed_generation.py --tofu DIR`.

The plain way is open-unlearning's: batches of 32 in the order of the file, padded on the left, `model.generate`. A
random model seldom writes an end, so in a second line answers end at the token that about a tenth of all steps write.
The answers must be equal.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence

import torch
from side_by_side import Result, World, options, pairs, show, world
from transformers import PreTrainedModel

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.evaluators.generation import generate
from unlearn_sweep.evaluators.inference import pad_left
from unlearn_sweep.evaluators.row_encoder import RowEncoder

BATCH, NEW_TOKENS = 32, 48


def main() -> None:
    given = options(__doc__).parse_args()
    with world(given) as made:
        show((line(made, given, end) for end in (False, True)), given)


def line(made: World, given: argparse.Namespace, ends: bool) -> Result:
    model, tokenizer = load_model(made.model).eval(), load_tokenizer(made.model)
    rows = made.benchmark.evaluation["forget"][: given.rows]
    asked, _ = RowEncoder(tokenizer=tokenizer, template=made.benchmark.template).ask(rows, alternatives=False)
    prompts = [item.answer.prompt_ids for item in asked]
    written = generate(model, prompts, max_new_tokens=NEW_TOKENS, end_ids=frozenset(), pad_id=0).tokens
    end = frequent(written) if ends else -1
    found: dict[str, list[tuple[int, ...]]] = {}

    def ours() -> None:
        ids = frozenset({end} if ends else ())
        found["ours"] = list(generate(model, prompts, max_new_tokens=NEW_TOKENS, end_ids=ids, pad_id=0).tokens)

    def plain() -> None:
        found["plain"] = plain_answers(model, prompts, end)

    fast, slow = pairs(given.pairs, ours, plain)
    different = sum(one != other for one, other in zip(found["ours"], found["plain"], strict=True))
    kind = "some end early" if ends else "none ends early"
    name = f"greedy answers, {NEW_TOKENS} tokens, {len(prompts)} rows, {kind}"
    return Result(name=name, ours=fast, plain=slow, difference=different, equal="answers differ", aim=3)


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
