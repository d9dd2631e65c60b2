"""Read the configuration of a model folder with transformers, and find the class it describes. Never run its code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from unlearn_sweep.engine.models.headers import read_json
from unlearn_sweep.engine.privacy.error_text import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def read_config(folder: Path) -> PreTrainedConfig:
    """Return the configuration of a model folder.

    Raises:
        ValueError: transformers does not know this type of model, or a value of `config.json` is not usable.
    """
    from transformers import AutoConfig

    written = read_json(folder / "config.json")
    kind = written.get("model_type")
    if kind not in _known_types():
        raise ValueError(_unknown(folder, kind, own_code="auto_map" in written))
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        first = first_line(error)
        raise ValueError(f"{folder}: config.json cannot be read ({type(error).__name__}: {first})") from error


def model_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Return the causal language model class of a configuration.

    Raises:
        ValueError: transformers has none for this type of model.
    """
    from transformers import AutoModelForCausalLM

    found = AutoModelForCausalLM._model_mapping.get(type(config), None)
    if found is None:
        raise ValueError(f"a model of type {config.model_type} is no causal language model in transformers")
    return cast("type[PreTrainedModel]", found[0] if isinstance(found, list | tuple) else found)


def _known_types() -> frozenset[str]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return frozenset(CONFIG_MAPPING.keys())


def _unknown(folder: Path, kind: object, *, own_code: bool) -> str:
    import transformers

    if kind is None:
        return f"{folder}: config.json has no model_type, so the class of the model is unknown"
    own = " The code that comes with it (auto_map) is never run." if own_code else ""
    return (
        f"{folder}: transformers {transformers.__version__} has no model of type {kind}.{own} Update transformers if a "
        "later version has it, else use a checkpoint of a class that it has"
    )
