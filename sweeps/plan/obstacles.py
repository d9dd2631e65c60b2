"""Find reasons why a sweep cannot run on its benchmark: missing views, recipes, rows or answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_space import Choice, Dimension, Fixed, MethodSpace
from unlearn_sweep.engine.stages.recipes import recipe_of
from unlearn_sweep.engine.stages.view_reads import Values, method_reads, reads_vague, refuses
from unlearn_sweep.engine.stopping.rows import PROBED_KINDS, probed_rows
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS
from unlearn_sweep.evaluators.benchmarks.tables import ENDINGS
from unlearn_sweep.evaluators.benchmarks.task_data import KNOWN, TASK_VIEW
from unlearn_sweep.evaluators.benchmarks.written_rows import ReadView
from unlearn_sweep.evaluators.catalog import AGAINST_HOLDOUT, METRICS
from unlearn_sweep.evaluators.probe_parts import RWKU_METRICS, in_part
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.methods.catalog import card
from unlearn_sweep.methods.composed_card import parse
from unlearn_sweep.sweeps.file.problems import listing
from unlearn_sweep.sweeps.plan.attack_needs import attack_obstacles
from unlearn_sweep.sweeps.plan.optimizer_check import optimizer_obstacles
from unlearn_sweep.sweeps.plan.thinking_check import thinking_obstacles
from unlearn_sweep.sweeps.plan.token_needs import token_obstacles
from unlearn_sweep.sweeps.views.readers import view_obstacles, write_command

FOLLOWING_VIEWS = {
    "forget_idk": "forget",
    "retain_idk": "retain",
    "forget_alternate": "forget",
    "forget_vague": "forget",
    "forget_continuation": "forget",
}
"""Views that training derives from the rows of another view: derived view -> source view."""
OF_PARAPHRASE = ("paraphrase_probability", "paraphrase_rouge")
"""Metrics of the answer in other words."""
WORDED = ("paraphrase", "summary")
"""Written views that say a row in other words."""
NO_VIEWS = ("state", "grouped", "noise", "train", "forget_paraphrase")


def obstacles_of(job: SweepJob, benchmark: Benchmark) -> tuple[str, ...]:
    """Return one sentence for each reason; empty if the sweep can run."""
    attacks = (*attack_obstacles(job, benchmark), *token_obstacles(job, benchmark))
    return (*other_obstacles(job, benchmark), *(obstacle.sentence() for obstacle in attacks))


def other_obstacles(job: SweepJob, benchmark: Benchmark) -> tuple[str, ...]:
    """Return one sentence for each reason that is no attack's, whose reasons `attack_obstacles` gives by entry."""
    values = space_values(job)
    return tuple(
        [
            *_models(job, benchmark),
            *view_obstacles(job, benchmark, values),
            *_methods(job, benchmark, values),
            *_metrics(job, benchmark),
            *_utility_groups(job, benchmark),
            *_floors(job),
            *_probes(job, benchmark),
            *thinking_obstacles(job, benchmark),
            *optimizer_obstacles(job),
        ]
    )


def space_values(job: SweepJob) -> dict[str, Values]:
    """Return the values that the parameters of each method may take; the upper end stands for a range."""
    return {
        space.method: {name: values_of(dimension) for name, dimension in space.params.items()} for space in job.spaces
    }


def _models(job: SweepJob, benchmark: Benchmark) -> Iterator[str]:
    for name, source in (("model", job.original), ("gold", job.gold)):
        which = "original" if name == "model" else name
        if source.path is None and source.floor is None and recipe_of(job, which, benchmark.recipe) is None:
            yield f"benchmark {benchmark.name} has no training recipe: give {name}.path"


def _methods(job: SweepJob, benchmark: Benchmark, values: Mapping[str, Values]) -> Iterator[str]:
    for space in job.spaces:
        needs = card(space.method).needs
        reads = method_reads(job.views, space.method, values[space.method])
        views = [FOLLOWING_VIEWS.get(need, need) for need in needs if ":" not in need and need not in NO_VIEWS]
        named = [dimension for name, dimension in space.params.items() if name.rpartition(".")[2] == "irm_view"]
        other_tasks = [str(value) for dimension in named for value in values_of(dimension)]
        yield from (problem for view in other_tasks if (problem := task_problem(space.method, view)) is not None)
        views += [view for view in other_tasks if not view.startswith(TASK_VIEW)]
        for view in dict.fromkeys(views):
            if view not in benchmark.train:
                known = listing(sorted(benchmark.train))
                yield f"method {space.method} reads view {view}, and benchmark {benchmark.name} has {known}"
        yield from _questions(job, space.method, values[space.method], benchmark, reads)
        if "forget_alternate" in needs and not _has_alternatives(benchmark) and not _reads(reads, "alternate_answer"):
            yield (
                f"method {space.method} needs alternate answers, and the forget rows of {benchmark.name} have none: "
                f"add views: [{_written_answers(benchmark, 'alternate_answer')}] and run {write_command(job)}"
            )
        if reads_vague(space.method, values[space.method]) and not _reads(reads, "vague_answer"):
            yield (
                f"method {space.method} learns vague answers, and none are written for {benchmark.name}: add "
                f"views: [{_written_answers(benchmark, 'vague_answer')}] and run {write_command(job)}, or set answers: "
                "refusals"
            )
        if any("cir" in phase.wrappers for phase in parse(space.method)):
            yield from _whole_gradients(job, space.method)
        if "forget_paraphrase" in needs:
            yield from _wordings(job, space, benchmark, reads)


def _whole_gradients(job: SweepJob, method: str) -> Iterator[str]:
    """Yield a sentence for each training setting under which `cir` cannot read gradients on the way."""
    if job.training.lora is not None:
        yield f"method {method}: cir works on whole weights: leave training.lora out, or cir"
    if job.training.activation_checkpointing:
        yield f"method {method}: cir reads gradients on the way: leave training.activation_checkpointing out, or cir"


def _written_answers(benchmark: Benchmark, kind: str) -> str:
    """Return the views that give the forget rows answers of a kind."""
    asked = _asks(benchmark, "forget")
    return kind if asked else f"questions_from_text, {kind}: {{of: forget_questions}}"


def _reads(reads: Sequence[ReadView], *kinds: str, of: str | None = None) -> bool:
    return any(read.kind in kinds and of in (None, read.of) for read in reads)


def _wordings(job: SweepJob, space: MethodSpace, benchmark: Benchmark, reads: Sequence[ReadView]) -> Iterator[str]:
    """Yield a sentence if the forget rows have too few other wordings."""
    given = space.params.get("gao_paraphrases")
    wanted = max((int(value) for value in values_of(given)), default=0)
    written = [view.wordings for view in job.views if _reads(reads, view.kind, of=view.of) and view.kind in WORDED]
    if wanted <= max(fewest := _other_wordings(benchmark), *written, 0):
        return
    asks = f"method {space.method} asks for {wanted} other wordings of each forget row (gao_paraphrases), and "
    if written:
        yield f"{asks}its view has {max(written)}: raise number, or name more writers"
        return
    kind = "paraphrase" if _asks(benchmark, "forget") else "summary"
    yield (
        f"{asks}benchmark {benchmark.name} has {fewest}: add views: [{kind}: {{number: {wanted}}}] and run "
        f"{write_command(job)}"
    )


def _questions(
    job: SweepJob, method: str, values: Values, benchmark: Benchmark, reads: Sequence[ReadView]
) -> Iterator[str]:
    """Yield a sentence for each view of refusals whose rows have no question: a refusal of nothing would be trained."""
    for view in ("forget", "retain"):
        if not refuses(method, values, view) or _reads(reads, "questions_from_text", of=view):
            continue
        rows = benchmark.train.get(view, ())
        bare = sum(not row.question.strip() for row in rows)
        if bare:
            yield (
                f"method {method} trains refusals of {view} questions, and {bare} of {len(rows)} {view} rows of "
                f"{benchmark.name} are running text without a question: add views: [questions_from_text: {{of: "
                f"{view}}}] and run {write_command(job)}, or choose a method that takes text, such as npo or rmu"
            )


def _asks(benchmark: Benchmark, view: str) -> bool:
    """Whether any row of a training view has a question."""
    return any(row.question.strip() for row in benchmark.train.get(view, ()))


def task_problem(method: str, view: str) -> str | None:
    """Return what is wrong with a view of another task's data. None if it is valid or a view of the benchmark.

    A data set given by name is loaded when training starts.
    """
    data = view.removeprefix(TASK_VIEW)
    if not view.startswith(TASK_VIEW) or data in KNOWN:
        return None
    if not data.endswith(ENDINGS):
        return (
            f"method {method}: irm_view {view} is none of {listing([TASK_VIEW + name for name in KNOWN])} and no file"
        )
    if not (Path(data).is_absolute() and Path(data).is_file()):
        return f"method {method}: irm_view {view} is not a file; give its absolute path"
    return None


def values_of(dimension: Dimension | None) -> tuple[Any, ...]:
    """Return the values of a choice, the upper end of a range, or the fixed value; empty for None."""
    if dimension is None:
        return ()
    if isinstance(dimension, Fixed):
        return (dimension.value,)
    return tuple(dimension.values) if isinstance(dimension, Choice) else (dimension.high,)


def _other_wordings(benchmark: Benchmark) -> int:
    """Return the minimum over forget rows of other wordings: its own paraphrase, and other rows of the same fact."""
    rows = benchmark.train.get("forget", ())
    wordings = Counter(row.fact for row in rows)
    own = (bool(row.paraphrased_question or row.paraphrased_answer) for row in rows)
    return min((wordings[row.fact] - 1 + has for row, has in zip(rows, own, strict=True)), default=0)


def _has_alternatives(benchmark: Benchmark) -> bool:
    rows = benchmark.train.get("forget", ())
    return bool(rows) and all(row.perturbed_answers for row in rows)


def _utility_groups(job: SweepJob, benchmark: Benchmark) -> Iterator[str]:
    """Yield a sentence for each split of a group of UT that is measured by nothing."""
    there = [*benchmark.utility_splits, *(task.split for task in job.tasks)]
    for name, splits in job.ut_groups.items():
        for split in splits:
            if split not in there:
                known = listing(there)
                yield f"evaluators.ut_groups.{name}: {benchmark.name} judges utility by {known}, not by {split}"


def _metrics(job: SweepJob, benchmark: Benchmark) -> Iterator[str]:
    """Yield a sentence for each metric that the rows of the benchmark do not support."""
    utility = [row for split in benchmark.utility_splits for row in benchmark.evaluation[split]]
    for objective, names, rows in (
        ("ue", job.ue_metrics, benchmark.evaluation["forget"]),
        ("ut", job.ut_metrics, utility),
    ):
        for name in names:
            card = METRICS[name]
            if card.needs == "tasks":
                continue  # its rows come from the tasks, not from the benchmark
            kinds = [row for row in rows if row.kind in card.kinds]
            if not kinds:
                there = listing(sorted({row.kind for row in rows}))
                wanted = f"rows of kind {listing(card.kinds)}"
                yield f"{objective} metric {name} is for {wanted}, and {benchmark.name} has {there}"
            elif (part := RWKU_METRICS.get(name)) and not any(in_part(row.part, part) for row in kinds):
                parts = listing(sorted({row.part for row in kinds} - {""})) or "none"
                yield f"{objective} metric {name} is for forget rows of part {part}, and {benchmark.name} has {parts}"
            elif (card.needs == "alternatives" or name in OF_PARAPHRASE) and not any(
                _has_alternative(name, row) for row in kinds
            ):
                what = "a paraphrased_answer" if name in OF_PARAPHRASE else "a perturbed_answer"
                yield f"{objective} metric {name} needs rows with {what}, and {benchmark.name} has none"
            if name in ("lume_forget_aggregate", "lume_task_aggregate") and not any(row.part for row in kinds):
                yield f"{objective} metric {name} is for rows of LUME's tasks, and {benchmark.name} has none"
            if name == "mia_loss_rise" and not any(row.kind in card.kinds for row in utility):
                yield f"{objective} metric {name} needs texts among the utility rows too, and {benchmark.name} has none"
            if name in AGAINST_HOLDOUT and not benchmark.evaluation.get("holdout"):
                yield (
                    f"{objective} metric {name} needs rows that no model was trained on (split holdout); "
                    f"{benchmark.name} has none: {_holdout_advice(benchmark.name)}, or leave the metric out"
                )


def _holdout_advice(benchmark: str) -> str:
    """Return which option of a benchmark gives it the split holdout."""
    options = BENCHMARKS[benchmark].params.model_fields if benchmark in BENCHMARKS else {}
    if "holdout" in options:
        return "set benchmark.holdout: true"
    if "holdout_path" in options:
        return "give benchmark.holdout_path, a file of such rows"
    return "take a benchmark that has them"


def _probes(job: SweepJob, benchmark: Benchmark) -> Iterator[str]:
    """Yield a sentence if trainings are to be stopped and a probe has no rows to read."""
    if job.search.stop_trainings is None:
        return
    for name, rows in zip(("forget", "utility"), probed_rows(benchmark), strict=True):
        if not rows:
            yield (
                f"search.stop_trainings probes the probability of {name} answers, and {benchmark.name} has no "
                f"{name} rows of kind {listing(PROBED_KINDS)}: remove it"
            )


def _floors(job: SweepJob) -> Iterator[str]:
    """Yield a sentence for each metric without a chance value, if a floor replaces the gold model."""
    if job.gold.floor is None:
        return
    for name in job.ue_metrics:
        if not METRICS[name].has_floor:
            yield f"ue metric {name} has no chance value: it needs a gold model, but gold is floor: {job.gold.floor}"


def _has_alternative(name: str, row: Row) -> bool:
    return row.paraphrased_answer is not None if name in OF_PARAPHRASE else bool(row.perturbed_answers)
