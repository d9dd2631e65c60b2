"""Check that a model can be loaded, from its configuration and the headers of its weights. Reads no weight values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unlearn_sweep.engine.privacy.error_text import first_line

OF_LIBRARIES = (ImportError, RuntimeError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError)
"""What torch and transformers raise where values of `config.json` do not go together."""


def misfits(named: Mapping[str, str | None]) -> dict[str, str]:
    """Return why models cannot be loaded, by their name in `named`. One line each.

    Folders are checked, and hub ids whose files are in the cache. None and other hub ids are skipped.
    """
    places = {name: place for name, path in named.items() if path and (place := _on_this_machine(path)) is not None}
    found = {name: why_not_loadable(place) for name, place in places.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def why_not_loadable(folder: Path) -> str | None:
    """Return in one line why transformers cannot load the model in a folder, or None if it can.

    Builds the class that the configuration names on the meta device and compares names and shapes with the headers.
    """
    from transformers.utils import logging as transformers_logging

    from unlearn_sweep.engine.models.loading import load_model

    loud = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # its own report of keys is repeated in the error
    try:
        load_model(str(folder), dtype="stored", device="meta")
    except (ValueError, *OF_LIBRARIES) as error:
        first = first_line(error)
        return first if isinstance(error, ValueError) else f"{folder}: {type(error).__name__}: {first}"
    finally:
        transformers_logging.set_verbosity(loud)
    return None


def _on_this_machine(path: str) -> Path | None:
    """Return the folder of a model whose files are on this machine, the cache of the hub included."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    from unlearn_sweep.engine.models.hub import cached_folder

    return cached_folder(path)
