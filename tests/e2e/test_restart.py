"""A sweep over real Ray in which one of two training workers runs out of memory, by an allocation that cannot be made.

The two are sharded, and train the attack's soft tokens too. Oracles: the size that this worker can hold, in the stage's
outcome; and one trial, which is complete.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.test_plugins import RECIPE, run
from tests.support.plugin_text import METHOD

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SWEEP = f"""
name: hungry
benchmark: {{name: authors, authors: 10, forget_authors: 3, facts_per_author: 4, trained_forms: 2, evaluated_forms: 1}}
model: {{train: {RECIPE}}}
gold: {{train: {RECIPE}}}
plugins: [hungry.py]
methods: {{hinge: {{learning_rate: 1e-3, epochs: 1, margin: {{choice: [2.0]}}}}}}
training: {{global_batch_size: 8, workers: 2, backend: deepspeed, zero_stage: 3, resources_per_worker: {{CPU: 0.5}}}}
evaluators: {{ue: [probability], ut: [probability]}}
attacks: [{{soft_prompt: {{iterations: [2], soft_tokens: 2, batch_size: 4}}}}]
search: {{trials: 1, max_concurrent: 1}}
tracking: {{mlflow: "off"}}
storage: results
"""
HUNGRY = METHOD.replace(
    "        return (Term(",
    "        if torch.distributed.get_rank() == 1 and batch.sequences > 2:\n            torch.empty(2**52)\n"
    "        return (Term(",
).replace("from dataclasses import dataclass\n", "from dataclasses import dataclass\n\nimport torch\n")


def test_both_workers_start_again_with_rows_that_fit_one(tmp_path: Path) -> None:
    """A worker's share is 4 rows; the second one holds 2."""
    assert HUNGRY.count("torch") > 2
    (tmp_path / "hungry.py").write_text(HUNGRY)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    done = run(tmp_path, "run", "sweep.yaml", "--plain")
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "results" / "hungry" / "trials").glob("*.json"))
    assert record["state"] == "complete"
    assert [attack["attack"] for attack in record["attacks"]] == ["soft_prompt"]
    stages = [json.loads(path.read_text()) for path in (tmp_path / "results" / "store" / "stages").glob("*/stage.json")]
    (unlearned,) = (stage["data"] for stage in stages if stage["stage"] == "unlearn")
    assert (unlearned["world_size"], unlearned["micro_batch_rows"]) == (2, 2)
    events = (tmp_path / "results" / "hungry" / "events.jsonl").read_text().splitlines()
    assert not [event for event in map(json.loads, events) if event["event"] in ("stage_lost", "stage_failed")]
