"""What a way to do some work asks of a machine: FLOPs of its matrix products and attention, and where its time goes.

The ratio of two FLOP counts is the ratio of time that a machine which only multiplies matrices would show. What the
time ratio is above it, is saved beside the products (softmax over the vocabulary, copies); what it is below, is
overhead, and the profile says where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

SHOWN = 12
"""Operations of each way in a profile."""
Shape = Sequence[int]


def flops(run: Callable[[], object]) -> int:
    """Count the FLOPs of `run`, twice a multiplication with its addition: matrix products and attention, no more.

    Attention is counted whole, without the half that a causal kernel may leave out.
    """
    with FlopCounterMode(display=False, custom_mapping=_UNKNOWN) as counter:
        run()
    return counter.get_total_flops()


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(outer: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(outer, query, key, value)


def _added_product(total: Shape, one: Shape, other: Shape, *_: Any, **__: Any) -> int:
    return 2 * one[0] * one[1] * other[1]


_UNKNOWN: dict[Any, Any] = {
    torch.ops.aten.addmm_: _added_product,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""What torch's counter does not know: attention on a CPU, and a product that is added in place."""


def profile_table(ours: Callable[[], object], plain: Callable[[], object]) -> str:
    """Run both ways once more and return a Markdown table: CPU milliseconds of each operation by itself, and calls."""
    found = {"ours": self_times(ours), "plain": self_times(plain)}
    shown: dict[str, None] = {}
    for times in found.values():
        shown |= dict.fromkeys(sorted(times, key=lambda op: -times[op][0])[:SHOWN])
    lines = ["| operation | ours, ms | calls | plain, ms | calls |", "| --- " * 5 + "|"]
    for op in shown:
        cells = [f"{times.get(op, (0.0, 0))[0]:.1f} | {times.get(op, (0.0, 0))[1]}" for times in found.values()]
        lines.append(f"| {op} | {' | '.join(cells)} |")
    sums = [f"{sum(spent for spent, _ in times.values()):.1f} | " for times in found.values()]
    return "\n".join([*lines, f"| all | {' | '.join(sums)} |", ""])


def self_times(run: Callable[[], object]) -> Mapping[str, tuple[float, int]]:
    """Return for each operation its own CPU time in milliseconds, that of operations inside it left out, and calls."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        run()
    return {event.key: (event.self_cpu_time_total / 1000, event.count) for event in recorded.key_averages()}
