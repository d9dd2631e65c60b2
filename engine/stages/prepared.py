"""What the preparation of a sweep hands to its trials and to whoever scores them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Prepared(BaseModel):
    """What the preparation leaves for the trials: paths, content names, stage keys. JSON-able, travels to every trial.

    With `gold_at_chance` there is no gold model: its entries are the original's, whose tables are put at chance.
    `prompt_note` says where the original knows its rows better in another prompt format, and is empty else.
    `evaluations` and `attacks` hold stage keys of the controls: {"original": key, "gold": key}, by attack label.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str
    paths: dict[str, str]
    ids: dict[str, str]
    evaluations: dict[str, str]
    attacks: dict[str, dict[str, str]]
    gold_at_chance: bool = False
    prompt_note: str = ""
