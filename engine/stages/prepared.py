"""Result of the preparation of a sweep, for its trials and for scoring."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Prepared(BaseModel):
    """Paths, content names and stage keys of the controls. JSON-serialisable; sent to every trial.

    The dicts by control have the keys "original" and "gold"; an audit may lack one.

    Attributes:
        data: digest of the benchmark's data.
        paths: model path by control.
        ids: content name of the model by control.
        evaluations: stage key of the evaluation by control.
        attacks: stage key by attack label, then by control.
        gold_at_chance: there is no gold model. Its entries are the original's, and its tables are set to chance values.
        prompt_note: warning if the original knows its rows better in another prompt format, else empty.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    data: str
    paths: dict[str, str]
    ids: dict[str, str]
    evaluations: dict[str, str]
    attacks: dict[str, dict[str, str]]
    gold_at_chance: bool = False
    prompt_note: str = ""
