"""Which rows a step sees. Oracles: counting, and putting the pieces together again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from unlearn_sweep.engine.training.batches import BatchPlan, micro_batch, micro_batch_count, rank_share

plans = st.builds(
    lambda forget, retain, batch, seed: BatchPlan(
        anchor="forget", sizes={"forget": forget, "retain": retain}, batch_size=batch, seed=seed
    ),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 8),
    st.integers(0, 9),
)


@given(plans, st.integers(0, 3))
def test_an_epoch_sees_each_anchor_row_once(plan: BatchPlan, epoch: int) -> None:
    first = epoch * plan.steps_per_epoch
    picks = [pick for step in range(first, first + plan.steps_per_epoch) for pick in plan.picks("forget", step)]
    assert sorted(pick.row for pick in picks) == list(range(plan.sizes["forget"]))
    assert {pick.epoch for pick in picks} == {epoch}


@given(plans)
def test_the_other_view_keeps_pace_and_uses_its_rows_evenly(plan: BatchPlan) -> None:
    steps = range(3 * plan.steps_per_epoch)
    assert all(len(plan.picks("retain", step)) == len(plan.picks("forget", step)) for step in steps)
    seen = Counter(pick.row for step in steps for pick in plan.picks("retain", step))
    counts = [seen[row] for row in range(plan.sizes["retain"])]
    assert max(counts) - min(counts) <= 1


@given(plans, st.integers(0, 20), st.integers(1, 4), st.one_of(st.none(), st.integers(1, 5)))
def test_ranks_and_micro_batches_are_the_global_batch(plan: BatchPlan, step: int, ranks: int, size: int | None) -> None:
    batch = plan.picks("forget", step)
    count = micro_batch_count(len(batch), ranks, size)
    shares = [rank_share(batch, rank, ranks) for rank in range(ranks)]
    pieces = [micro_batch(share, number, size) for share in shares for number in range(count)]
    assert Counter(pick for piece in pieces for pick in piece) == Counter(batch)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert size is None or all(len(piece) <= size for piece in pieces)


def test_seed_and_epoch_change_the_order() -> None:
    def order(seed: int, step: int) -> tuple[int, ...]:
        plan = BatchPlan(anchor="forget", sizes={"forget": 50}, batch_size=50, seed=seed)
        return tuple(pick.row for pick in plan.picks("forget", step))

    assert order(0, 0) == order(0, 0)
    assert len({order(0, 0), order(0, 1), order(1, 0), tuple(range(50))}) == 4


@given(plans, st.integers(1, 30))
def test_a_view_with_a_number_of_its_own_goes_on_where_it_stopped(plan: BatchPlan, own: int) -> None:
    plan = replace(plan, sizes={**plan.sizes, "task": 7}, rows_a_step={"task": own})
    picks = [pick for step in range(5) for pick in plan.picks("task", step)]
    assert len(picks) == 5 * own
    counts = Counter(pick.row for pick in picks)
    assert max(counts.values()) - min(counts.get(row, 0) for row in range(7)) <= 1
    assert [pick.epoch for pick in picks] == [place // 7 for place in range(5 * own)]
