"""The published benchmarks from their files to a scored trial, over made rows: load, train, measure, unlearn, attack.

Oracles: the anchors (original UE 0 and UT 1), the rows that each metric is for, and the event log.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.published_data import WRITERS
from tests.support.tiny_authors import Ready, make_ready, tiny_job
from unlearn_sweep.engine.job import AttackSettings, BenchmarkSettings, ModelSource, SweepJob
from unlearn_sweep.engine.stages.control_tables import control_tables
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stages.scoring import Scorer
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS
from unlearn_sweep.evaluators.catalog import COMPONENTS, METRICS
from unlearn_sweep.methods.catalog import card

RECIPE = {
    "config": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "initializer_range": 0.1,
    },
    "vocab_size": 600,
    "epochs": 60,
    "batch_size": 8,
    "learning_rate": 5e-3,
}
GOLD = {"muse": ModelSource(recipe=RECIPE)}
QUANTIZE = AttackSettings(label="quantize", name="quantize", family="quantize", params={"bits": [4]})
DEFAULTS = {param.name: param.default for param in card("graddiff").params}
STEPS = {"rwku": {"learning_rate": 5e-3, "epochs": 8}}
"""Long enough to forget something, short enough not to fall apart."""
BESIDE = {"rwku": ("rwku_level1", "rwku_level2", "rwku_level3", "rwku_affirmative_suffix", "mia_loss_rise")}
"""Metrics of parts, and of membership without a gold model, beside a benchmark's own."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=WRITERS)
def ready(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """Original (and gold, where there is one) trained on the made rows, and the attack run on both."""
    name: str = request.param
    options = WRITERS[name](tmp_path_factory.mktemp("data"))
    own = BENCHMARKS[name]
    changes = {
        "benchmark": BenchmarkSettings(name=name, params=own.params.model_validate(options).model_dump()),
        "original": ModelSource(recipe=RECIPE),
        "gold": GOLD.get(name, ModelSource(floor="chance")),
        "ue_metrics": [*own.metrics, *BESIDE.get(name, ())],
        "ut_metrics": list(own.ut_metrics),
    }
    job = tiny_job(tmp_path_factory.mktemp("storage"), name, [QUANTIZE])
    return make_ready(SweepJob.model_validate(job.model_copy(update=changes).model_dump()), InProcessExecutor())


@pytest.fixture(scope="module")
def record(ready: Ready) -> TrialRecord:
    return run_trial(task(0, ready[0]), *ready)


def task(number: int, job: SweepJob) -> TrialTask:
    params = DEFAULTS | STEPS.get(job.benchmark.name, {"learning_rate": 3e-3, "epochs": 4})
    return TrialTask(number=number, key=f"k{number}", method="graddiff", params=params, seed=3)


def test_the_controls_are_at_their_anchors(ready: Ready) -> None:
    job, prepared, _ = ready
    scorer = Scorer(job, prepared, StageStore(job.storage))
    tables = control_tables(prepared, StageStore(job.storage))
    (ue, _), (ut, _) = scorer.effectiveness(tables.original, "search"), scorer.utility(tables.original, "search")
    assert (ue.value, ut.value) == (0.0, 1.0), (ue.reason, ut.reason, [part.reason for part in (*ue.parts, *ut.parts)])
    assert scorer.effectiveness(tables.gold, "search")[0].value == pytest.approx(1.0)


def test_every_row_that_a_metric_is_for_has_a_value(ready: Ready) -> None:
    """And no other row has: what is averaged is what the metric is about."""
    job, prepared, _ = ready
    table = control_tables(prepared, StageStore(job.storage)).original
    named = {part for name in (*job.ue_metrics, *job.ut_metrics) for part in COMPONENTS.get(name, (name,))}
    for name in named:
        applies = table["kind"].isin(METRICS[name].kinds)
        assert table.loc[applies, name].notna().all(), name
        assert table.loc[~applies, name].isna().all(), name
    known = {"forget", "holdout", "retain", "mmlu", "neighbor", "mia_retain", "general"}
    known |= {"retain_creative", "retain_pii", "retain_biographies", "combined"}
    assert set(table["split"]) <= known | {"reasoning", "truthfulness", "factuality", "fluency"}


def test_a_trial_is_unlearned_measured_and_attacked(ready: Ready, record: TrialRecord) -> None:
    job = ready[0]
    assert record.state in ("complete", "collapsed"), record.reason
    assert record.training is not None
    assert record.training.steps >= 1
    assert record.ue is not None
    assert 0 < record.ue <= 1, "a few steps on the forget rows forget something"
    details: Any = record.ue_detail
    assert [part.metric for part in details.parts] == job.ue_metrics
    if record.state == "complete":
        assert [attack.attack for attack in record.attacks] == ["quantize"]


def test_without_a_gold_model_the_floor_is_chance(ready: Ready) -> None:
    job, prepared, _ = ready
    tables = control_tables(prepared, StageStore(job.storage))
    if job.gold.floor is None:
        assert prepared.paths["gold"] != prepared.paths["original"]
        return
    for name in set(job.ue_metrics) - set(COMPONENTS):
        known = tables.gold[name].dropna()
        assert len(known)
        assert set(known) == {METRICS[name].chance}


def test_measuring_is_a_stage_that_is_not_repeated(ready: Ready, record: TrialRecord) -> None:
    again = run_trial(task(1, ready[0]), *ready)
    assert set(again.reused_stages) >= {"unlearn", "evaluate"}
    assert (again.ue, again.ut) == (record.ue, record.ut)
