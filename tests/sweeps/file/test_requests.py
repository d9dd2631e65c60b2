"""Section `requests` of a sweep file. Oracle: the mistakes by their place, and the resolved job."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.resolve import resolve

FILE = """
name: asked
benchmark: {{name: authors{divided}}}
methods: {{{method}: published}}
attacks: [quantize]
requests: {requests}
"""


def text(requests: str, *, divided: str = ", requests: 4", method: str = "npo") -> str:
    return FILE.format(requests=requests, divided=divided, method=method)


@pytest.mark.parametrize(
    ("requests", "after", "mode"),
    [
        ("[1, 2, 3, 4]", [1, 2, 3, 4], "sequence"),
        ("{after: [2, 4], mode: together}", [2, 4], "together"),
    ],
)
def test_a_list_is_what_is_measured(requests: str, after: list[int], mode: str, tmp_path: Path) -> None:
    job = resolve(parse_spec(text(requests), folder=tmp_path))
    assert job.requests is not None
    assert (job.requests.after, job.requests.mode) == (after, mode)
    assert job.benchmark.params["requests"] == 4


def test_without_requests_the_job_is_what_it_was(tmp_path: Path) -> None:
    plain = resolve(parse_spec(text("null", divided=""), folder=tmp_path))
    asked = resolve(parse_spec(text("[1, 2]"), folder=tmp_path))
    assert plain.requests is None
    assert plain.digest() != asked.digest()


@pytest.mark.parametrize(
    ("requests", "changes", "told"),
    [
        ("[2, 1]", {}, "the numbers of requests must rise"),
        ("[1, 5]", {}, "has 4 of the 5 requests"),
        ("[1, 2]", {"divided": ""}, "benchmark.requests"),
        ("[1, 2]", {"method": "whp"}, "learns from a teacher of all forget rows"),
        ("[1, 2]", {"method": "npo>undo"}, "two trainings in turn"),
        ("[0, 1]", {}, "requests"),
        ("{after: [1], mode: both}", {}, "requests.mode"),
    ],
)
def test_what_does_not_fit_is_told(requests: str, changes: dict[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(text(requests, **changes), folder=tmp_path)
    assert told in "\n".join(str(problem) for problem in caught.value.problems)
