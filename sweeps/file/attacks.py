"""Read and check the attacks of a sweep file. Fill in defaults and assign unique labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from unlearn_sweep.engine.job import AttackSettings
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS, CHAIN
from unlearn_sweep.evaluators.attacks.presets import PRESETS
from unlearn_sweep.evaluators.benchmarks.task_settings import KNOWN
from unlearn_sweep.evaluators.cards import AttackCard
from unlearn_sweep.sweeps.file import pydantic_errors
from unlearn_sweep.sweeps.file.attack_grid import FORM as FORM_OF_GRID
from unlearn_sweep.sweeps.file.attack_grid import GRID, axes_of, expanded, is_grid
from unlearn_sweep.sweeps.file.attacker_search import (
    FLOOR,
    SEARCH,
    as_numbered,
    as_setting,
    check_count,
    read_search,
    settings_of,
    split_search,
)
from unlearn_sweep.sweeps.file.paths import check_data_file
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, near_miss, shown
from unlearn_sweep.sweeps.file.yaml_lines import KeyPath
from unlearn_sweep.sweeps.machine import Machine

FINETUNE = "finetune"
PRESET = "preset"
FORM = "a name, or {name: {parameter: value, ...}}"
CHAIN_FORM = "two or more attacks in order: [{quantize: {bits: 4}}, {relearn: {steps: [20]}}]"


def read_attacks(
    attacks: Any, folder: Path, collector: ProblemCollector, machine: Machine | None = None
) -> tuple[AttackSettings, ...]:
    """Return every valid attack in the file, in file order, with defaults and absolute paths. Report mistakes.

    Relative paths start at `folder`. Without `machine`, do not check whether a machine can run the attacks. An attacker
    with a `search` is one attack for each of its settings.
    """
    if not isinstance(attacks, list):
        return ()
    found: list[list[AttackSettings]] = []
    for index, item in enumerate(attacks):
        path: KeyPath = ("attacks", index)
        for entry in _entries(item, path, collector):
            for settings in _read_entry(entry, path, folder, collector):
                if machine is not None:
                    for attack in settings:
                        _check_quantizers(attack, path, machine, collector)
                found.append([attack.model_copy(update={"entry": index}) for attack in settings])
    named = unique_labels([settings[0] for settings in found])
    return tuple(
        attack
        for first, settings in zip(named, found, strict=True)
        for attack in ([first] if first.searched is None else _numbered(first.label, settings))
    )


def _with_search(item: Any, path: KeyPath, folder: Path, collector: ProblemCollector) -> list[AttackSettings]:
    """Return an attack, or each setting of a searched attacker: first the attack as written. Empty if it is invalid."""
    entry, asked = split_search(item) if collector.is_valid(path) else (item, {})
    attack = read_attack(entry, path, folder, collector, whole=True)
    if not asked:
        return [] if attack is None else [attack]
    name, params = next(iter(entry.items()))
    wanted = read_search(ATTACKS[name], asked, params, (*path, name), collector)
    if attack is None or wanted is None:
        return []
    attack = attack.model_copy(update={"label": f"{attack.label}-search"})
    drawn = settings_of(attack, wanted)
    check_count(1 + len(drawn), wanted, (*path, name), collector)
    found = [as_setting(attack, {key: attack.params.get(key) for key in wanted.space}, wanted)]
    for values in drawn:
        checked = _params(ATTACKS[name], {**params, **values}, (*path, name), folder, collector)
        found += [] if checked is None else [as_setting(attack.model_copy(update={"params": checked}), values, wanted)]
    return found if len(found) == len(drawn) + 1 else []


def _numbered(label: str, settings: list[AttackSettings]) -> list[AttackSettings]:
    """Return the settings of an attacker with its unique label, each with a label of its own."""
    return [as_numbered(setting, label, number) for number, setting in enumerate(settings, start=1)]


def _read_entry(item: Any, path: KeyPath, folder: Path, collector: ProblemCollector) -> Iterator[list[AttackSettings]]:
    """Yield the attack of an entry with the settings of its search, or each of a grid; labels say what differs."""
    if not is_grid(item):
        settings = _with_search(item, path, folder, collector)
        yield from [settings] if settings else []
        return
    inner: KeyPath = (*path, GRID)
    asked = item[GRID]
    name, params = next(iter(asked.items())) if isinstance(asked, dict) and len(asked) == 1 else ("", None)
    if not isinstance(params, dict) or not collector.is_valid(inner):
        collector.add(inner, "not a grid", given=shown(asked), allowed=FORM_OF_GRID)
        return
    if name in ATTACKS and not axes_of(name, params):
        collector.add(
            (*inner, name),
            "no parameter has several values",
            given=shown(params),
            allowed=FORM_OF_GRID,
            advice="write the attack without grid, or give a list",
        )
        return
    for values, label in expanded(name, params):
        attack = read_attack({name: values}, inner, folder, collector)
        if attack is not None:
            yield [attack.model_copy(update={"label": f"{attack.label}-{label}"})]


def _entries(item: Any, path: KeyPath, collector: ProblemCollector) -> list[Any]:
    """Return the attacks of one list item: the item itself, or all attacks of a preset for `preset: name`."""
    if not isinstance(item, dict) or set(item) != {PRESET} or not collector.is_valid(path):
        return [item]
    name = item[PRESET]
    if name not in PRESETS:
        collector.add(
            (*path, PRESET),
            "unknown preset",
            given=shown(name),
            allowed=listing(PRESETS),
            nearest=near_miss(str(name), PRESETS),
        )
        return []
    return list(PRESETS[name].attacks)


def _check_quantizers(attack: AttackSettings, path: KeyPath, machine: Machine, collector: ProblemCollector) -> None:
    """Report quantization backends that cannot run on this machine, including those in chains."""
    links = [next(iter(step.items())) for step in attack.params["steps"]] if attack.name == CHAIN else []
    for name, params in links or [(attack.name, attack.params)]:
        backend = params.get("backend", "plain") if name == "quantize" else "plain"
        obstacles = [] if backend == "plain" or backend in machine.quantizers else [f"{backend} is not installed"]
        if backend == "bitsandbytes" and not machine.gpus:
            obstacles.append("this machine has no GPU")
        if obstacles:
            message = f"{backend} cannot run: {'; '.join(obstacles)}"
            collector.add(path, message, given=backend, allowed="backend: plain", advice="write backend: plain")


def read_attack(
    item: Any, path: KeyPath, folder: Path, collector: ProblemCollector, *, whole: bool = False
) -> AttackSettings | None:
    """Return one attack. Report mistakes and return None if it is invalid. A name alone means default parameters.

    `whole`: the item is an entry of the file, which may also be a preset or a grid, or have a search.
    """
    if not collector.is_valid(path):
        return None
    entry = {item: {}} if isinstance(item, str) else item
    if not isinstance(entry, dict) or len(entry) != 1:
        allowed = f"{FORM}; names: {listing(ATTACKS)}"
        collector.add(
            path,
            "not one attack",
            given=shown(item),
            allowed=allowed,
            advice="begin each attack with a dash of its own",
        )
        return None
    name, params = next(iter(entry.items()))
    inner = path if isinstance(item, str) else (*path, name)
    if name not in ATTACKS:
        names = [*ATTACKS, *((GRID, PRESET) if whole else ())]
        collector.add_unknown((*path, name), "unknown attack", names, listing(names))
        return None
    card = ATTACKS[name]
    also = (SEARCH, FLOOR) if whole else ()
    values = (
        _chain(params, inner, folder, collector)
        if name == CHAIN
        else _params(card, params, inner, folder, collector, also)
    )
    if values is None:
        return None
    return AttackSettings(label=label_of(name, values), name=name, family=card.family, params=values)


def _params(
    card: AttackCard, params: Any, path: KeyPath, folder: Path, collector: ProblemCollector, also: Sequence[str] = ()
) -> dict[str, Any] | None:
    """Return the parameters with defaults filled in. Report mistakes and return None if they are invalid.

    `also` are keys that may stand beside the parameters and are read apart.
    """
    params = {} if params is None else params
    if not isinstance(params, dict):
        collector.add(
            path, "of the wrong type", given=shown(params), allowed="keys with values: {parameter: value, ...}"
        )
        return None
    try:
        checked = card.params.model_validate(params)
    except ValidationError as error:
        pydantic_errors.report(error, card.params, params, path, collector, also=also)
        return None
    values = complete(checked)
    if card.name == FINETUNE:
        values["data"] = check_data_file(values["data"], (*path, "data"), folder, collector)
        if collector.is_valid(path) and Path(values["data"]).is_file():
            _check_task_file(values, (*path, "data"), collector)
    return values if collector.is_valid(path) else None


def _check_task_file(values: dict[str, Any], path: KeyPath, collector: ProblemCollector) -> None:
    """Check that a fine-tuning file has enough rows, and the task's columns in every row."""
    from unlearn_sweep.evaluators.attacks.finetune_params import FinetuneParams
    from unlearn_sweep.evaluators.benchmarks.task_data import TaskDataError, task_rows

    try:
        task_rows(FinetuneParams.model_validate(values), seed=0)
    except TaskDataError as error:
        collector.add(path, str(error).removeprefix("finetune data: "), given=shown(values["data"]))


def complete(params: BaseModel) -> dict[str, Any]:
    """Return all values as JSON with defaults filled in: writing or omitting a default gives the same attack."""
    return params.model_dump(mode="json")


def _chain(params: Any, path: KeyPath, folder: Path, collector: ProblemCollector) -> dict[str, Any] | None:
    """Return the steps of a chain, each checked like a single attack. Report mistakes and return None if invalid."""
    listed = isinstance(params, list)
    links = params if listed else params.get("steps") if isinstance(params, dict) else None
    inner = path if listed else (*path, "steps")
    if isinstance(params, dict):
        for key in params:
            if key != "steps":
                collector.add_unknown((*path, key), "unknown key", ["steps"], "steps")
    if not isinstance(links, list) or len(links) < 2:
        allowed = f"{CHAIN_FORM}; names: {listing(ATTACKS)}"
        collector.add(inner, "not a chain", given=shown(params), allowed=allowed)
        return None
    steps = [_link(item, (*inner, index), folder, collector) for index, item in enumerate(links)]
    found = [step for step in steps if step is not None]
    return {"steps": found} if len(found) == len(steps) and collector.is_valid(path) else None


def _link(item: Any, path: KeyPath, folder: Path, collector: ProblemCollector) -> dict[str, dict[str, Any]] | None:
    attack = read_attack(item, path, folder, collector)
    return None if attack is None else {attack.name: attack.params}


def label_of(name: str, params: dict[str, Any]) -> str:
    """Return a short name, such as `relearn`, `quantize-4bit`, `finetune-sst2` or `chain-quantize-4bit-relearn`."""
    if name == CHAIN:
        return "-".join([name, *(label_of(*next(iter(step.items()))) for step in params["steps"])])
    if name == FINETUNE:
        data, task = str(params.get("data", "")), params.get("task")
        known = next((word for word in (data, Path(data).stem, task) if word in KNOWN), None)
        return name if known is None else f"{name}-{known}"
    bits = params.get("bits")
    scheme = "-gptq" if params.get("scheme") == "gptq" else ""
    return f"{name}{scheme}-{bits}bit" if isinstance(bits, int) else f"{name}{scheme}"


def unique_labels(attacks: list[AttackSettings]) -> tuple[AttackSettings, ...]:
    """Make the labels unique: the second attack with the same label gets the suffix `-2`, and so on."""
    seen: dict[str, int] = {}
    taken = {attack.label for attack in attacks}
    unique = []
    for attack in attacks:
        seen[attack.label] = number = seen.get(attack.label, 0) + 1
        label = attack.label
        while number > 1 and (label := f"{attack.label}-{number}") in taken:
            seen[attack.label] = number = number + 1
        taken.add(label)
        unique.append(attack.model_copy(update={"label": label}))
    return tuple(unique)
