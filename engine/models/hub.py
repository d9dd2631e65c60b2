"""Check whether models and data sets are available, from this machine's cache or from the hub. Imports no torch."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from unlearn_sweep.engine.models.headers import INDEX, WHOLE, BrokenWeightsError, read_json
from unlearn_sweep.engine.models.inspection import PICKLES
from unlearn_sweep.engine.privacy.error_text import first_line

ANSWER_TIMEOUT_S = 10.0
LISTED_OF_OWNER = 200
Kind = Literal["model", "dataset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """Why something cannot be had from the hub.

    Attributes:
        words: One line: what is missing and what to do. Contains no token.
        certain: The hub said so. False if it could not be asked; the files may still be there when the sweep runs.
    """

    words: str
    certain: bool

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class HubId:
    """A repository of the hub, `owner/name[@revision]`.

    Attributes:
        name: `owner/name`.
        revision: Branch, tag or commit; None for the newest.
        kind: What the repository holds.
    """

    name: str
    revision: str | None = None
    kind: Kind = "model"

    @classmethod
    def of(cls, path: str, kind: Kind = "model") -> HubId:
        name, _, revision = path.partition("@")
        return cls(name=name, revision=revision or None, kind=kind)

    def __str__(self) -> str:
        return self.name + (f"@{self.revision}" if self.revision else "")

    @property
    def fetch(self) -> str:
        """What to run on a machine with a network."""
        data = " --repo-type dataset" if self.kind == "dataset" else ""
        pinned = f" --revision {self.revision}" if self.revision else ""
        return f"fetch it where there is a network: hf download {self.name}{data}{pinned}"

    @property
    def page(self) -> str:
        return f"https://huggingface.co/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    @property
    def cached(self) -> Path | None:
        """The newest snapshot in this machine's cache, or that of `revision`; None if there is none."""
        folder = _cache() / f"{self.kind}s--{self.name.replace('/', '--')}"
        named = folder / "refs" / (self.revision or "main")
        commit = named.read_text(encoding="utf-8").strip() if named.is_file() else self.revision
        place = folder / "snapshots" / commit if commit else None
        return place if place is not None and place.is_dir() else None


def missing_from_hub(wanted: HubId, known: Iterable[str] = (), *, weights: bool = True) -> Unavailable | None:
    """Return why a repository is unavailable and what to do, or None if it is cached or can be downloaded.

    Query the hub only if it is not cached, with a timeout of 10 s. `known` are ids to suggest one of if there is none
    of this name. `weights` false: a tokenizer alone is wanted.
    """
    if is_cached(wanted, weights=weights):
        return None
    import httpx2
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        words = f"{wanted} is not in this machine's cache, and the hub is switched off (HF_HUB_OFFLINE); {wanted.fetch}"
        return Unavailable(words=words, certain=False)
    api = HfApi()
    try:
        ask = api.model_info if wanted.kind == "model" else api.dataset_info
        info = ask(wanted.name, revision=wanted.revision, timeout=ANSWER_TIMEOUT_S)
        if info.gated:
            api.auth_check(wanted.name, repo_type=wanted.kind)
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        return refused(wanted, error, known)
    return _unusable(wanted, [file.rfilename for file in info.siblings or ()]) if weights else None


def refused(wanted: HubId, error: Exception, known: Iterable[str] = ()) -> Unavailable:
    """Describe an error of the hub client in one line, with what to do."""
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    what = "model" if wanted.kind == "model" else "data set"
    folder = "no such folder, and " if wanted.kind == "model" else ""
    if isinstance(error, GatedRepoError):
        words = (
            f"{wanted} is gated: request access on its page ({wanted.page}), then log in (hf auth login, or HF_TOKEN)"
        )
    elif isinstance(error, RevisionNotFoundError):
        words = f"{wanted}: the {what} {wanted.name} has no revision {wanted.revision}{_revisions(wanted)}"
    elif isinstance(error, RepositoryNotFoundError):
        near = difflib.get_close_matches(wanted.name, _names_near(wanted, known), n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        words = f"{wanted}: {folder}the hub has no such {what}, or it is private and needs a login{meant}"
    elif isinstance(error, LocalEntryNotFoundError | ConnectionError | httpx2.TransportError):
        return _unreachable(wanted)
    else:
        first = first_line(error)
        reason = f"{type(error).__name__}: {first}"
        words = f"{wanted}: {folder}the hub did not return this {what} ({reason}); {wanted.fetch}"
    certain = isinstance(error, GatedRepoError | RevisionNotFoundError | RepositoryNotFoundError)
    return Unavailable(words=words, certain=certain)


def why_not(path: str, error: Exception) -> str:
    """Describe an error of the hub client about a model in one line, with what to do. Contains no token."""
    return refused(HubId.of(path), error).words


def is_cached(wanted: HubId, *, weights: bool = True) -> bool:
    """Return whether this machine's cache has the repository: a model with all its weights, any file of a data set.

    `weights` false: a model's configuration is enough, because its tokenizer alone is wanted.
    """
    if wanted.kind == "dataset" and any(_data_cache().glob(f"{wanted.name.replace('/', '___')}/*")):
        return wanted.revision is None or wanted.cached is not None
    folder = wanted.cached
    if folder is None or wanted.kind == "dataset":
        return folder is not None
    return (folder / "config.json").is_file() and (not weights or _has_weights(folder))


def cached_folder(path: str) -> Path | None:
    """Return the snapshot of a model in this machine's cache if it has configuration and all weights, else None."""
    wanted = HubId.of(path)
    return wanted.cached if is_cached(wanted) else None


def _has_weights(folder: Path) -> bool:
    """Return whether a snapshot has the weights that would be loaded. A download may have been cut off."""
    if (folder / WHOLE).is_file():
        return True
    try:
        listed = read_json(folder / INDEX).get("weight_map")
    except BrokenWeightsError:
        return False
    return isinstance(listed, dict) and all((folder / str(name)).is_file() for name in listed.values())


def unavailable(named: Mapping[str, HubId], known: Iterable[str] = ()) -> dict[str, Unavailable]:
    """Return why repositories are unavailable, by their name in `named`. A hub that cannot be reached is asked once."""
    found: dict[str, Unavailable] = {}
    silent = False
    for name, wanted in named.items():
        weights = not name.endswith("tokenizer")
        if silent and not is_cached(wanted, weights=weights):
            reason: Unavailable | None = _unreachable(wanted)
        else:
            reason = missing_from_hub(wanted, known, weights=weights)
        if reason is not None:
            found[name] = reason
            silent |= not reason.certain
    return found


def model_ids(named: Mapping[str, str | None]) -> dict[str, HubId]:
    """Return the models that are named by a hub id. Absolute paths, folders and None are skipped."""
    given = {name: path for name, path in named.items() if path and not path.startswith("/")}
    return {name: HubId.of(path) for name, path in given.items() if not Path(path).expanduser().is_dir()}


def _unreachable(wanted: HubId) -> Unavailable:
    folder = "no such folder, and " if wanted.kind == "model" else ""
    return Unavailable(words=f"{wanted}: {folder}the hub cannot be reached; {wanted.fetch}", certain=False)


def _unusable(wanted: HubId, files: list[str]) -> Unavailable | None:
    """Return why the files of a model repository are no model, or None. An id of a tokenizer alone passes."""
    if wanted.kind != "model" or not {"config.json", "adapter_config.json"} & set(files):
        return None
    if any(fnmatch(name, "*.safetensors") for name in files) and "adapter_config.json" not in files:
        return None
    pickled = [name for name in files if any(fnmatch(name, pattern) for pattern in PICKLES)]
    if "adapter_config.json" in files:
        words = f"{wanted} is an adapter, not a model: merge it into its base with merge_and_unload and name the folder"
    elif pickled:
        words = f"{wanted} has only pickled weights ({pickled[0]}), which can run code when opened: convert it first"
    else:
        return None
    return Unavailable(words=words, certain=True)


def _revisions(wanted: HubId) -> str:
    """Return the nearest revision that the hub has, or the first few; empty if it does not say."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        refs = HfApi().list_repo_refs(wanted.name, repo_type=wanted.kind)
    except (HfHubHTTPError, httpx2.HTTPError, OSError):
        return ""
    names = [ref.name for ref in (*refs.branches, *refs.tags)]
    near = difflib.get_close_matches(wanted.revision or "", names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; it has {', '.join(names[:5])}" if names else ""


def _names_near(wanted: HubId, known: Iterable[str]) -> set[str]:
    """Return names that may be meant: `known` ones, those in the cache, and what the hub lists of the same owner."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    names = {*known, *_cached_names(wanted.kind)}
    ask = HfApi().list_models if wanted.kind == "model" else HfApi().list_datasets
    with contextlib.suppress(HfHubHTTPError, httpx2.HTTPError, OSError):  # no list, no suggestion from it
        names |= {found.id for found in ask(author=wanted.name.partition("/")[0], limit=LISTED_OF_OWNER)}
    return names - {wanted.name}


def _cached_names(kind: Kind) -> list[str]:
    return [folder.name.removeprefix(f"{kind}s--").replace("--", "/", 1) for folder in _cache().glob(f"{kind}s--*--*")]


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _data_cache() -> Path:
    """The folder of prepared data sets, by the rules of the datasets library (which would import pandas)."""
    from huggingface_hub import constants

    return Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets")
