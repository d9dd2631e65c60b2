"""Devices divided among measuring workers. Oracle: bytes and devices counted by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_sweep.engine.models.model_shape import Shape
from unlearn_sweep.engine.resources.measuring import (
    MODELS,
    MeasuringMemory,
    device_groups,
    measuring_memory,
    processes_on,
)

GIB = 2**30
SMALL = MeasuringMemory(weights=30.0, cache=10.0, logits=6.0, reserve=2.0)
"""48 GiB on one device, 28 on each of two, 18 on each of four."""


def test_memory_is_two_models_a_cache_and_logits() -> None:
    shape = Shape(parameters=GIB, depth_times_width=32_768.0, vocabulary=131_072)
    memory = measuring_memory(shape, 2.0)
    assert MODELS == 2
    assert memory.weights == 4.0
    assert memory.cache == 16_384 * 32_768 * 2 * 2 / GIB == 2.0
    assert memory.logits == 4096 * 131_072 * 12 / GIB == 6.0
    assert memory.each(1) == 4.0 + 2.0 + 6.0 + memory.reserve
    assert memory.each(2) == 3.0 + 6.0 + memory.reserve
    assert memory.least(2) == 1.0 + memory.reserve


@pytest.mark.parametrize(
    ("devices", "workers", "device_gib", "processes"),
    [
        (0, "auto", None, 1),
        (0, 3, None, 3),
        (1, "auto", 80.0, 1),
        (4, "auto", 80.0, 4),  # one for each
        (4, "auto", 48.0, 4),
        (4, "auto", 47.0, 2),  # a model needs two
        (4, "auto", 20.0, 1),
        (5, "auto", 47.0, 2),
        (4, "auto", 9.0, 1),  # it does not fit at all, and is spread as far as it goes
        (4, "auto", None, 1),  # the memory is unknown
        (4, 2, 80.0, 2),
        (4, 1, 80.0, 1),
        (2, 4, 80.0, 2),
    ],
)
def test_processes_follow_the_file_or_what_fits(
    devices: int, workers: int | str, device_gib: float | None, processes: int
) -> None:
    asked = workers if isinstance(workers, int) else None
    assert processes_on(devices, asked, SMALL, device_gib) == processes


def test_a_model_of_unknown_size_is_spread_over_all_devices() -> None:
    assert processes_on(4, None, None, 80.0) == 1
    assert device_groups(["cuda:0", "cuda:1"], 1) == (("cuda:0", "cuda:1"),)


@given(devices=st.integers(0, 16), processes=st.integers(1, 16))
def test_each_process_has_as_many_devices_and_none_is_given_twice(devices: int, processes: int) -> None:
    names = [f"cuda:{number}" for number in range(devices)]
    groups = device_groups(names, min(processes, devices) if devices else processes)
    flat = [name for group in groups for name in group]
    assert flat == names[: len(flat)]
    assert len({len(group) for group in groups}) == 1
    assert not devices or len(names) - len(flat) < len(groups)
