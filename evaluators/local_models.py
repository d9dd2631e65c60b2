"""Models of others that judge generated answers on this machine: folders with safetensors, named by their content.

An environment variable names the folder, or the hub's `owner/name@revision`, which is fetched when it is first used;
without a revision its verdicts could change from one day to the next, so one has to be given.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from unlearn_sweep.evaluators.hub_id import is_hub_id

FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model"]
"""What is fetched of a hub model: weights that are no pickles, and the tokenizer."""


def named_model(variable: str, what: str, environment: Mapping[str, str] | None = None) -> str:
    """The model that a variable names: a folder that holds one, or a hub id with its revision.

    Raises:
        ValueError: none is named, or what is named is neither.
    """
    named = (os.environ if environment is None else environment).get(variable, "")
    if not named:
        raise ValueError(f"{what} is asked for: set {variable} to the folder of one, or to owner/name@revision")
    return named if _is_hub_id(named) else str(model_folder(named, variable))


def model_folder(named: str, variable: str) -> Path:
    """The folder that a variable names.

    Raises:
        ValueError: it holds no model with safetensors weights.
    """
    folder = Path(named).expanduser()
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise ValueError(f"{variable}: {folder} is no folder with config.json and safetensors weights")
    return folder


def model_identity(named: str) -> str:
    """What decides a model's verdicts: the content of a folder, or a hub id with its revision."""
    return named if _is_hub_id(named) else folder_identity(Path(named))


def local_folder(named: str) -> Path:
    """The folder of a named model; one of the hub is fetched, or found where it was fetched before."""
    if not _is_hub_id(named):
        return Path(named)
    from huggingface_hub import snapshot_download

    owner_and_name, _, revision = named.partition("@")
    return Path(snapshot_download(owner_and_name, revision=revision, allow_patterns=FETCHED))


def _is_hub_id(named: str) -> bool:
    return is_hub_id(named, pinned=True) and not Path(named).exists()


@functools.cache
def folder_identity(folder: Path) -> str:
    """Content hash of configuration and weights."""
    digest = hashlib.sha256()
    for file in (folder / "config.json", *sorted(folder.glob("*.safetensors"))):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
