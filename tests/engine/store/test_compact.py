"""Records share what pydantic keeps with each. Oracles: the records as they were, and the size of what they hold."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from pydantic import BaseModel

from tests.support.sweep_folder import trial
from unlearn_sweep.engine.store.compact import compact
from unlearn_sweep.engine.store.records import TrialRecord


def models_in(value: object) -> Iterator[BaseModel]:
    if isinstance(value, BaseModel):
        yield value
        value = list(value.__dict__.values())
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from models_in(part)


def test_records_of_one_shape_hold_their_field_names_once() -> None:
    text = [trial(number).model_dump_json() for number in range(20)]
    records = [TrialRecord.model_validate_json(one) for one in text]
    for record in records:
        compact(record)
    assert [record.model_dump_json() for record in records] == text
    sets = {id(model.__pydantic_fields_set__) for record in records for model in models_in(record)}
    assert len(sets) == len({id(model.__pydantic_fields_set__) for model in models_in(records[0])})
    assert sys.getsizeof(records[0].__pydantic_fields_set__) > 1000  # what each of them would hold


def test_a_changed_copy_leaves_the_others_as_they_were() -> None:
    fields = {"key": "k", "method": "npo", "params": {}, "seed": 1, "state": "failed", "started": 0, "finished": 1}
    records = [TrialRecord.model_validate({"number": number, **fields}) for number in range(2)]
    for record in records:
        compact(record)
    changed = records[0].model_copy(update={"reason": "why"})
    assert "reason" in changed.model_fields_set
    assert "reason" not in records[0].model_fields_set | records[1].model_fields_set
    assert records[0].sealed().is_intact()
