"""Find reasons why models cannot think before they answer: the chat template, the rows, the model's context."""

from __future__ import annotations

from collections.abc import Iterator

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.models.hub import model_ids
from unlearn_sweep.engine.models.hub_template import hub_template
from unlearn_sweep.engine.stages.prompt_probe import settings_in
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.thought_marks import ANSWER_ROOM, ThoughtMarks
from unlearn_sweep.sweeps.file.prompt import thought_marks_of
from unlearn_sweep.sweeps.plan.lengths import context_of, model_place

NO_TEMPLATE = "the tokenizer on the hub has no chat template, which is where thinking is enabled"


def thinking_obstacles(job: SweepJob, benchmark: Benchmark) -> Iterator[str]:
    """Yield why `prompt.thinking` of a job cannot work on its rows or in its model's context."""
    thinking = benchmark.thinking
    if thinking is None:
        return
    rows = [row for split in benchmark.evaluation.values() for row in split]
    if not any(template.chat or template.auto for template in (row.template or benchmark.template for row in rows)):
        yield (
            f"prompt.thinking is for rows that are asked in a chat, and {benchmark.name} asks none of its "
            f"{len(rows)} rows so; leave it out"
        )
    folder = model_place(job)
    context = context_of(folder) if folder is not None else None
    if context is not None and thinking.max_tokens + ANSWER_ROOM > context:
        yield (
            f"prompt.thinking: thoughts of {thinking.max_tokens} tokens leave no room for prompt and answer in the "
            f"model's context of {context}; lower max_tokens"
        )


def template_refusals(job: SweepJob, place: str | None = None) -> dict[str, str]:
    """Return why a chat template on the hub cannot enable thinking, by key of the sweep file: setting and attacks.

    `place` is the folder or hub id of the tokenizer; None for the job's own. Empty if nothing thinks, if the tokenizer
    is a local folder (checked with the file), or if its template is neither cached nor can be fetched.
    """
    thinking = settings_in(job.benchmark.params).thinking
    wanted: dict[str, list[ThoughtMarks]] = {"prompt.thinking": [] if thinking is None else [thinking]}
    for attack in job.attacks:
        wanted.setdefault(f"attacks.{attack.entry}", []).extend(thought_marks_of(attack))
    original = job.original
    named = place or original.tokenizer or original.path or (original.recipe or {}).get("base")
    if not any(wanted.values()) or not model_ids({"tokenizer": named}):
        return {}
    template = hub_template(str(named))
    if template is None:
        return {}
    reasons = {
        key: [reason for one in marks if (reason := one.refusal(template) if template else NO_TEMPLATE) is not None]
        for key, marks in wanted.items()
    }
    return {key: f"{named}: {found[0]}" for key, found in reasons.items() if found}
