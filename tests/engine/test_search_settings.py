"""Samplers and search options are declared once. Oracle: Optuna's own classes, and hand-written values."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.samplers import NSGAIIISampler, NSGAIISampler, RandomSampler

from unlearn_sweep.engine.samplers.catalog import SAMPLERS
from unlearn_sweep.engine.search_settings import (
    Budget,
    Configuration,
    LearntTrial,
    OtherSweep,
    SearchPlan,
    SearchSettings,
)
from unlearn_sweep.engine.search_space import MethodSpace, Uniform
from unlearn_sweep.engine.stopping.settings import StopTrainings
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.engine.study.sampling import make_sampler


def test_every_sampler_has_its_card_and_runs() -> None:
    made = {name: type(make_sampler(name, seed=1, startup=4)) for name in SAMPLERS}
    assert made == {
        "tpe": RandomSampler,
        "nsga2": NSGAIISampler,
        "nsga3": NSGAIIISampler,
        "gp": RandomSampler,
        "noisy": RandomSampler,
        "qmc": RandomSampler,
        "random": RandomSampler,
        "grid": RandomSampler,
    }


def test_a_plan_holds_every_option_of_the_settings() -> None:
    settings = SearchSettings(
        trials=7,
        sampler="nsga2",
        sampler_options={"width": 0.1},
        allocation="free",
        startup_trials=3,
        grid_points=5,
        seeds_for_finalists=2,
        stop_trainings=StopTrainings(rows=4),
        reproducible=True,
        budget=Budget(gpu_hours=1.0),
        prune=False,
        unmeasured="go_on",
        minimum={"ut": 0.5},
        first=[Configuration(method="npo")],
        beliefs=[Configuration(method="npo", params={"beta": 0.1})],
        trains=False,
        learnt=[LearntTrial(method="npo", values=None)],
        others=[OtherSweep(name="smaller", trials=[])],
    )
    plan = SearchPlan.of(settings, seed=4, objectives=("ue", "ut"), window=8)
    assert plan.model_dump(include=set(SearchSettings.model_fields)) == settings.model_dump()
    assert (plan.seed, plan.objectives, plan.window) == (4, ("ue", "ut"), 8)
    defaults = SearchSettings(trials=1).model_dump()
    assert [name for name, value in settings.model_dump().items() if defaults[name] == value] == []


def test_a_sampler_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    space = MethodSpace(method="npo", params={"beta": Uniform(0.0, 1.0)})
    with pytest.raises(ValueError, match="no sampler 'tpee'; there are tpe, nsga2"):
        StudyBroker(tmp_path / "j", [space], SearchPlan(trials=1, sampler="tpee", seed=1), identity={})
