"""Scoring the models of a finished sweep anew. Oracle: the first sweep's own numbers, and an executor that counts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.tiny_authors import OPTIONS, RECIPE
from unlearn_sweep.engine.driver.sweep import Driver
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages.attack_order import base_costs
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stages.prepare import Preparation
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.retention import front_models, keeper_of
from unlearn_sweep.engine.store.stages import ADAPTER_FILE, StageStore
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.rescore import RescoreError, rescore_text, rescored
from unlearn_sweep.sweeps.resolve import resolve

RATES = "[1e-4, 1e-3, 2e-3]"


class Counting(InProcessExecutor):
    """Trains and measures for real, and says what it trained."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[str] = []

    def train(self, job: TrainJob, *, name: str) -> TrainOutcome:
        self.trained.append(name)
        return super().train(job, name=name)


def job_of(storage: Path, name: str, attacks: str, rates: str = RATES, **changes: str) -> SweepJob:
    parts = {
        "name": name,
        "seed": "3",
        "benchmark": str({"name": "authors", **OPTIONS}),
        "model": str({"train": RECIPE}),
        "gold": str({"train": RECIPE}),
        "methods": f"{{graddiff: {{learning_rate: {{choice: {rates}}}, retain: nll}}}}",
        "training": "{epochs: 2, global_batch_size: 8, workers: 0, backend: torch}",
        "evaluation": "{resources: {CPU: 1}}",
        "evaluators": "{ue: [probability, extraction_strength], ut: [probability]}",
        "attacks": attacks,
        "search": "{sampler: grid}",
        "storage": f"'{storage}'",
    } | changes
    return resolve(parse_spec("\n".join(f"{key}: {value}" for key, value in parts.items())))


def run(job: SweepJob) -> tuple[list[TrialRecord], list[str]]:
    """The whole sweep in this process, without Ray. Its records, and the names of what was trained in trials."""
    driver, executor = Driver(job), Counting()
    driver.open()
    job = driver.job
    prepared = Preparation(job, StageRunner(driver.store, driver.events), [executor], in_turn=True).run()
    executor.trained.clear()
    driver.attack_costs = base_costs(job.attacks, prepared, driver.store, timed=False)
    driver.hold_stored(prepared)
    driver._open_broker(prepared)
    while (task := driver.next_task()) is not None:
        driver.settle(task, run_trial(task, job, prepared, executor))
    driver.finish()
    return driver.records(), executor.trained


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrialRecord]]:
    """Three trials under one attack; storage_limit_gib keeps the models of all, not only those of the front."""
    storage = tmp_path_factory.mktemp("runs")
    job = job_of(storage, "first", "[{prefill: {tokens: [1]}}]", storage_limit_gib="1")
    records, trained = run(job)
    assert len(records) == len(trained) == 3
    return job.directory, records


def test_every_kept_model_is_scored_by_the_new_file_and_none_is_trained(
    first: tuple[Path, list[TrialRecord]],
) -> None:
    directory, before = first
    attacks = "[{prefill: {tokens: [1]}}, {quantize: {bits: 4}}]"
    found = rescored(job_of(directory.parent, "anew", attacks, storage_limit_gib="1"), directory)
    records, trained = run(found.job)
    assert trained == []
    assert found.trials == {0: 0, 1: 1, 2: 2}
    assert [record.stage_keys["unlearn"] for record in records] == [record.stage_keys["unlearn"] for record in before]
    for new, old in zip(records, before, strict=True):
        assert (new.ue, new.ut, new.attacks[0]) == (old.ue, old.ut, old.attacks[0])
        assert [score.attack for score in new.attacks] == ["prefill", "quantize-4bit"]
        assert not any(score.skipped for score in new.attacks)
    again = rescored(job_of(directory.parent, "anew", attacks, storage_limit_gib="1"), directory)
    assert again.job.search.first == found.job.search.first
    assert "scoring 3 models of first as anew; nothing is trained" in "\n".join(rescore_text(again, directory))


def test_what_cannot_be_scored_is_left_out_with_its_reason(first: tuple[Path, list[TrialRecord]]) -> None:
    directory, before = first
    found = rescored(job_of(directory.parent, "fewer", "[{quantize: {bits: 4}}]", rates="[1e-3, 2e-3]"), directory)
    assert found.trials == {0: 1, 1: 2}
    assert found.left_out == {"settings outside the search space of the file": 1}
    models = directory.parent / "store" / "models"
    gone = models / before[2].stage_keys["unlearn"]
    gone.rename(models / "elsewhere")
    try:
        without = rescored(job_of(directory.parent, "gone", "[{quantize: {bits: 4}}]"), directory)
        assert (without.trials, without.left_out) == ({0: 0, 1: 1}, {"weights not kept": 1})
        other = rescored(job_of(directory.parent, "lost", "[{quantize: {bits: 8}}]", rates="[1e-3, 2e-3]"), directory)
        search = found.job.search  # two models, one of which is lost between the look and the run
        records, trained = run(other.job.model_copy(update={"search": search}))
    finally:
        (models / "elsewhere").rename(gone)
    assert trained == []
    assert [record.state for record in records] == ["complete", "failed"]
    assert all((models / record.stage_keys["unlearn"]).is_dir() for record in before)  # no limit, and none is deleted
    assert "this sweep trains none" in (records[1].reason or "")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": "4"}, "seed differ"),
        ({"training": "{epochs: 1, global_batch_size: 8, workers: 0, backend: torch}"}, "training differ"),
        ({"name": "first"}, "first is the name of the sweep to be scored"),
        ({"storage": "elsewhere"}, "is not in the storage of the file"),
        ({"methods": "{npo: {learning_rate: {choice: [1e-3]}}}"}, "3 with settings outside the search space"),
    ],
)
def test_a_file_of_other_trainings_is_refused(
    first: tuple[Path, list[TrialRecord]], changes: dict[str, str], words: str
) -> None:
    directory, _ = first
    others = {name: text for name, text in changes.items() if name not in ("name", "storage")}
    storage = directory.parent / changes.get("storage", "")
    with pytest.raises(RescoreError, match=words):
        rescored(job_of(storage, changes.get("name", "other"), "[{quantize: {bits: 4}}]", **others), directory)


def test_every_lora_model_is_scored_though_no_weights_are_stored(tmp_path: Path) -> None:
    """Oracle: the first sweep's own scores of the models that its trainings exported."""
    lora = "{epochs: 2, global_batch_size: 8, workers: 0, backend: torch, lora: {rank: 2, dropout: 0.0}}"
    rates = "[1e-3, 3e-3, 5e-3]"
    quantize, both = "[{quantize: {bits: 4}}]", "[{quantize: {bits: 4}}, {prefill: {tokens: [1]}}]"
    job = job_of(tmp_path, "first", quantize, rates=rates, training=lora, prune="false")
    before, trained = run(job)
    store, keys = StageStore(tmp_path), [record.stage_keys["unlearn"] for record in before]
    assert len(before) == len(trained) == 3
    for key in keys:
        store.evict_model(key)
    found = rescored(job_of(tmp_path, "anew", both, rates=rates, training=lora), job.directory)
    assert (found.trials, found.left_out) == ({0: 0, 1: 1, 2: 2}, {})
    shutil.rmtree(store.stage_folder(before[2].stage_keys["attack:quantize-4bit"]))  # measured again, on the model made
    after, worked = run(found.job)
    assert [name.split("-")[2] for name in worked] == ["restored"] * 3
    for new, old in zip(after, before, strict=True):
        assert (new.state, new.ue, new.ut, new.attacks[0]) == ("complete", old.ue, old.ut, old.attacks[0])
        assert not any(score.skipped for score in new.attacks)
    front = front_models([keeper_of(record.model_dump(mode="json")) for record in [*before, *after]])
    assert {key for key in keys if store.has_weights(key)} >= front & set(keys)


def test_a_damaged_adapter_is_not_used(tmp_path: Path) -> None:
    """Its stage counts as damaged: a rescore leaves the trial out, and the next training writes it again."""
    lora = "{epochs: 1, global_batch_size: 8, workers: 0, backend: torch, lora: {rank: 2, dropout: 0.0}}"
    job = job_of(tmp_path, "first", "[{quantize: {bits: 4}}]", rates="[1e-3]", training=lora)
    before, _ = run(job)
    store, key = StageStore(tmp_path), before[0].stage_keys["unlearn"]
    store.evict_model(key)
    adapter = store.stage_folder(key) / ADAPTER_FILE
    data = bytearray(adapter.read_bytes())
    data[-1] ^= 1
    adapter.write_bytes(data)
    with pytest.raises(RescoreError, match="1 with weights not kept"):
        rescored(job_of(tmp_path, "anew", "[{quantize: {bits: 8}}]", rates="[1e-3]", training=lora), job.directory)
