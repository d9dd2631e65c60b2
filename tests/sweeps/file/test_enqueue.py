"""Settings of the user's own before the sampler's. Oracle: the file, and the proposals of a real study."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.points import number
from tests.support.sweep_folder import trial, write_sweep
from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.resolve import resolve

METHODS = (
    "methods: {npo: {learning_rate: {log: [1e-4, 1e-2]}, beta: {log: [0.05, 1.0]}, retain: nll}, "
    "graddiff: {learning_rate: {log: [1e-4, 1e-2]}}}"
)
WISHES = "[{npo: {learning_rate: 2e-3, beta: 0.5}}, {graddiff: {}}, {npo: {beta: 0.25}}, {npo: {beta: 0.25}}]"


def _text(enqueue: str, **parts: str) -> str:
    return sweep_text(**{"methods": METHODS, "search": f"search: {{trials: 6, enqueue: {enqueue}}}", **parts})


def test_they_are_the_first_trials_and_the_sampler_chooses_the_rest(tmp_path: Path) -> None:
    job = resolve(parse_spec(_text(WISHES), folder=tmp_path))
    plan = SearchPlan.of(job.search, seed=3, objectives=("ue", "ut", "rob"), window=None)
    broker = StudyBroker(tmp_path / "journal", job.spaces, plan, identity={"a": "1"})
    asked = [proposal for _ in range(6) if (proposal := broker.ask()) is not None]
    assert [proposal.method for proposal in asked[:3]] == ["npo", "graddiff", "npo"]
    assert (asked[0].params["learning_rate"], asked[0].params["beta"]) == (2e-3, 0.5)
    assert asked[2].params["beta"] == 0.25
    assert 1e-4 <= number(asked[2].params["learning_rate"]) <= 1e-2
    assert sorted(proposal.method for proposal in asked) == ["graddiff"] * 3 + ["npo"] * 3


@pytest.mark.parametrize(
    ("enqueue", "path", "words"),
    [
        ("[{npoo: {}}]", "search.enqueue[0].npoo", "npo"),
        ("[{npo: {betta: 0.1}}]", "search.enqueue[0].npo.betta", "beta"),
        ("[{npo: {beta: 2.0}}]", "search.enqueue[0].npo.beta", "0.05 to 1"),
        ("[{npo: {retain: kl}}]", "search.enqueue[0].npo.retain", "nll, which methods fixes"),
        ("[{npo: {}, graddiff: {}}]", "search.enqueue[0]", "one method"),
        ("[{}]", "search.enqueue[0]", "one method"),
    ],
)
def test_mistakes(tmp_path: Path, enqueue: str, path: str, words: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_spec(_text(enqueue), folder=tmp_path)
    (problem,) = error.value.problems
    assert problem.path == path
    assert words in (problem.allowed or "") + (problem.nearest or "")


@pytest.mark.parametrize(("now", "refused"), [(WISHES, False), ("[{graddiff: {}}]", True), ("[]", True)])
def test_a_sweep_that_has_begun_keeps_its_first_settings(tmp_path: Path, now: str, refused: bool) -> None:
    storage = f"storage: '{tmp_path}'"
    begun = write_sweep(tmp_path / "small", [trial(0)])
    (begun / "spec.yaml").write_text(_text(WISHES, storage=storage))
    spec = parse_spec(_text(now, storage=storage), folder=tmp_path)
    if not refused:
        assert len(resolve(spec).search.first) == 3
        return
    with pytest.raises(SpecError) as error:
        resolve(spec)
    assert error.value.problems[0].path == "search.enqueue"
