"""Read the chat template of a tokenizer on the hub without loading it: from the cache, or from two small files."""

from __future__ import annotations

from pathlib import Path

from unlearn_sweep.engine.models.hub import ANSWER_TIMEOUT_S, HubId
from unlearn_sweep.engine.models.tokenizer_files import template_in

FILES = ("chat_template.jinja", "tokenizer_config.json")
"""Where a chat template is written, the first before the second."""


def hub_template(path: str) -> str | None:
    """Return the chat template of a tokenizer named by hub id that is used if none is named.

    "" if it has none, None if that is unknown: the files are neither cached nor can they be fetched.
    """
    wanted = HubId.of(path)
    folder = wanted.cached
    found = template_in(folder) if folder is not None else None
    if found is None and (fetched := _fetched(wanted)) is not None:
        found = template_in(fetched) or ""
    return found


def _fetched(wanted: HubId) -> Path | None:
    """Fetch the files that may hold the template into the cache. Return their folder; None if that is not possible."""
    import httpx2
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return None
    place = None
    for name in FILES:
        try:
            place = hf_hub_download(wanted.name, name, revision=wanted.revision, etag_timeout=ANSWER_TIMEOUT_S)
        except LocalEntryNotFoundError:
            return None
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, httpx2.HTTPError, OSError):
            return None  # why the model is unavailable is said by the check of models
    return None if place is None else Path(place).parent
