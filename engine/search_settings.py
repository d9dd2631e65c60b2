"""Search options. Does not import optuna, so that checking a sweep file is fast."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from unlearn_sweep.engine.samplers.catalog import SAMPLERS
from unlearn_sweep.engine.search_space import Scalar
from unlearn_sweep.engine.settings import Count, Settings
from unlearn_sweep.engine.stopping.settings import StopTrainings, stopping_of

Allocation = Literal["equal", "free"]
ObjectiveName = Literal["ue", "ut", "rob"]
OBJECTIVE_NAMES: Mapping[str, str] = MappingProxyType({"ue": "UE", "ut": "UT", "rob": "Rob"})


class Budget(Settings):
    """Limits after which no new trial starts, whatever `trials` says. Running trials finish."""

    gpu_hours: float | None = Field(default=None, gt=0, description="hours times GPUs in use")
    wall_hours: float | None = Field(default=None, gt=0, description="hours since the start of the run")
    stale_trials: Count | None = Field(
        default=None, description="settled trials in a row that together add less than stale_gain to the front"
    )
    stale_gain: float = Field(default=0.01, ge=0, lt=1, description="growth of the hypervolume, as a share of it")


class SearchOptions(Settings):
    """The options with the same form in a sweep file and in the engine."""

    sampler: str = Field(
        default="tpe", min_length=1, description=f"who proposes: {', '.join(SAMPLERS.own)}, or one of a plugin"
    )
    sampler_options: dict[str, Any] = Field(default={}, description="options of a plugin's sampler")
    allocation: Allocation = Field(
        default="equal",
        description="equal: every method gets as many trials; free: more for methods whose trials reach the front",
    )
    seeds_for_finalists: Count = Field(
        default=1, description="seeds each member of the front is run with in all, after the search"
    )
    budget: Budget = Field(default=Budget(), description="limits of time")
    startup_trials: Count = Field(
        default=10,
        description=f"random trials before {', '.join(card.name for card in SAMPLERS.own.values() if card.models)} "
        "model anything",
    )
    grid_points: int | None = Field(default=None, ge=2, le=1000, description="values a grid takes from each range")
    unmeasured: Literal["stop", "go_on"] = Field(
        default="stop",
        description="where original and gold leave an objective without a value for every trial: stop before the "
        "search, or go on with the others",
    )
    stop_trainings: Annotated[
        StopTrainings | None, BeforeValidator(stopping_of, json_schema_input_type=bool | StopTrainings | None)
    ] = Field(
        default=None,
        description="stop trainings that the front would beat, judged by probes on their way: true, or settings; left "
        "out: every training runs to its end",
    )
    reproducible: bool = Field(default=False, description="the same file gives the same trials, whatever the timing")


class Configuration(Settings):
    """A method with values of its parameters."""

    method: str
    params: dict[str, Scalar] = Field(default_factory=dict)


class LearntTrial(Configuration):
    """A trial of another sweep that the sampler learns from: its searched parameters, inside this search space.

    `values` are its objectives by name; None if its model collapsed.
    """

    values: dict[ObjectiveName, float] | None


class OtherSweep(Settings):
    """What another sweep measured: its complete trials with all their parameters, searched here or not.

    The values of a trial have the objectives that were measured; a Rob that is a bound is left out.
    """

    name: str
    trials: list[LearntTrial]


class SearchSettings(SearchOptions):
    """How the space is searched.

    Attributes:
        trials: number of trials of the search.
        prune: skip the remaining attacks of a trial that can no longer reach the front.
        minimum: the constraints. A feasible trial reaches at least this value of each objective.
        first: configurations to try before the sampler's, each with its searched parameters only.
        beliefs: settings, at most one for each method, around which its early trials are drawn.
        learnt: trials of another sweep that tell the sampler where good settings lie; they are no trials of this one.
        others: what the sweeps of `learn_from` and `warm_start` measured, to be compared with this one's values.
        trains: if False, only models of the store are measured (`rescore`); a trial without its model fails.
    """

    trials: Count
    prune: bool = True
    minimum: dict[ObjectiveName, float] = Field(default_factory=dict)
    first: list[Configuration] = Field(default_factory=list)
    beliefs: list[Configuration] = Field(default_factory=list)
    learnt: list[LearntTrial] = Field(default_factory=list)
    others: list[OtherSweep] = Field(default_factory=list)
    trains: bool = True


class SearchPlan(SearchSettings):
    """Search settings for the broker.

    Attributes:
        seed: seed of the search.
        objectives: the objectives in Optuna's order.
        window: if set, trial n is proposed from the results of the trials up to n - window. If None, from all results.
    """

    seed: int
    objectives: tuple[ObjectiveName, ...] = ("ue", "ut", "rob")
    window: int | None = None

    @classmethod
    def of(
        cls, settings: SearchSettings, *, seed: int, objectives: tuple[ObjectiveName, ...], window: int | None
    ) -> SearchPlan:
        options = {name: getattr(settings, name) for name in SearchSettings.model_fields}
        return cls(**options, seed=seed, objectives=objectives, window=window)
