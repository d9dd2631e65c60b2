"""Records of older versions load, and say why a number is missing. Oracle: records written by hand."""

from __future__ import annotations

import json
from typing import Any

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
