"""Read `search` and `utility_floor` of an attack: a small study over the attacker's settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from unlearn_sweep.engine.job import AttackerSearch, AttackSettings
from unlearn_sweep.engine.samplers.attacker_settings import attacker_settings
from unlearn_sweep.engine.search_space import Choice, Dimension, Fixed, Scalar
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS, CHAIN
from unlearn_sweep.evaluators.cards import AttackCard
from unlearn_sweep.sweeps.file.dimensions import RANGES, make_range
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, shown
from unlearn_sweep.sweeps.file.units import plain_number
from unlearn_sweep.sweeps.file.yaml_lines import KeyPath

SEARCH, FLOOR, TRIALS = "search", "utility_floor", "trials"
DEFAULT_FLOOR = 0.9
MOST_TRIALS = 256
FORMS = "{uniform: [low, high]}, {log: [low, high]}, {int: [low, high]}, {log_int: [low, high]} or {choice: [a, b]}"
EXAMPLE = "{trials: 12, learning_rate: {log: [1e-6, 1e-4]}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A search as the file asks for it: its space, the number of settings and the floor of utility."""

    space: Mapping[str, Dimension]
    trials: int
    floor: float


def split_search(item: Any) -> tuple[Any, dict[str, Any]]:
    """Return an attack's entry without `search` and `utility_floor`, and these two where they are given."""
    if not isinstance(item, dict) or len(item) != 1:
        return item, {}
    name, params = next(iter(item.items()))
    if name not in ATTACKS or name == CHAIN or not isinstance(params, dict):
        return item, {}
    asked = {
        key: params[key] for key in (SEARCH, FLOOR) if key in params and key not in ATTACKS[name].params.model_fields
    }
    return {name: {key: value for key, value in params.items() if key not in asked}}, asked


def read_search(
    card: AttackCard, asked: Mapping[str, Any], params: Mapping[str, Any], path: KeyPath, collector: ProblemCollector
) -> Wanted | None:
    """Return the search. Report every mistake in it and return None if there is one.

    `params` are the attack's other parameters as the file gives them, `path` is the place of the attack's parameters.
    """
    floor = _floor(asked.get(FLOOR, DEFAULT_FLOOR), (*path, FLOOR), collector)
    place = (*path, SEARCH)
    search = asked.get(SEARCH)
    if SEARCH not in asked:
        collector.add((*path, FLOOR), "without a search", given=shown(asked[FLOOR]), advice=f"add search: {EXAMPLE}")
        return None
    if not isinstance(search, dict):
        collector.add(place, "not a search", given=shown(search), allowed=EXAMPLE)
        return None
    space = {
        str(name): dimension
        for name, form in search.items()
        if name != TRIALS and (dimension := _dimension(card, name, form, params, place, collector)) is not None
    }
    trials = _trials(search, place, collector) if collector.is_valid((*place, TRIALS)) else None
    if not [name for name in search if name != TRIALS]:
        collector.add(place, "searches nothing", allowed=EXAMPLE, advice="name a parameter and its range")
    if floor is None or trials is None or not collector.is_valid(place):
        return None
    return Wanted(space=space, trials=trials, floor=floor)


def settings_of(attack: AttackSettings, wanted: Wanted) -> list[dict[str, Scalar]]:
    """Return the searched values of each setting after the first. The first is the attack as the file has it."""
    own = {name: attack.params.get(name) for name in wanted.space}
    identity = digest({"attack": attack.name, "params": {k: v for k, v in attack.params.items() if k not in own}})
    drawn = attacker_settings(identity, wanted.space, wanted.trials - 1)
    if own in drawn:
        drawn = attacker_settings(identity, wanted.space, wanted.trials)
    return [values for values in drawn if values != own][: wanted.trials - 1]


def as_setting(attack: AttackSettings, values: Mapping[str, Any], wanted: Wanted) -> AttackSettings:
    """Return a setting of an attacker. `attack` has the parameters of the setting and the label of the attacker."""
    search = AttackerSearch(label=attack.label, trials=wanted.trials, utility_floor=wanted.floor, values=dict(values))
    return attack.model_copy(update={"searched": search})


def as_numbered(setting: AttackSettings, label: str, number: int) -> AttackSettings:
    """Return a setting with the unique label of its attacker and with its own, such as `relearn-search-03`."""
    if setting.searched is None:
        raise ValueError(f"attack {setting.label!r} is no setting of a searched attacker")
    searched = setting.searched.model_copy(update={"label": label})
    return setting.model_copy(update={"label": f"{label}-{number:02d}", "searched": searched})


def check_count(settings: int, wanted: Wanted, path: KeyPath, collector: ProblemCollector) -> None:
    """Report a search that asks for more trials than there are different settings."""
    if settings < wanted.trials:
        collector.add(
            (*path, SEARCH, TRIALS),
            "more than there are settings",
            given=shown(wanted.trials),
            allowed=f"at most {settings}, with the attack as it is written",
            advice=f"write {settings}",
        )


def _floor(value: Any, path: KeyPath, collector: ProblemCollector) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        collector.add(
            path,
            "not a share of the utility",
            given=shown(value),
            allowed="a number from 0 to 1",
            advice=f"write {DEFAULT_FLOOR}",
        )
        return None
    return float(value)


def _trials(search: Mapping[Any, Any], place: KeyPath, collector: ProblemCollector) -> int | None:
    allowed = f"a whole number from 2 to {MOST_TRIALS}"
    if TRIALS not in search:
        collector.add(place, "says no number of trials", allowed=f"trials: {allowed}", advice="add trials: 12")
        return None
    value = search[TRIALS]
    if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= MOST_TRIALS:
        collector.add((*place, TRIALS), "not a number of trials", given=shown(value), allowed=allowed)
        return None
    return value


def _dimension(
    card: AttackCard, name: Any, form: Any, params: Mapping[str, Any], place: KeyPath, collector: ProblemCollector
) -> Dimension | None:
    """Return one dimension, each of its values checked as the attack checks its parameters."""
    path, names = (*place, name), list(card.params.model_fields)
    if name not in names:
        names = [TRIALS, *names]
        collector.add_unknown(path, f"no parameter of {card.name}", names, listing(names))
        return None
    if not isinstance(form, dict) or len(form) != 1:
        advice = f"write {{choice: {shown(form)}}}" if isinstance(form, list) else "write a range or a choice"
        collector.add(path, "not one space", given=shown(form), allowed=FORMS, advice=advice)
        return None
    word, values = next(iter(form.items()))
    if word not in (*RANGES, "choice"):
        kinds = [*RANGES, "choice"]
        collector.add_unknown((*path, word), "unknown kind of space", kinds, listing(kinds))
        return None
    inner = (*path, word)
    if not isinstance(values, list) or len(values) < 2 or (word != "choice" and len(values) != 2):
        wanted = "a list of two values or more" if word == "choice" else "two numbers: [low, high]"
        collector.add(inner, "not a space to search", given=shown(values), allowed=wanted)
        return None
    for index, value in enumerate(values):
        _check_value(card, name, value, params, (*inner, index), collector, whole=word in ("int", "log_int", "choice"))
    return _built(word, values, inner, collector) if collector.is_valid(inner) else None


def _check_value(
    card: AttackCard,
    name: str,
    value: Any,
    params: Mapping[str, Any],
    path: KeyPath,
    collector: ProblemCollector,
    *,
    whole: bool,
) -> None:
    """Report a value that the attack refuses for its parameter."""
    if isinstance(value, str) and not whole and (found := plain_number(value, name)):
        collector.add(path, found[0], given=shown(value), advice=found[1])
        return
    if not isinstance(value, bool | int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
        collector.add(path, "of the wrong type", given=shown(value), allowed="a number, a word, true or false")
        return
    try:
        card.params.model_validate({**params, name: value})
    except ValidationError as error:
        own = [entry for entry in error.errors(include_url=False) if not entry["loc"] or entry["loc"][0] == name]
        if own:
            collector.add(path, f"{card.name} refuses it: {own[0]['msg']}", given=shown(value))


def _built(word: str, values: list[Any], path: KeyPath, collector: ProblemCollector) -> Dimension | None:
    if word == "choice":
        if len({(type(value), value) for value in values}) < len(values):
            collector.add(path, "repeats a value", given=shown(values), advice="keep each once")
            return None
        return Choice(tuple(values))
    low, high = values
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in values):
        collector.add(path, "not a range", given=shown(values), allowed="two numbers: [low, high]")
        return None
    if low >= high or (word in ("log", "log_int") and low <= 0):
        above = " above 0" if word in ("log", "log_int") else ""
        collector.add(path, "not a range", given=shown(values), allowed=f"low first, two different numbers{above}")
        return None
    if word in ("int", "log_int") and not all(isinstance(end, int) for end in values):
        collector.add(path, "not a range of whole numbers", given=shown(values), advice="write whole numbers")
        return None
    dimension = make_range(word, low, high)
    return None if isinstance(dimension, Fixed) else dimension
