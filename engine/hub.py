"""Check whether a hub model is available, from this machine's cache or from the hub. Does not import torch."""

from __future__ import annotations

from pathlib import Path

ANSWER_TIMEOUT_S = 10.0


def missing_from_hub(path: str) -> str | None:
    """Return one line saying why the hub id `owner/name[@revision]` is unavailable and what to do, or None.

    Return None if the model is a local folder, is cached, or can be downloaded. Query the hub only if the model is not
    cached, with a timeout of 10 s.
    """
    name, _, revision = path.partition("@")
    if Path(path).expanduser().is_dir() or _is_cached(name, revision):
        return None
    import httpx2
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        return f"{path} is not in this machine's cache, and the hub is switched off (HF_HUB_OFFLINE); {_fetch(path)}"
    try:
        api = HfApi()
        info = api.model_info(name, revision=revision or None, timeout=ANSWER_TIMEOUT_S)
        if info.gated:
            api.auth_check(name)
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        return why_not(path, error)
    return None


def why_not(path: str, error: Exception) -> str:
    """Describe an error of the hub client in one line, with what to do. The text contains no token."""
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, _, revision = path.partition("@")
    if isinstance(error, GatedRepoError):
        return f"{path} is gated: request access on its page, then log in (hf auth login, or HF_TOKEN)"
    if isinstance(error, RevisionNotFoundError):
        return f"{path}: the model {name} has no revision {revision}"
    if isinstance(error, RepositoryNotFoundError):
        return f"{path}: no such folder, and the model hub has no such model, or it is private and needs a login"
    if isinstance(error, LocalEntryNotFoundError):
        return f"{path}: no such folder, and the model hub cannot be reached; {_fetch(path)}"
    first = str(error).strip().partition("\n")[0]
    reason = f"{type(error).__name__}: {first}"
    return f"{path}: no such folder, and the model hub did not return this model ({reason}); {_fetch(path)}"


def _is_cached(name: str, revision: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json", revision=revision or None), str)


def _fetch(path: str) -> str:
    name, _, revision = path.partition("@")
    return f"fetch it where there is a network: hf download {name}" + (f" --revision {revision}" if revision else "")


def missing_models(named: dict[str, str | None]) -> dict[str, str]:
    """Return the reason for each unavailable model, by its name in `named`. Absolute paths and None are skipped."""
    found = {name: missing_from_hub(path) for name, path in named.items() if path and not path.startswith("/")}
    return {name: reason for name, reason in found.items() if reason is not None}
