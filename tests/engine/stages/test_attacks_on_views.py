"""Attacks that read written views, from the view's file to the rows of the stage. Oracles: the file, and what is asked.

The controls run them: both models, the chain among them.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.tiny_authors import OPTIONS, RECIPE, Ready, make_ready, tiny_job
from tests.support.written_views import view
from unlearn_sweep.engine.job import AttackSettings, ModelSource, SweepJob
from unlearn_sweep.engine.store.outcomes import AttackOutcome
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.evaluators.attacks.catalog import validate
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.benchmarks.written_rows import WrittenRecord, content_digest, source_rows
from unlearn_sweep.sweeps.views.writing import parquet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TRAINING = {"steps": [2], "batch_size": 2, "learning_rate": 1e-3}
TOPICS = 3


def attack(label: str, name: str, family: str, params: dict[str, Any]) -> AttackSettings:
    if name != "chain":
        params = validate(name, params).model_dump(mode="json")
    return AttackSettings(label=label, name=name, family=family, params=params)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    folder = tmp_path_factory.mktemp("views")
    rows = source_rows(load_benchmark("authors", OPTIONS), "alias", "judged")
    asked = [WrittenRecord(row_id=row.row_id, number=1, question=f"Who is meant by {row.row_id}?") for row in rows]
    beside = [
        WrittenRecord(number=i + 1, question=f"What burns in lamp {i}?", answer=f"Oil {i}") for i in range(TOPICS)
    ]
    found = []
    for name, records in (("alias", asked), ("relearn_set", beside)):
        file = folder / f"{name}.parquet"
        file.write_bytes(parquet(records))
        found.append(view(name).model_copy(update={"path": str(file), "digest": content_digest(file)}))
    chain = {"steps": [{"quantize": {"bits": 4}}, {"relearn": {**TRAINING, "data": "relearn_set"}}]}
    attacks = [
        attack("alias", "paraphrase", "prompt", {"source": "alias", "wordings": 1}),
        attack("set", "relearn", "relearning", {**TRAINING, "data": "relearn_set"}),
        attack("chain", "chain", "chain", chain),
    ]
    job = tiny_job(folder / "storage", "views", attacks)
    source = ModelSource(recipe={**RECIPE, "epochs": 4})
    changed = job.model_copy(update={"views": found, "original": source, "gold": source})
    return make_ready(SweepJob.model_validate(changed.model_dump()))


@pytest.mark.parametrize("which", ["original", "gold"])
def test_the_attacks_used_the_written_texts(ready: Ready, which: str) -> None:
    job, prepared, _ = ready
    store = StageStore(job.storage)

    def notes(label: str) -> dict[str, float]:
        result = store.result(prepared.attacks[label][which])
        assert result is not None
        return result.outcome(AttackOutcome).points[-1].notes

    assert notes("alias")["share_of_rows_reworded"] == 1.0
    assert notes("set")["relearned_rows"] == TOPICS
    assert notes("chain")["relearned_rows"] == TOPICS


def test_each_row_is_scored_behind_its_written_question(ready: Ready) -> None:
    """The alias attack changes the likelihood of forget answers and of nothing else."""
    job, prepared, _ = ready
    store = StageStore(job.storage)

    def likelihoods(key: str) -> dict[str, float]:
        table = store.rows(key)
        return dict(zip(table["row_id"].tolist(), table["probability"].tolist(), strict=True))

    before = likelihoods(prepared.evaluations["original"])
    after = likelihoods(prepared.attacks["alias"]["original"])
    changed = {name for name, value in after.items() if value != before[name]}
    rows = {row.row_id for row in load_benchmark("authors", OPTIONS).evaluation["forget"]}
    assert changed == rows
