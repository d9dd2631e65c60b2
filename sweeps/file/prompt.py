"""The prompt format of a sweep file: the section, older options of benchmarks folded into it, and `auto` decided."""

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
"""Options that benchmarks had before the section, and what they are called in it."""


def check_prompt(
    file: SweepFile, benchmark: BenchmarkChoice | None, folder: Path, draft: ProblemCollector, model: str | None
) -> None:
    """What the section may not say together with the benchmark and the model (`model`: one in place of the file's)."""
    if benchmark is None or not draft.sound(("prompt",)):
        return
    settings, card = file.prompt, benchmark.card.name
    given = sorted(name for name in OLDER if benchmark.params.get(name) is not None)
    if given and settings.model_copy(update={"probe": "on"}) != PromptSettings():
        draft.add(("benchmark", given[0]), "said twice: there is a section prompt", advice="leave it to section prompt")
        return
    chats = [name for name in CHAT_ONLY if getattr(settings, name) not in (None, {})]
    if settings.format == "auto" and chats and card in PUBLISHED and PUBLISHED[card].format == "plain":
        draft.add(
            ("prompt", chats[0]),
            f"{card} is asked in plain text by format: auto, and this is for chats",
            advice="write format: chat, or leave it out",
        )
    wanted = merged(settings, benchmark)
    if (wanted.format == "chat" or chats) and has_chat_template(_source(file, model), folder) is False:
        draft.add(
            ("prompt", chats[0] if chats else "format"),
            "the model's tokenizer has no chat template, which this is for",
            advice="write format: plain, or name a model whose tokenizer has one",
        )


def prompt_of(file: SweepFile, benchmark: BenchmarkChoice, folder: Path, model: str | None = None) -> PromptSettings:
    """The format of a sweep, as decided as it can be. `model`: a folder or hub id in place of the file's."""
    chat = has_chat_template(_source(file, model), folder)
    return decided(merged(file.prompt, benchmark), benchmark.card.name, chat=chat)


def _source(file: SweepFile, model: str | None) -> SourceSection:
    return file.model if model is None else SourceSection(path=model)


def with_prompt(params: dict[str, Any], settings: PromptSettings) -> dict[str, Any]:
    """A benchmark's options with the format in them, in place of the older options."""
    return {name: value for name, value in params.items() if name not in OLDER} | {FORMAT_KEY: settings.as_option()}


def merged(settings: PromptSettings, benchmark: BenchmarkChoice) -> PromptSettings:
    """The section, or what the older options of the benchmark say."""
    older = {OLDER[name]: value for name in OLDER if (value := benchmark.params.get(name)) is not None}
    if not older:
        return settings
    chat = older.get("format")
    kept = {} if chat else {name: value for name, value in older.items() if name != "format"}
    return PromptSettings(format="chat" if chat else "plain", probe=settings.probe, **kept)


def has_chat_template(source: SourceSection, folder: Path) -> bool | None:
    """Whether a model's tokenizer has a chat template; None where its files are not on this machine.

    A model that is built from nothing gets a tokenizer without one.
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
