"""Every example of docs/extend.md is run. Oracles: hand values, and the properties each kind has to have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.methods.golden import golden_step, loss
from tests.support.docs_pages import examples
from unlearn_sweep.engine.samplers.catalog import build_sampler
from unlearn_sweep.engine.samplers.interface import Ask, Tried
from unlearn_sweep.engine.search_space import Choice, MethodSpace, Uniform
from unlearn_sweep.engine.stages.sweep_code import sweep_code
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.evaluators.row_metrics import Measured, row_metric
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.methods.catalog import build
from unlearn_sweep.methods.interface import Gradients
from unlearn_sweep.plugins import use
from unlearn_sweep.sweeps.file.plugins import use_plugins
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import load_spec
from unlearn_sweep.sweeps.resolve import resolve

PAGE = examples("extend.md")
SWEEP = """
name: extended
benchmark: {name: sums, numbers: 6}
plugins: [my_method.py, my_wrapper.py, my_metric.py, my_attack.py, my_benchmark.py, my_sampler.py]
methods: {hinge: published, hinge+shrink: {margin: 4.0}, npo+shrink+sam: {}}
attacks: [{noise: {scale: [0.1]}}, {chain: [{noise: {scale: [0.1]}}, {quantize: {bits: 8}}]}]
evaluators: {ue: [word_recall, probability], ut: [word_recall]}
search: {sampler: steps, sampler_options: {width: 0.1}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    for name, text in PAGE.items():
        (tmp_path / name).write_text(text)
    use_plugins(tmp_path / name for name in PAGE)
    yield tmp_path
    use(())


def test_the_page_has_an_example_of_each_kind() -> None:
    kinds = ("method", "wrapper", "metric", "attack", "benchmark", "sampler")
    assert set(PAGE) >= {f"my_{kind}.py" for kind in kinds}


def test_a_sweep_file_with_all_of_them_is_valid(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(SWEEP)
    spec = load_spec(folder / "sweep.yaml", folder=folder)
    assert [space.method for space in spec.spaces] == ["hinge", "hinge+shrink", "npo+sam+shrink"]
    assert [attack.label for attack in spec.attacks] == ["noise", "chain-noise-quantize-8bit"]
    assert (spec.benchmark.card.name, spec.ut_metrics) == ("sums", ("word_recall",))
    job = resolve(spec)
    assert (job.search.sampler, job.search.sampler_options) == ("steps", {"width": 0.1})
    assert sorted(name for name in sweep_code(job) if name.startswith("plugin ")) == [
        "plugin my_attack",
        "plugin my_method",
        "plugin my_metric",
        "plugin my_sampler",
        "plugin my_wrapper",
    ]


@pytest.mark.parametrize(
    ("search", "path", "words"),
    [
        ("{sampler: stepps}", "search.sampler", "unknown sampler"),
        ("{sampler: steps, sampler_options: {width: 2}}", "search.sampler_options.width", "out of range"),
        ("{sampler: steps, sampler_options: {widht: 0.1}}", "search.sampler_options.widht", "unknown"),
        ("{sampler: tpe, sampler_options: {width: 0.1}}", "search.sampler_options.width", "unknown"),
        ("{sampler: steps, grid_points: 3}", "search.grid_points", "belongs to the grid sampler"),
    ],
)
def test_a_wrong_sampler_or_option_is_a_mistake_of_the_file(folder: Path, search: str, path: str, words: str) -> None:
    (folder / "sweep.yaml").write_text(SWEEP.replace("{sampler: steps, sampler_options: {width: 0.1}}", search))
    with pytest.raises(SpecError) as caught:
        load_spec(folder / "sweep.yaml", folder=folder)
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == (path, 8)
    assert words in problem.message


def test_the_sampler_steps_from_the_best_feasible_trial(folder: Path) -> None:
    """With steps of almost no length, it proposes the best trial's settings."""
    space = MethodSpace(method="npo", params={"beta": Uniform(0.0, 1.0), "kind": Choice(("a", "b"))})

    def tried(number: int, beta: float, rob: float, *, feasible: bool = True) -> Tried:
        values = {"ue": 0.9, "ut": 0.9, "rob": rob}
        params = {"beta": beta, "kind": "b"}
        return Tried(number=number, params=params, outcome="complete", values=values, feasible=feasible)

    trials = (tried(0, 0.1, 0.2), tried(1, 0.7, 0.6), tried(2, 0.9, 0.8, feasible=False))
    sampler = build_sampler("steps", {"width": 1e-9})
    point = sampler.point(Ask(space=space, trials=trials, number=3, seed=1))
    assert point == {"beta": 0.7, "kind": "b"}


def test_the_method_is_a_hinge(folder: Path) -> None:
    """A margin of 0 leaves the retain loss; a margin above every NLL adds margin minus the mean NLL."""
    step = golden_step()
    retain = loss(build("hinge", {"margin": 1e-9}), step)
    forget = loss(build("grad_ascent", {}), step)
    whole = loss(build("hinge", {"margin": 1e6}), step)
    torch.testing.assert_close(whole, retain + 1e6 + forget, rtol=1e-6, atol=1e-3)


def test_the_wrapper_cuts_the_forget_gradient(folder: Path) -> None:
    class Reports:
        def __init__(self) -> None:
            self.told: dict[str, float] = {}

        def total(self, values: torch.Tensor) -> torch.Tensor:
            return values

        def report(self, name: str, value: float) -> None:
            self.told[name] = value

    wrapper, probe = build("hinge+shrink", {"shrink_ratio": 2.0}), Reports()
    (around,) = wrapper.gradient_wrappers  # type: ignore[attr-defined]
    given = Gradients(forget=[torch.tensor([30.0, 40.0])], retain=[torch.tensor([3.0, 4.0])])
    found = around.reshape(given, probe)
    assert found.forget[0].tolist() == pytest.approx([6.0, 8.0])
    assert probe.told == {"shrink_factor": pytest.approx(0.2)}
    short = Gradients(forget=[torch.tensor([3.0, 4.0])], retain=[torch.tensor([3.0, 4.0])])
    assert around.reshape(short, probe) == short


def test_the_metric_counts_words(folder: Path) -> None:
    row = Row(row_id="r", group_id="g", split="forget", question="Who?", answer="Ada of Arden")
    measured = Measured(row=row, reference="Ada of Arden", generation="ada or arden")
    value = row_metric("word_recall")
    assert value(measured) == pytest.approx(2 / 3)
    assert math.isnan(value(replace(measured, generation=None)))
    assert METRICS["word_recall"].range == (0.0, 1.0)


def test_the_benchmark_loads_and_refuses_a_wrong_option(folder: Path) -> None:
    found = load_benchmark("sums", {"numbers": 4})
    assert [len(found.train[view]) for view in ("forget", "retain")] == [4, 12]
    with pytest.raises(ValueError, match="numbers"):
        load_benchmark("sums", {"numbers": 3})


def test_the_attack_refuses_falling_strengths(folder: Path) -> None:
    with pytest.raises(ValueError, match="must rise"):
        ATTACKS["noise"].params.model_validate({"scale": [0.2, 0.1]})
