"""Check how a file trains its original and gold models: a missing base, learning rates that are too high."""

from __future__ import annotations

import json
from pathlib import Path

from unlearn_sweep.sweeps.file.file_schema import SourceSection, SweepFile
from unlearn_sweep.sweeps.file.paths import absolute
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import shown

HIGHEST_RATE = 1e-3
"""Highest learning rate for fine-tuning all weights of a pretrained model. It is 50 times what papers use for models of
1B parameters and more, and twice what a model of 135M parameters tolerates (docs/real_model.md)."""
HIGHEST_LORA_RATE = 1e-2
NARROW = 512
"""Models with a smaller hidden size are toy models, which need learning rates that ruin a pretrained model."""


def check_recipes(file: SweepFile, folder: Path, collector: ProblemCollector) -> None:
    """Report trainings of the original or gold model that cannot give a usable model."""
    _check_gold_base(file, collector)
    for name, source in (("model", file.model), ("gold", file.gold)):
        _check_rate(file, name, source, folder, collector)


def _check_gold_base(file: SweepFile, collector: ProblemCollector) -> None:
    gold = file.gold.train
    if file.model.path is None or gold is None or gold.base is not None or not collector.is_valid(("gold", "train")):
        return
    message = "without base, gold would be a small model trained from scratch, but the original is a given model"
    advice = "write the model that the original was fine-tuned from as base"
    collector.add(("gold", "train"), message, allowed="base: a model folder or hub id", advice=advice)


def _check_rate(file: SweepFile, name: str, source: SourceSection, folder: Path, collector: ProblemCollector) -> None:
    recipe, path = source.train, (name, "train", "learning_rate")
    if recipe is None or recipe.learning_rate is None or not collector.is_valid(path):
        return
    shared = file.model.train if name == "gold" and recipe.config is None else None
    base = recipe.base or (shared.base if shared is not None else None)
    lora = file.training.lora is not None
    highest = HIGHEST_LORA_RATE if lora else HIGHEST_RATE
    if base is None or recipe.learning_rate <= highest or _is_narrow(absolute(base, folder)):
        return
    what = "adapters on" if lora else "all weights of"
    message = f"a rate that ruins a pretrained model: it fine-tunes {what} {base}"
    usual = "about 2e-4" if lora else "1e-5 to 5e-5, up to 5e-4 below 200M parameters"
    allowed = f"at most {highest:g} for a base of hidden size {NARROW} or more"
    collector.add(path, message, given=shown(recipe.learning_rate), allowed=allowed, advice=f"write {usual}")


def _is_narrow(folder: Path) -> bool:
    """Return whether the model in `folder` has a hidden size below `NARROW`; False if config.json is unreadable."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    width = config.get("hidden_size", config.get("n_embd")) if isinstance(config, dict) else None
    return isinstance(width, int) and width < NARROW
