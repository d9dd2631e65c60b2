"""Records of older versions load, and say why a number is missing. Oracle: records written by hand."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.evaluators.scores import Objective, Robustness

OLD: dict[str, Any] = {
    "number": 3,
    "key": "k3",
    "method": "npo",
    "params": {"beta": 0.1},
    "seed": 7,
    "state": "complete",
    "ue": 0.5,
    "ut": 0.9,
    "rob": None,
    "rob_is_bound": False,
    "ue_detail": {
        "value": 0.5,
        "standard_error": 0.02,
        "parts": [
            {
                "metric": "rouge_l",
                "split": "forget",
                "group": "g",
                "value": 0.2,
                "original": 0.9,
                "gold": 0.1,
                "score": 0.8,
            }
        ],
        "groups": {"g": 0.5},
        "reason": None,
    },
    "attacks": [
        {
            "attack": "relearn",
            "family": "relearn",
            "value": None,
            "curve": [{"strength": 5, "unit": "steps", "still_forgotten": None, "utility": 0.8}],
            "reason": "no strength is left",
        }
    ],
    "started": 1.0,
    "finished": 2.0,
}


class Later(TrialRecord):
    """A record of a version to come."""

    added: float | None = None


def test_a_record_without_the_new_fields_loads() -> None:
    record = TrialRecord.model_validate_json(json.dumps(OLD))
    assert record.ue_detail is not None
    assert (record.ue_detail.rows, record.ue_detail.dropped, record.ue_detail.parts[0].score) == (0, {}, 0.8)
    assert (record.attacks[0].standard_error, record.attacks[0].curve[0].reason) == (None, None)
    assert record.rob_detail is None
    assert record.missing == {}


def test_a_seal_outlives_a_field_that_is_added() -> None:
    sealed = TrialRecord.model_validate(OLD | {"ut": float("nan")}).sealed()
    text = sealed.model_dump_json()
    assert Later.model_validate_json(text).is_intact()
    assert not Later.model_validate_json(text.replace('"npo"', '"dpo"')).is_intact()


def test_an_objective_without_a_value_says_why() -> None:
    details = {
        "rob_detail": Robustness(value=None, reason="no attack has a score", excluded=("relearn",)),
        "ut": None,
        "ut_detail": Objective(value=None, reason="no row in both tables", rows=0, dropped={"original": 4}),
        "ue_detail": Objective(value=0.5, reason="not asked for: it has a value"),
    }
    record = TrialRecord.model_validate(OLD | details)
    assert record.missing == {"rob": "no attack has a score", "ut": "no row in both tables"}
    assert TrialRecord.model_validate_json(record.model_dump_json()) == record


SHORT = {name: OLD[name] for name in ("number", "key", "method", "params", "seed", "state", "started", "finished")}
WRITTEN_TRAINING = {
    "steps": 3, "planned_steps": 3, "resumed_at_step": 0, "epochs": 1.0, "seconds": 2.5, "reference_seconds": 0.0,
    "tokens": 12, "terms": {"forget": 1.5, "retain": None}, "curve": [{"step": 1.0, "forget": 2.0}],
    "stopped_early": None, "stop_reason": None, "weights_finite": True, "relative_change": None, "parameters": 7,
    "peak_memory_mib": 90.0, "world_size": 1, "backend": "torch", "dtype": "float32", "global_batch_rows": 4,
    "mean_answer_tokens": 3.5, "conventions": {"normalise": "global"},
}  # fmt: skip
WRITTEN_JUDGING = {
    "evaluate": {"judge": {"rows": 3, "calls": 0, "dollars": None, "reasons": {}}, "gibberish": {"rows": 3}}
}


@pytest.mark.parametrize("training", [WRITTEN_TRAINING, {}])
@pytest.mark.parametrize("judging", [WRITTEN_JUDGING, {}])
def test_a_seal_over_a_training_written_as_plain_numbers_holds(
    training: dict[str, Any], judging: dict[str, Any]
) -> None:
    """Oracle: the seal as it was computed while both were plain mappings: all their entries but nulls count."""
    plain = {**SHORT, **({"training": training} if training else {}), **({"judging": judging} if judging else {})}
    blob = json.dumps(without_null(plain), sort_keys=True)
    text = json.dumps({**plain, "training": training, "seal": hashlib.sha256(blob.encode()).hexdigest()[:16]})
    record = TrialRecord.model_validate_json(text)
    assert record.is_intact()
    assert (record.training is None) == (not training)
    assert TrialRecord.model_validate_json(record.model_dump_json()).is_intact()
    if training:
        assert not TrialRecord.model_validate_json(text.replace('"steps": 3', '"steps": 4')).is_intact()


def without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_null(item) for name, item in value.items() if item is not None}
    return [without_null(item) for item in value] if isinstance(value, list) else value
