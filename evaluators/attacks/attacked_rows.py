"""The questions that a text is searched on, and the answers that it has to make likely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.forget_halves import ForgetHalves, attacked_rows, different_facts, listed_facts
from unlearn_sweep.evaluators.attacks.prompts import template_of
from unlearn_sweep.evaluators.attacks.text_search_params import TextSearchParams
from unlearn_sweep.evaluators.generation import generate
from unlearn_sweep.evaluators.inference import end_ids, padding_id
from unlearn_sweep.evaluators.rows import Row, encode_many


def searched_rows(target: Target, halves: ForgetHalves, params: TextSearchParams) -> list[Row]:
    """Return the rows that a text is searched on, one a fact, with the answers to be made likely.

    They are drawn by seed, or those at the places that `params.prompts` lists, in its order.

    Raises:
        AttackError: there are too few, or the original's answers are wanted and cannot be had.
    """
    rows = attacked_rows(target.benchmark, halves)
    chosen = (
        different_facts(rows, params.prompts, seed=target.seed)
        if isinstance(params.prompts, int)
        else listed_facts(rows, params.prompts)
    )
    return chosen if params.target == "answer" else answered_by_original(target, chosen, params.target_tokens)


def answered_by_original(target: Target, rows: Sequence[Row], tokens: int) -> list[Row]:
    """Return the rows with the original model's greedy answers, of at most `tokens` tokens, as theirs.

    Raises:
        AttackError: there is no original model, or it answers none of the rows.
    """
    if target.original is None:
        raise AttackError("target: original needs the original model, which was not given; use target: answer")
    templates = [template_of(row, target.benchmark) for row in rows]
    asked = [(row.row_id, row.question, "") for row in rows]
    model = target.original()
    ends = end_ids(model, target.tokenizer, dict.fromkeys(templates))
    done = generate(
        model,
        [example.prompt_ids for example in encode_many(target.tokenizer, asked, templates)],
        max_new_tokens=tokens,
        end_ids=ends,
        pad_id=padding_id(target.tokenizer),
    )
    said = [
        str(target.tokenizer.decode([token for token in found if token not in ends], skip_special_tokens=True)).strip()
        for found in done.tokens
    ]
    answered = [replace(row, answer=text) for row, text in zip(rows, said, strict=True) if text]
    if not answered:
        raise AttackError(f"the original model answers none of {len(rows)} questions; use target: answer")
    return answered
