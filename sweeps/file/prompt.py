"""Check and resolve the prompt format: the prompt section, older benchmark options, and `auto`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unlearn_sweep.engine.model_folder.tokenizer_files import read_tokenizer
from unlearn_sweep.evaluators.benchmarks.prompt_format import CHAT_ONLY, FORMAT_KEY, PUBLISHED, PromptSettings, decided
from unlearn_sweep.sweeps.file.benchmark import BenchmarkChoice
from unlearn_sweep.sweeps.file.file_schema import ModelSection, SourceSection, SweepFile
from unlearn_sweep.sweeps.file.paths import absolute, is_local
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector

OLDER = {"chat": "format", "prompt": "question", "answer_lead": "answer_lead"}
"""Older options of benchmarks, and their names in the prompt section that replaced them."""


def check_prompt(
    file: SweepFile, benchmark: BenchmarkChoice | None, folder: Path, collector: ProblemCollector, model: str | None
) -> None:
    """Report conflicts of the section with the benchmark and the model. `model`, if set, replaces the file's model."""
    if benchmark is None or not collector.is_valid(("prompt",)):
        return
    settings, card = file.prompt, benchmark.card.name
    given = sorted(name for name in OLDER if benchmark.params.get(name) is not None)
    if given and settings.model_copy(update={"probe": "on"}) != PromptSettings():
        collector.add(
            ("benchmark", given[0]),
            "given twice: there is also a section prompt",
            advice="remove it here and set it in section prompt",
        )
        return
    chats = [name for name in CHAT_ONLY if getattr(settings, name) not in (None, {})]
    if settings.format == "auto" and chats and card in PUBLISHED and PUBLISHED[card].format == "plain":
        collector.add(
            ("prompt", chats[0]),
            f"format: auto prompts {card} in plain text, and this setting applies to chat only",
            advice="write format: chat, or leave it out",
        )
    wanted = merged(settings, benchmark)
    if (wanted.format == "chat" or chats) and has_chat_template(_source(file, model), folder) is False:
        collector.add(
            ("prompt", chats[0] if chats else "format"),
            "the model's tokenizer has no chat template, which this is for",
            advice="write format: plain, or name a model whose tokenizer has one",
        )


def prompt_of(file: SweepFile, benchmark: BenchmarkChoice, folder: Path, model: str | None = None) -> PromptSettings:
    """Return the prompt format of a sweep, with `auto` resolved as far as possible.

    `model` is a folder or hub id that replaces the file's model.
    """
    chat = has_chat_template(_source(file, model), folder)
    return decided(merged(file.prompt, benchmark), benchmark.card.name, chat=chat)


def _source(file: SweepFile, model: str | None) -> SourceSection:
    return file.model if model is None else SourceSection(path=model)


def with_prompt(params: dict[str, Any], settings: PromptSettings) -> dict[str, Any]:
    """Return a benchmark's options with the format in place of the older options."""
    return {name: value for name, value in params.items() if name not in OLDER} | {FORMAT_KEY: settings.as_option()}


def merged(settings: PromptSettings, benchmark: BenchmarkChoice) -> PromptSettings:
    """Return the settings from the older options of the benchmark if any is set, else the section."""
    older = {OLDER[name]: value for name in OLDER if (value := benchmark.params.get(name)) is not None}
    if not older:
        return settings
    chat = older.get("format")
    kept = {} if chat else {name: value for name, value in older.items() if name != "format"}
    return PromptSettings(format="chat" if chat else "plain", probe=settings.probe, **kept)


def has_chat_template(source: SourceSection, folder: Path) -> bool | None:
    """Return whether a model's tokenizer has a chat template; None if its files are not on this machine.

    False for a new model without a base: its tokenizer has no chat template.
    """
    own = source.tokenizer if isinstance(source, ModelSection) else None
    name = own or source.path or (source.train.base if source.train is not None else None)
    if name is None:
        return False
    place = absolute(name, folder)
    if not is_local(name, place):
        return None
    facts = read_tokenizer(place)
    return None if facts is None else facts.chat_template is not None
