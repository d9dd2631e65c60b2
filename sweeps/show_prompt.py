"""Show prompts exactly as the model reads them: the first row of each training view, evaluation split and attack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.evaluators.chat_text import chat_text
from unlearn_sweep.evaluators.rows import Example, Row, Template, encode, encode_asked

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearn_sweep.evaluators.thought_marks import ThinkingSettings

WITHOUT_MODEL = frozenset({"prefill", "few_shot", "in_context", "rwku_prompts"})
"""Attacks whose prompts depend only on the rows. Other attacks need the model to build theirs."""
THOUGHTS = "[the model's own thoughts, at most {} tokens]"
OPEN, CLOSE = "⟦", "⟧"


def prompt_lines(job: SweepJob, benchmark: Benchmark) -> Iterator[str]:
    """Yield lines to print. Supervised (or scored) tokens are between ⟦ and ⟧; a second line lists them one by one.

    Raises:
        ValueError: the benchmark has no training recipe and no model path is given, so there is no tokenizer.
    """
    tokenizer = tokenizer_of(job, benchmark)
    for view, rows in benchmark.train.items():
        if rows:
            yield from shown(tokenizer, benchmark, f"training view {view}", rows[0])
    for split, rows in benchmark.evaluation.items():
        for kind in dict.fromkeys(row.kind for row in rows):
            names = [*dict.fromkeys([*job.ue_metrics, *job.ut_metrics])]
            metrics = [name for name in names if name in METRICS and kind in METRICS[name].kinds]
            first = next(row for row in rows if row.kind == kind)
            title = f"metrics on {split} ({', '.join(metrics) or 'none'})"
            yield from shown(tokenizer, benchmark, title, first, benchmark.thinking)
    for attack in job.attacks:
        yield from attacked(tokenizer, benchmark, attack, job.seed)


def tokenizer_of(job: SweepJob, benchmark: Benchmark) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the original model, or train the one that a new model will get."""
    from unlearn_sweep.engine.models.loading import load_tokenizer
    from unlearn_sweep.engine.models.start_model import train_tokenizer
    from unlearn_sweep.engine.stages.recipes import recipe_of

    place = job.original.tokenizer or job.original.path
    if place is not None:
        return load_tokenizer(place)
    recipe = recipe_of(job, "original", benchmark.recipe)
    if recipe is None:
        raise ValueError(f"benchmark {benchmark.name!r} has no training recipe: give model.path")
    if recipe["base"] is not None:
        return load_tokenizer(recipe["base"])
    return train_tokenizer(benchmark.tokenizer_texts, vocab_size=recipe["vocab_size"])


def shown(
    tokenizer: PreTrainedTokenizerBase,
    benchmark: Benchmark,
    title: str,
    row: Row,
    thinking: ThinkingSettings | None = None,
) -> Iterator[str]:
    """Yield the lines of a row. With `thinking`, `THOUGHTS` stands where the model writes its own."""
    template = row.template or benchmark.template
    example = encode(tokenizer, row.row_id, row.question, row.answer, template)
    if thinking is not None and example.text is not None and template.resolved(tokenizer).chat:
        from unlearn_sweep.evaluators.thoughts import Thought, behind, closed, open_prompt

        prompt = encode_asked(tokenizer, [open_prompt(example.text, tokenizer, thinking)])[0].prompt_ids
        text = closed(THOUGHTS.format(thinking.max_tokens), prompt, tokenizer, thinking)
        example = behind(example, example.text, Thought(text=text, tokens=0, cut=False), tokenizer, thinking)
    yield from marked(tokenizer, title, example)
    if row.answer[:1].isspace():
        yield f"note: {own_blank(tokenizer, row, template.resolved(tokenizer))}"


def own_blank(tokenizer: PreTrainedTokenizerBase, row: Row, template: Template) -> str:
    """Say what becomes of the white space that an answer begins with."""
    given = "the answer begins with white space of its own"
    if not template.chat or template.chat_lead:
        return f"{given}, so no second blank is put before it" if template.lead.isspace() else f"{given}, which is kept"
    text = chat_text(tokenizer, template.system, template.date, template.arguments)
    taken = text.around(tokenizer, template.chat_before + row.question, template.turns).strips
    return f"{given}, which the chat template {'takes away' if taken else 'keeps'}"


def marked(tokenizer: PreTrainedTokenizerBase, title: str, example: Example) -> Iterator[str]:
    answer = [str(tokenizer.decode([token])) for token in example.answer_ids]
    whole = str(tokenizer.decode(list(example.prompt_ids + example.answer_ids)))
    prompt = str(tokenizer.decode(list(example.prompt_ids)))
    answer_text = whole.removeprefix(prompt) if whole.startswith(prompt) else "".join(answer)
    yield f"--- {title}, row {example.row_id}"
    yield f"{prompt}{OPEN}{answer_text}{CLOSE}"
    yield f"tokens {OPEN}{' '.join(repr(text) for text in answer)}{CLOSE}"


def attacked(
    tokenizer: PreTrainedTokenizerBase, benchmark: Benchmark, attack: AttackSettings, seed: int
) -> Iterator[str]:
    """Yield the first forget question for each strength of an attack on prompts."""
    from unlearn_sweep.evaluators.attacks.attack import Target
    from unlearn_sweep.evaluators.attacks.catalog import build

    title = f"attack {attack.label}"
    if attack.name not in WITHOUT_MODEL and attack.params.get("thought") is None:
        yield f"--- {title}: prompts as above, or as the model decides while it runs"
        return
    model = cast("PreTrainedModel", None)  # these attacks do not use the model
    target = Target(model=model, tokenizer=tokenizer, benchmark=benchmark, seed=seed)
    for state in build(attack.name, attack.params).run(target):
        row = next(row for row in benchmark.evaluation["forget"] if row.kind == "question")
        example = encode(tokenizer, row.row_id, row.question, row.answer, row.template or benchmark.template)
        edited = example if state.prompt_edit is None else state.prompt_edit(example)
        if edited is not None:
            yield from marked(tokenizer, f"{title}, {state.strength:g} {state.unit}", edited)
