"""Parameters of `rwku_prompts`."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackParams, AttackWork, work_without_training

RwkuKind = Literal[
    "prefix_injection",
    "affirmative_suffix",
    "role_play",
    "multiple_choice",
    "reverse_query",
    "synonym",
    "background_hint",
    "in_context",
    "cross_lingual",
]


class RwkuPromptsParams(AttackParams):
    """RWKU's kinds of adversarial prompts."""

    kinds: list[RwkuKind] = Field(
        default=list(get_args(RwkuKind)), min_length=1, description="kinds of prompts, each a state of its own"
    )
    aggregate: Literal["each", "worst"] = Field(
        default="each", description="a state for each kind, or one in which each row is asked in its likeliest kind"
    )

    @model_validator(mode="after")
    def _check_kinds(self) -> RwkuPromptsParams:
        ordered = [kind for kind in get_args(RwkuKind) if kind in self.kinds]
        if list(self.kinds) != ordered:
            raise ValueError(f"kinds must be in RWKU's order, each once; got {list(self.kinds)}, try {ordered}")
        if self.aggregate == "worst" and self.kinds == ["reverse_query"]:
            raise ValueError(
                "aggregate: worst compares kinds by the row's own answer; reverse_query alone has another: write each"
            )
        return self

    @property
    def forget_facts(self) -> int:
        return 1 if "background_hint" in self.kinds else 0

    def work(self) -> AttackWork:
        """With `aggregate: worst` too, each kind counts as a state: each is asked before the likeliest is known."""
        return work_without_training(states=len(self.kinds))
