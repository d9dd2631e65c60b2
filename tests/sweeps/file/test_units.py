"""Oracle: conversions done by hand."""

from __future__ import annotations

import pytest

from unlearn_sweep.sweeps.file.units import plain_number


@pytest.mark.parametrize(
    ("text", "name", "whole", "advice"),
    [
        ("48h", "gpu_hours", False, "write 48"),
        ("2 days", "wall_hours", False, "write 48"),
        ("30 min", "wall_hours", False, "write 0.5"),
        ("30 min", "stage_timeout_s", False, "write 1800"),
        ("500ms", "stage_timeout_s", False, "write 0.5"),
        ("1.5 hours", "stage_timeout_s", False, "write 5400"),
        ("5%", "warmup_share", False, "write 0.05"),
        ("4 GB", "disk_gib", False, "write 4"),
        ("2TiB", "disk_gib", False, "write 2048"),
        ("32k", "global_batch_size", True, "write 32000"),
        ("12", "trials", True, "write 12 without quotes"),
        ("1e-5", "learning_rate", False, "write 1e-05 without quotes"),
    ],
)
def test_what_to_write_instead(text: str, name: str, whole: bool, advice: str) -> None:
    found = plain_number(text, name, whole=whole)
    assert found is not None
    assert found[1] == advice


def test_a_unit_that_does_not_convert() -> None:
    message, advice = plain_number("5 apples", "gpu_hours") or ("", "")
    assert "'apples'" in message
    assert advice == "write the number alone, in hours"


@pytest.mark.parametrize("text", ["five", "", "auto", "h48", "1 2"])
def test_words_are_no_numbers(text: str) -> None:
    assert plain_number(text, "gpu_hours") is None
