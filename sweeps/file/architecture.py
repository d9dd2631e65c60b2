"""Find settings that a model's class does not support. Read its configuration and weight names, but no weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import AttackSettings
from unlearn_sweep.engine.models.headers import BrokenWeightsError, ModelFolder
from unlearn_sweep.evaluators.attacks.catalog import CHAIN
from unlearn_sweep.sweeps.file.file_schema import SweepFile
from unlearn_sweep.sweeps.file.paths import absolute
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.yaml_lines import KeyPath

NO_SDPA = frozenset({"bloom", "gemma2", "gpt_oss", "gptj", "mamba", "mpt"})
"""Common model types without sdpa. Others are detected when the model is loaded."""
WRITERS = (".o_proj.weight", ".down_proj.weight")


def check_architecture(
    file: SweepFile, attacks: Sequence[AttackSettings], folder: Path, collector: ProblemCollector
) -> None:
    """Report settings and attacks that the original model does not support, if it is a local folder."""
    if file.model.path is None or not collector.is_valid(("model", "path")):
        return
    place = absolute(file.model.path, folder)
    if not place.is_dir():
        return
    try:
        check_class(ModelFolder(place), file, attacks, collector)
    except BrokenWeightsError:
        return  # reported as a fault of the folder


def check_class(
    model: ModelFolder, file: SweepFile, attacks: Sequence[AttackSettings], collector: ProblemCollector
) -> None:
    """Report settings and attacks that `model` does not support."""
    kind = str(model.config.get("model_type"))
    if file.model.attention == "sdpa" and kind in NO_SDPA:
        message = f"a model of type {kind} has no sdpa"
        collector.add(("model", "attention"), message, given="sdpa", allowed="auto, eager", advice="write auto")
    lora = file.training.lora
    if lora is not None and lora.dropout > 0 and lora.targets == "all" and has_experts(model.tensors):
        message = f"adapters of experts take no dropout, and this model ({kind}) is a mixture of experts"
        allowed = "dropout: 0, or targets: attention"
        collector.add(("training", "lora", "dropout"), message, given=f"{lora.dropout:g}", allowed=allowed)
    for attack in attacks:
        place: KeyPath = ("attacks", attack.entry)
        if not collector.is_valid(place):
            continue
        in_weights = any(name == "abliterate" and params.get("where") == "weights" for name, params in _links(attack))
        if in_weights and not writes_plainly(model.tensors):
            message = (
                f"a model of type {kind} does not write to its residual stream through plain o_proj and down_proj "
                "layers, so no direction can be taken out of its weights"
            )
            collector.add(
                ("attacks", attack.entry), message, allowed="where: activations", advice="write where: activations"
            )
        by_inputs = any(name == "prune" and params.get("by") == "wanda" for name, params in _links(attack))
        if by_inputs and has_experts(model.tensors):
            message = f"a model of type {kind} is a mixture of experts, and the input of each expert cannot be read"
            allowed = "by: magnitude, set_difference"
            collector.add(
                ("attacks", attack.entry), message, given="wanda", allowed=allowed, advice="write by: magnitude"
            )


def _links(attack: AttackSettings) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield name and parameters of an attack and, for a chain, also of each of its steps."""
    yield attack.name, attack.params
    for link in attack.params.get("steps", ()) if attack.name == CHAIN else ():
        for name, params in link.items():
            yield name, params or {}


def has_experts(names: Iterable[str]) -> bool:
    return any(".experts." in name for name in names)


def writes_plainly(names: Iterable[str]) -> bool:
    """Return whether the blocks write to the residual stream only through plain `o_proj` and `down_proj` layers.

    False for mixtures of experts, and if the outputs are normalized before they are added.
    """
    names = list(names)
    if has_experts(names) or any("post_feedforward_layernorm" in name for name in names):
        return False
    return all(any(name.endswith(writer) for name in names) for writer in WRITERS)
