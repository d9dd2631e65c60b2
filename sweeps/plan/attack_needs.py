"""Find attacks that a benchmark's rows do not allow: too few facts, missing views, answers too short to open.

Each is found from the rows alone where that is certain. What depends on how answers are tokenised is in `token_needs`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.stages.view_reads import attack_view
from unlearn_sweep.evaluators.attacks.attack import AttackError
from unlearn_sweep.evaluators.attacks.catalog import CHAIN, validate
from unlearn_sweep.evaluators.attacks.few_shot_params import FewShotParams
from unlearn_sweep.evaluators.attacks.forget_halves import attacked_rows, forget_halves, seen_rows
from unlearn_sweep.evaluators.attacks.paraphrase_params import ParaphraseParams
from unlearn_sweep.evaluators.attacks.quantize_params import QuantizeParams
from unlearn_sweep.evaluators.attacks.relearn_params import RelearnParams
from unlearn_sweep.evaluators.attacks.rwku_prompts_params import RwkuPromptsParams
from unlearn_sweep.evaluators.attacks.wordings import other_wordings
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.sweeps.file.problems import listing, near_miss
from unlearn_sweep.sweeps.plan.lengths import layers_of


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackObstacle:
    """Why an attack cannot run on a benchmark's rows.

    Attributes:
        entry: Place of the attack in the file's list, from 0.
        message: What is wrong, with the attack's label.
        given: The value in the file, such as "tokens: 3"; None if no single value is wrong.
        allowed: Which values the rows allow.
        advice: What to do.
    """

    entry: int
    message: str
    given: str | None = None
    allowed: str | None = None
    advice: str | None = None

    def sentence(self) -> str:
        """Return everything in one line, for views that have no place in the file."""
        allowed = None if self.allowed is None else f"allowed: {self.allowed}"
        return "; ".join(text for text in (self.message, allowed, self.advice) if text is not None)


@dataclass(frozen=True, slots=True)
class Need:
    """What an attack lacks: the end of a sentence that begins with the attack's label, and parts of a problem."""

    words: str
    given: str | None = None
    allowed: str | None = None
    advice: str | None = None


def attack_obstacles(job: SweepJob, benchmark: Benchmark) -> Iterator[AttackObstacle]:
    """Yield why attacks of a job cannot run on these rows, in the order of the file, each reason once."""
    layers = layers_of(job, benchmark)
    for attack in job.attacks:
        needs = [need for name, params in links_of(attack) for need in _needs(name, params, benchmark)]
        needs += [need for _, params in links_of(attack) for need in _layers(params, layers)]
        if attack.name == CHAIN and not needs:
            needs += _nothing_scored(attack, benchmark)
        yield from (as_obstacle(attack, need) for need in dict.fromkeys(needs))


def links_of(attack: AttackSettings) -> list[tuple[str, Mapping[str, Any]]]:
    """Return name and parameters of each attack that an attack runs, in order: itself, or the links of a chain."""
    steps = attack.params["steps"] if attack.name == CHAIN else [{attack.name: attack.params}]
    return [(name, params or {}) for step in steps for name, params in step.items()]


def as_obstacle(attack: AttackSettings, need: Need) -> AttackObstacle:
    return AttackObstacle(
        entry=attack.entry,
        message=f"attack {attack.label}{need.words}",
        given=need.given,
        allowed=need.allowed,
        advice=need.advice,
    )


def _needs(name: str, given: Mapping[str, Any], benchmark: Benchmark) -> Iterator[Need]:
    """Yield what the rows lack for one attack, which may be the link of a chain."""
    params = validate(name, given)
    yield from _few_facts(params.forget_facts, benchmark, judged=params.facts_are_judged)
    if isinstance(params, FewShotParams):
        yield from _demonstrations(name, params, benchmark)
    elif isinstance(params, QuantizeParams) and params.scheme == "gptq":
        view = str(params.calibration)
        if not benchmark.train.get(view):
            yield Need(f" calibrates on view {view}, and {_views_of(benchmark, view)}", f"calibration: {view}")
    elif isinstance(params, RelearnParams) and attack_view(name, given) is None:
        yield from _relearned(params.data, benchmark)
    elif isinstance(params, ParaphraseParams) and params.source == "own":
        yield from _wordings(benchmark)
    elif isinstance(params, RwkuPromptsParams) and _kinds(benchmark).isdisjoint({"question"}):
        yield Need(
            f" rewords questions, and no judged forget row of {benchmark.name} is one", advice="leave the attack out"
        )


def _layers(params: Mapping[str, Any], layers: int | None) -> Iterator[Need]:
    """Yield a need of layers that the model has not."""
    named = [int(layer) for layer in params.get("layers") or ()]
    if layers is not None and named and max(named) > layers:
        yield Need(
            f" names layer {max(named)}, and the model has {layers} layers, counted from 1",
            given=f"layers: {named}",
            allowed=f"from 1 to {layers}",
            advice=f"leave out what is above {layers}",
        )


def _few_facts(wanted: int, benchmark: Benchmark, *, judged: bool) -> Iterator[Need]:
    """Yield a need of more forget facts than there are to see and to score."""
    if not wanted:
        return
    try:
        halves = forget_halves(benchmark)
        rows = (attacked_rows if judged else seen_rows)(benchmark, halves)
    except AttackError as error:
        yield Need(f": {error}")
        return
    there = len({row.fact for row in rows})
    if there < wanted:
        yield Need(
            f" needs {wanted} different forget facts to show or to train on, and half of those of {benchmark.name} "
            f"are {there}; let it use fewer, or give more"
        )


def _demonstrations(name: str, params: FewShotParams, benchmark: Benchmark) -> Iterator[Need]:
    """Yield a need of questions to show, and of kept facts where those are shown (`_few_facts` counts the others)."""
    view = params.demonstrations
    rows = benchmark.train.get(view, ())
    if not any(row.kind == "question" for row in rows):
        yield Need(f" shows questions with answers, and view {view} of {benchmark.name} has none")
        return
    there, wanted = len({row.fact for row in rows}), max(params.curve) + 1
    if view == "retain" and there < wanted:
        yield Need(
            f" shows {wanted - 1} kept facts and keeps one in reserve, and view retain of {benchmark.name} has {there}",
            given=f"shots: {max(params.curve)}",
            allowed=f"at most {there - 1}",
            advice=f"lower shots of {name} to {there - 1}",
        )


def _wordings(benchmark: Benchmark) -> Iterator[Need]:
    """Yield a need of another wording for at least one judged forget row."""
    if not any(other_wordings(benchmark, row) for row in benchmark.evaluation["forget"]):
        yield Need(
            f" asks in other words, and no forget row of {benchmark.name} has a paraphrase or another question for "
            "its fact",
            advice="add views: [paraphrase: {of: judged}] and source: paraphrase, or leave the attack out",
        )


def _relearned(view: str, benchmark: Benchmark) -> Iterator[Need]:
    """Yield a need of rows to train on which leave a forget fact to score. A written view is checked by `views`."""
    if not benchmark.train.get(view):
        yield Need(f" trains on view {view}, and {_views_of(benchmark, view)}", f"data: {view}")
    elif view != "forget" and not _asked(benchmark) - _groups(benchmark.train[view]):
        yield Need(
            f" trains on view {view}, which holds every forget fact of {benchmark.name}, so none is left to score",
            given=f"data: {view}",
            allowed="forget, of which half is trained on",
            advice="write data: forget",
        )


def _nothing_scored(attack: AttackSettings, benchmark: Benchmark) -> Iterator[Need]:
    """Yield a need of facts that no link of a chain has used."""
    left = _asked(benchmark)
    for name, given in links_of(attack):
        params = validate(name, given)
        if isinstance(params, RelearnParams) and params.data != "forget":
            trained = _groups(benchmark.train.get(params.data, ()))
            left -= trained if left & trained else frozenset()
        elif params.forget_facts:
            left &= forget_halves(benchmark).scored
    if not left:
        yield Need(
            f": its attacks use every forget fact of {benchmark.name} between them, so none is left to score",
            advice="let its attacks train on the same facts (data: forget), or take one of them out",
        )


def _views_of(benchmark: Benchmark, wanted: str) -> str:
    """Return which training views have rows, and the nearest to the one that was wanted."""
    there = sorted(view for view, rows in benchmark.train.items() if rows)
    nearest = near_miss(wanted, there)
    return f"benchmark {benchmark.name} has {listing(there)}" + (f"; nearest: {nearest}" if nearest else "")


def _kinds(benchmark: Benchmark) -> set[str]:
    return {row.kind for row in benchmark.evaluation["forget"]}


def _asked(benchmark: Benchmark) -> frozenset[str]:
    return _groups(benchmark.evaluation["forget"])


def _groups(rows: Sequence[Row]) -> frozenset[str]:
    return frozenset(row.group_id for row in rows)
