"""Read and compare the tokenizer files of model folders without loading a tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.models.headers import read_json

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
)
DEFAULT_TEMPLATE = "default"
MORE_TEMPLATES = "additional_chat_templates"
"""Folder of chat templates with a name. `chat_template.jinja` next to it is the default one."""
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
"""Files that contain a vocabulary. Any of them makes a tokenizer; the other files only describe it."""
SPECIAL = ("bos_token", "eos_token", "unk_token", "add_bos_token", "add_eos_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFacts:
    """What determines the token ids of a text and the format of a conversation.

    Attributes:
        vocabulary: Digest of the entries without added tokens, or of the vocabulary file if its entries are unreadable.
        special: Values of the settings named in `SPECIAL`, in that order.
        chat_template: The chat template that is used if none is named, or None.
        named_templates: Names of other chat templates, for tools and the like. They are never used.
        ids: Id of each entry by its text. Empty without `tokenizer.json` (such as a SentencePiece model alone).
        pad: The padding token, or None.
    """

    vocabulary: str
    special: tuple[str | None, ...]
    chat_template: str | None
    ids: Mapping[str, int]
    pad: str | None
    named_templates: tuple[str, ...] = ()


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in VOCABULARIES)


def read_tokenizer(folder: Path) -> TokenizerFacts | None:
    """Return the facts of a folder's tokenizer, or None if it has no tokenizer."""
    if not has_tokenizer(folder):
        return None
    whole, settings = read_json(folder / "tokenizer.json"), read_json(folder / "tokenizer_config.json")
    own = _entries(whole)
    added = {str(token["content"]): int(token["id"]) for token in whole.get("added_tokens", ())}
    names = {**read_json(folder / "special_tokens_map.json"), **settings}
    templates = _templates(folder, settings)
    return TokenizerFacts(
        vocabulary=_digest({name: at for name, at in own.items() if name not in added}) if own else _bytes(folder),
        special=tuple(_content(names.get(name)) for name in SPECIAL),
        chat_template=templates.pop(DEFAULT_TEMPLATE, None),
        ids=own | added,
        pad=_content(names.get("pad_token")),
        named_templates=tuple(sorted(templates)),
    )


def template_in(folder: Path) -> str | None:
    """Return the chat template in a folder that is used if none is named; None if no file has one."""
    return _templates(folder, read_json(folder / "tokenizer_config.json")).get(DEFAULT_TEMPLATE)


def differences(one: TokenizerFacts, other: TokenizerFacts) -> list[str]:
    """Describe the differences between two tokenizers. Empty if vocabulary, special tokens and template are equal."""
    found = ["another vocabulary"] if one.vocabulary != other.vocabulary else []
    for name, mine, theirs in zip(SPECIAL, one.special, other.special, strict=True):
        found += [f"{name} {theirs} (not {mine})"] if mine != theirs else []
    if one.chat_template != other.chat_template:
        found.append("no chat template" if other.chat_template is None else "another chat template")
    return found


def _entries(whole: Mapping[str, Any]) -> dict[str, int]:
    model = whole.get("model")
    vocabulary = model.get("vocab", {}) if isinstance(model, dict) else {}
    if isinstance(vocabulary, list):  # Unigram: a list of (piece, score); the index is the id
        return {str(entry[0]): number for number, entry in enumerate(vocabulary)}
    return {str(name): int(at) for name, at in vocabulary.items()}


def _content(token: Any) -> str | None:
    """Return a special token as text. Files store it as text or as an object."""
    if isinstance(token, dict):
        return str(token.get("content"))
    return None if token is None else str(token)


def _templates(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the chat templates by name. As in transformers, files of their own come before tokenizer_config.json."""
    found = {file.stem: file for file in (folder / MORE_TEMPLATES).glob("*.jinja")}
    if (apart := folder / "chat_template.jinja").is_file():
        found[DEFAULT_TEMPLATE] = apart
    if found:
        return {name: file.read_text(encoding="utf-8").strip() for name, file in found.items()}
    inside = settings.get("chat_template")
    if isinstance(inside, list):
        return {str(entry.get("name")): str(entry.get("template")).strip() for entry in inside}
    return {} if inside is None else {DEFAULT_TEMPLATE: str(inside).strip()}


def _digest(entries: Mapping[str, int]) -> str:
    return hashlib.sha256(json.dumps(sorted(entries.items())).encode()).hexdigest()[:16]


def _bytes(folder: Path) -> str:
    file = next(folder / name for name in VOCABULARIES if (folder / name).is_file())
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
