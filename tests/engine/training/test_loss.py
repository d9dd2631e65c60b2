"""Terms to a scalar. Oracle: small sums worked out by hand."""

from __future__ import annotations

import pytest
import torch

from unlearn_sweep.engine.training.loss import MethodError, loss_of, term_count
from unlearn_sweep.engine.training.training_views import Item
from unlearn_sweep.evaluators.rows import Example
from unlearn_sweep.methods.interface import Term


def item(answer_tokens: int) -> Item:
    return Item(("forget", 0, 0), Example(row_id="a", prompt_ids=(1,), answer_ids=(2,) * answer_tokens))


BATCH = {"forget": (item(4), item(2), item(1)), "retain": (item(3),)}


def term(name: str = "a", view: str = "forget", per: str = "token", value: float = 1.0, **more: float) -> Term:
    return Term(name=name, total=torch.tensor(value), view=view, per=per, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "count"),
    [
        (term(), 7),
        (term(per="sequence"), 3),
        (term(view="retain"), 3),
        (term(skip_tokens=1), 4),
        (term(skip_tokens=2), 2),
        (term(skip_tokens=9), 1),
    ],
)
def test_counts_over_the_global_batch(made: Term, count: int) -> None:
    assert term_count(made, BATCH) == count


def test_weighted_sum() -> None:
    # 2 * 7 / 7 * 2 ranks - 0.5 * 6 / 3 * 2 ranks = 4 - 2
    terms = [term("a", value=7.0, weight=2.0), term("b", per="sequence", value=6.0, weight=-0.5)]
    assert loss_of(terms, {made.name: term_count(made, BATCH) for made in terms}, world_size=2).item() == 2.0


def test_what_a_method_may_not_do() -> None:
    with pytest.raises(MethodError, match="counted over view 'train', which needs"):
        term_count(term(view="train"), BATCH)
    with pytest.raises(MethodError, match="no terms"):
        loss_of([], {}, 1)
    with pytest.raises(MethodError, match=r"different names; got \['a', 'a'\]"):
        loss_of([term(), term()], {"a": 7}, 1)
