"""The models' answers as a table of the sweep's MLflow run."""

from __future__ import annotations

import json

from unlearn_sweep.engine.answers import read_answers, sampled_rows, strongest
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.snapshot import Snapshot
from unlearn_sweep.engine.tracking.fields import Fields, is_on_front

ANSWERED_MEMBERS = 5


def add_answers(fields: Fields, snapshot: Snapshot) -> None:
    """Add the answers of the controls and of up to five front members as a table, once the sweep is not running.

    The members are those whose lowest objective is highest. Rows are a fixed sample, at the last strength of each
    attack.
    """
    if snapshot.state == "running" or snapshot.front is None:
        return
    members = [record for record in snapshot.records if is_on_front(record, snapshot.front)]
    members.sort(key=lambda record: (-_lowest_objective(record), record.number))
    table = strongest(read_answers(snapshot, [record.number for record in members[:ANSWERED_MEMBERS]]).table)
    chosen = {row[:2] for row in sampled_rows(table)}
    keep = [place in chosen for place in zip(table["split"], table["row_id"], strict=True)]
    lines = json.loads(table.loc[keep].to_json(orient="values", force_ascii=False))
    if lines:
        fields.table("answers.json", list(table.columns), lines)


def _lowest_objective(record: TrialRecord) -> float:
    return min(value for value in (record.ue, record.ut, record.rob) if value is not None)
