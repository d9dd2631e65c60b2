"""Check and resolve the prompt format: the prompt section, older benchmark options, and `auto`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import AttackSettings
from unlearn_sweep.engine.models.headers import BrokenWeightsError
from unlearn_sweep.engine.models.tokenizer_files import TokenizerFacts, read_tokenizer
from unlearn_sweep.evaluators.attacks.catalog import CHAIN
from unlearn_sweep.evaluators.attacks.think_params import ThinkParams
from unlearn_sweep.evaluators.benchmarks.prompt_format import CHAT_ONLY, FORMAT_KEY, PUBLISHED, PromptSettings, decided
from unlearn_sweep.evaluators.chat_text import no_default
from unlearn_sweep.evaluators.thought_marks import ENABLE_THINKING, ThoughtMarks
from unlearn_sweep.sweeps.file.benchmark import BenchmarkChoice
from unlearn_sweep.sweeps.file.file_schema import ModelSection, SourceSection, SweepFile
from unlearn_sweep.sweeps.file.paths import absolute, is_local
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector

WITHOUT_THOUGHTS = (
    "answers are still asked for and trained behind the empty think block that the template writes; prompt.thinking "
    "and attack think ask with thoughts"
)
THINKS = "a thinking model, asked in chat"
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
    if settings.template_args.get(ENABLE_THINKING) is True and settings.thinking is None:
        collector.note(("prompt", "template_args"), WITHOUT_THOUGHTS)
    wanted = merged(settings, benchmark)
    facts = tokenizer_facts(_source(file, model), folder)
    undecided = facts is not None and facts.chat_template is None and bool(facts.named_templates)
    if facts is not None and undecided and may_chat(wanted, card):
        collector.add(("prompt",), no_default(facts.named_templates))
        return
    if (wanted.format == "chat" or chats) and has_chat_template(_source(file, model), folder) is False:
        collector.add(
            ("prompt", chats[0] if chats else "format"),
            "the model's tokenizer has no chat template, which this is for",
            advice="write format: plain, or name a model whose tokenizer has one",
        )


def check_thinking(
    file: SweepFile,
    benchmark: BenchmarkChoice | None,
    attacks: Sequence[AttackSettings],
    folder: Path,
    collector: ProblemCollector,
    model: str | None,
) -> None:
    """Report `prompt.thinking` and attack `think` where the prompt format or the chat template cannot enable thinking.

    A template on the hub is checked with the hub (`plan.thinking_check`). `model`, if set, replaces the file's model.
    """
    if benchmark is None or not collector.is_valid(("prompt",)):
        return
    source, settings = _source(file, model), merged(file.prompt, benchmark)
    facts = tokenizer_facts(source, folder)

    def refusal(marks: ThoughtMarks) -> str | None:
        if not may_chat(settings, benchmark.card.name):
            return f"asks through the chat template, and {benchmark.card.name} is asked plainly here"
        if tokenizer_place(source) is None or (facts is not None and facts.chat_template is None):
            return "asks through the chat template, and the model's tokenizer has none"
        return marks.refusal(facts.chat_template) if facts is not None and facts.chat_template else None

    for attack in attacks:
        if not collector.is_valid(("attacks", attack.entry)):
            continue
        for marks in thought_marks_of(attack):
            if (reason := refusal(marks)) is not None:
                advice = "leave the attack out, or set argument to the one that the template has"
                collector.add(("attacks", attack.entry), reason, allowed=THINKS, advice=advice)
    # A plain format and a tokenizer without a template are reported with the other settings of a chat.
    template = None if facts is None else facts.chat_template
    if settings.thinking is not None and template and (reason := settings.thinking.refusal(template)) is not None:
        advice = "leave it out, or set argument to the one that the template has"
        collector.add(("prompt", "thinking"), reason, allowed=THINKS, advice=advice)


def thought_marks_of(attack: AttackSettings) -> list[ThoughtMarks]:
    """Return how an attack enables thinking, also inside a chain. Empty for attacks that do not."""
    links = [{attack.name: attack.params}] if attack.name != CHAIN else attack.params.get("steps", ())
    found = [params or {} for link in links for name, params in link.items() if name == "think"]
    return [ThinkParams.model_validate(params) for params in found]


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
    if tokenizer_place(source) is None:
        return False
    facts = tokenizer_facts(source, folder)
    return None if facts is None else facts.chat_template is not None


def may_chat(settings: PromptSettings, benchmark: str) -> bool:
    """Return whether these settings use the chat template of a tokenizer that has one."""
    published = PUBLISHED.get(benchmark)
    return settings.format == "chat" or (
        settings.format == "auto" and (published is None or published.format == "auto")
    )


def tokenizer_place(source: SourceSection) -> str | None:
    """Return the folder or hub id of a model's tokenizer; None for a new model without a base."""
    own = source.tokenizer if isinstance(source, ModelSection) else None
    return own or source.path or (source.train.base if source.train is not None else None)


def tokenizer_facts(source: SourceSection, folder: Path) -> TokenizerFacts | None:
    """Return the facts of a model's tokenizer; None if its files are not on this machine."""
    name = tokenizer_place(source)
    if name is None or not is_local(name, place := absolute(name, folder)):
        return None
    try:
        return read_tokenizer(place)
    except BrokenWeightsError:
        return None  # reported as a fault of the folder
