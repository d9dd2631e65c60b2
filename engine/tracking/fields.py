"""Convert a trial or a sweep to MLflow params, metrics, tags and tables as plain values, without importing mlflow.

Names are chosen so that runs can be compared. A parameter with the same meaning for every method has the same name
everywhere (`learning_rate`); any other has its method as a prefix (`npo.beta`). MLflow's Compare page sorts metrics by
name and colours runs by the first one, so no metric of a trial sorts before `rob`: `seconds.` and not `cost.`. A
missing or non-finite number is never logged as a metric, because MLflow stores inf as 1.8e308 and plots it. A tag
`no_value.<name>` with the reason is set instead.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from unlearn_sweep.engine.privacy.secrets import redact
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.store.records import (
    AttackScore,
    Controls,
    Front,
    Objective,
    TrialRecord,
    code_versions,
    worst_settings,
)
from unlearn_sweep.engine.study.seed_summary import seed_summary

# Limits of MLflow servers before 2.8; current ones allow 6000 characters for params and 8000 for tags.
PARAM_CHARS = 500
TAG_CHARS = 5000
KEY_CHARS = 250

SHARED_PARAMS = frozenset(
    {
        "learning_rate",
        "epochs",
        "max_steps",
        "global_batch_size",
        "micro_batch_size",
        "warmup_share",
        "weight_decay",
        "decay",
        "gradient_clip",
        "retain",
        "retain_weight",
        "forget_weight",
        "reduction",
        "dtype",
    }
)
"""Parameters with the same meaning for every method."""

ATTACK_COLUMNS = ("attack", "family", "strength", "unit", "still_forgotten", "utility", "reason")
FRONT_COLUMNS = ("trial", "key", "method", "seed", "ue", "ut", "rob", "rob_is_bound", "params")

Table = dict[str, list[Any]]
"""Table in pandas "split" format, as MLflow expects it: {"columns": [...], "data": [[...], ...]}."""


@dataclass(frozen=True, slots=True)
class Point:
    """One metric value at a step. Its time is added when it is written and comes from the record, not the clock."""

    name: str
    value: float
    step: int = 0


@dataclass(slots=True)
class Fields:
    """Everything that one run logs. Names are converted to legal MLflow names; colliding params get a suffix."""

    params: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    long_params: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)

    def param(self, name: str, value: Any) -> None:
        """Add a parameter. A long value is truncated and its hash appended; the full text goes to `long_params`."""
        key, text = self._free(clean_name(name), self.params), redact(as_text(value))
        if len(text) > PARAM_CHARS:
            self.long_params[key] = text
            mark = f"... sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
            text = text[: PARAM_CHARS - len(mark)] + mark
        self.params[key] = text

    def metric(self, name: str, value: float | None, *, reason: str | None = None, step: int = 0) -> None:
        """Add a metric, or a tag with the reason if the value is None or not finite. Skip None without a reason."""
        key = clean_name(name)
        if value is not None and math.isfinite(value):
            self.points.append(Point(key, float(value), step))
        elif value is not None:
            self.tag(f"no_value.{key}", reason or f"not finite: {value}")
        elif reason:
            self.tag(f"no_value.{key}", reason)

    def tag(self, name: str, value: Any) -> None:
        """Add a tag. Skip None; truncate long text."""
        if value is None:
            return
        text = redact(as_text(value))
        self.tags[clean_name(name)] = text if len(text) <= TAG_CHARS else text[: TAG_CHARS - 4] + " ..."

    def table(self, name: str, columns: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
        """Add a table artifact. Secrets are redacted."""
        data = [[redact(cell) if isinstance(cell, str) else cell for cell in line] for line in lines]
        self.tables[name] = {"columns": list(columns), "data": data}

    @staticmethod
    def _free(key: str, taken: Mapping[str, Any]) -> str:
        """Return `key`, or `key_2`, `key_3`, ... if `key` is taken because two names became equal."""
        number, free = 1, key
        while free in taken:
            number += 1
            free = f"{key[: KEY_CHARS - 5]}_{number}"
        return free


def clean_name(name: str) -> str:
    """Return a legal MLflow name: letters, digits and `_ . - : / space`, no `..` parts, at most 250 characters."""
    text = re.sub(r"[^\w.\-:/ ]", "_", name.replace(">", "-then-").replace("+", "-with-"))
    parts = [part for part in text.split("/") if part not in ("", ".", "..")]
    return "/".join(parts)[:KEY_CHARS].rstrip("/") or "_"


def as_text(value: Any) -> str:
    """Format a value: strings unchanged, booleans as yes/no, numbers by `repr`, others as JSON with sorted keys."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def param_name(method: str, name: str) -> str:
    """Return `learning_rate` for a shared parameter and `npo.beta` for any other. A name with a dot is kept."""
    return name if name in SHARED_PARAMS or "." in name else f"{method}.{name}"


def trial_fields(record: TrialRecord, *, sweep: str, sweep_id: str, benchmark: str | None) -> Fields:
    """Convert a settled trial to the content of its run. Leave out front membership, because it can change later."""
    fields = Fields()
    _add_params(fields, record)
    _add_tags(fields, record, sweep=sweep, sweep_id=sweep_id, benchmark=benchmark)
    _add_objectives(fields, record)
    _add_seeds(fields, record)
    for score in record.attacks:
        _add_attack(fields, score)
    add_attackers(fields, record)
    for stage, seconds in sorted(record.stage_seconds.items()):
        fields.metric(f"seconds.{stage.replace(':', '.')}", seconds)
    fields.metric("seconds.stages", math.fsum(record.stage_seconds.values()))
    fields.metric("seconds.wall", record.finished - record.started)
    if record.training is not None:
        add_training(fields, record.training)
    if record.attacks:
        fields.table("attack_curves.json", ATTACK_COLUMNS, attack_lines(record.attacks))
    return fields


def _add_params(fields: Fields, record: TrialRecord) -> None:
    fields.param("method", record.method)
    fields.param("seed", record.seed)
    for name, value in sorted(record.params.items()):
        if name in ("method", "seed") or (name, value) == ("compat", "none"):
            continue
        fields.param(param_name(record.method, name), value)
        if name.rpartition(".")[2] == "learning_rate" and is_number(value) and value > 0:
            # MLflow's parallel-coordinates plot has no logarithmic axis.
            fields.metric("search.log10_" + param_name(record.method, name), math.log10(value))


def _add_tags(fields: Fields, record: TrialRecord, *, sweep: str, sweep_id: str, benchmark: str | None) -> None:
    tags = {
        "sweep": sweep,
        "sweep_id": sweep_id,
        "method": record.method,
        "benchmark": benchmark,
        "seed": record.seed,
        "state": record.state,
        "reason": record.reason,
        "failed_stage": record.failed_stage,
        "trial_key": record.key,
        "trial_number": record.number,
        "duplicate_of": record.duplicate_of,
        "attempts": record.attempts,
        "reused_stages": ", ".join(record.reused_stages) or None,
        "rob_is_bound": record.rob_is_bound,
        "code": record.code,
        "infeasible": record.infeasible,
        "stops_at": record.stopping.share if record.stopping is not None else None,
        "ran_anyway": record.stopping.ran_anyway if record.stopping is not None else None,
    }
    for name, value in tags.items():
        fields.tag(name, value)


def _add_objectives(fields: Fields, record: TrialRecord) -> None:
    reason = record.reason or f"the trial is {record.state}"
    why = record.missing | ({"rob": record.rob_reason} if record.rob_reason else {})
    fields.metric("rob", record.rob, reason=why.get("rob") or reason)
    fields.metric("unseen.rob", record.report_rob, reason=why.get("report_rob"))
    if record.rob_detail:
        for family, value in sorted(record.rob_detail.families.items()):
            fields.metric(f"rob.family.{family}", value)
    add_scores(fields, record)


def add_scores(fields: Fields, record: TrialRecord) -> None:
    """Add UE and UT on both halves, with their parts and standard errors."""
    reason = record.reason or f"the trial is {record.state}"
    for name in ("ue", "ut"):
        fields.metric(name, getattr(record, name), reason=record.missing.get(name) or reason)
        fields.metric(f"unseen.{name}", getattr(record, f"report_{name}"), reason=record.missing.get(f"report_{name}"))
    if record.ue_detail:
        _add_detail(fields, "ue", record.ue_detail, with_split=False)
    if record.ut_detail:
        _add_detail(fields, "ut", record.ut_detail, with_split=True)


def _add_seeds(fields: Fields, record: TrialRecord) -> None:
    """Add the seed statistics of a finalist: `seeds.ue.mean`, `seeds.ue.deviation` and the number of runs.

    The step is the number of runs, because MLflow shows the larger of two values at the same step, not the later one.
    """
    found = seed_summary(record)
    if found is None:
        return
    fields.metric("seeds.runs", found.runs, step=found.runs)
    fields.metric("seeds.complete", found.complete, step=found.runs)
    fields.tag("seeds.lost", "; ".join(found.lost) or None)
    for name, spread in found.spreads.items():
        prefix = f"seeds.{name.replace('report_', 'unseen.')}"
        fields.metric(f"{prefix}.mean", spread.mean, step=found.runs)
        fields.metric(f"{prefix}.deviation", spread.deviation, step=found.runs)


def _add_detail(fields: Fields, prefix: str, objective: Objective, *, with_split: bool) -> None:
    """Add the parts of UE or UT.

    Scores in [0, 1] are named `ue.<metric>` and `ut.<split>.<metric>`, raw values `value.<split>.<metric>`, and group
    means `ue.group.<group>` and `ut.group.<group>`.
    """
    fields.metric(f"{prefix}.standard_error", objective.standard_error)
    for part in objective.parts:
        name = f"{part.split}.{part.metric}" if with_split else part.metric
        fields.metric(f"{prefix}.{name}", part.score, reason=part.reason)
        fields.metric(f"value.{part.split}.{part.metric}", part.value)
    for group, value in sorted(objective.groups.items()):
        fields.metric(f"{prefix}.group.{group}", value)


def _add_attack(fields: Fields, score: AttackScore) -> None:
    """Add `rob.<attack>` and its curve."""
    reason = score.reason or ("skipped" if score.skipped else None)
    fields.metric(f"rob.{score.attack}", score.value, reason=reason)
    fields.metric(f"rob.{score.attack}.standard_error", score.standard_error)
    fields.metric(f"unseen.rob.{score.attack}", score.report_value, reason=score.report_reason)
    fields.metric(f"rob.{score.attack}.utility", score.utility)
    add_curve(fields, score, f"strength/{score.attack}/still_forgotten", f"strength/{score.attack}/utility")


def add_attackers(fields: Fields, record: TrialRecord) -> None:
    """Add what each searched attacker left, as of an attack that is not searched, and its worst setting.

    Tag `worst.<attacker>` names that setting, and `worst.<attacker>.<parameter>` has its searched values, which are
    metrics as well where they are numbers.
    """
    for attacker, score in worst_settings(record.rob_detail, record.attacks).items():
        fields.metric(f"rob.{attacker}", score.value, reason=score.reason)
        fields.metric(f"rob.{attacker}.standard_error", score.standard_error)
        fields.metric(f"unseen.rob.{attacker}", score.report_value, reason=score.report_reason)
        fields.tag(f"worst.{attacker}", score.attack)
        for name, value in sorted(score.setting.items()):
            fields.tag(f"worst.{attacker}.{name}", value)
            if is_number(value):
                fields.metric(f"worst.{attacker}.{name}", value)


def add_curve(fields: Fields, score: AttackScore, still_forgotten: str, utility: str) -> None:
    """Add the curve of an attack as two metrics of these names.

    The step is the attack's strength, so MLflow plots forgetting against strength. If the strengths are not distinct
    integers, the step is the position in the curve.
    """
    strengths = [point.strength for point in score.curve]
    whole = all(math.isfinite(strength) and strength == int(strength) for strength in strengths)
    distinct = len(set(strengths)) == len(strengths)
    steps = [int(strength) for strength in strengths] if whole and distinct else range(len(strengths))
    for step, point in zip(steps, score.curve, strict=True):
        fields.metric(still_forgotten, point.still_forgotten, step=step)
        fields.metric(utility, point.utility, step=step)


def attack_lines(attacks: Iterable[AttackScore]) -> Iterator[list[Any]]:
    """Yield one row per attack and strength. An attack without a curve gets one row with its reason."""
    for score in attacks:
        for point in score.curve:
            numbers = [finite(point.strength), point.unit, finite(point.still_forgotten), finite(point.utility)]
            yield [score.attack, score.family, *numbers, point.reason or score.reason]
        if not score.curve:
            yield [score.attack, score.family, None, None, None, None, score.reason]


def add_training(fields: Fields, outcome: TrainOutcome) -> None:
    """Add the numbers of a training below `train/`, and the curve of each loss term.

    The final loss terms are left out: they are the last points of the curves.
    """
    values = outcome.model_dump(exclude={"terms", "curve", "conventions", "probes"})
    for name, value in sorted(values.items()):
        if is_number(value):
            fields.metric(f"train/{name}", value)
    missing: dict[str, int] = {}
    for position, point in enumerate(outcome.curve):
        step = point.get("step")
        for name, value in point.items():
            if name == "step":
                continue
            if value is None or not math.isfinite(value):
                missing[name] = missing.get(name, 0) + 1
            else:
                fields.metric(f"train/{name}", value, step=position if step is None else int(step))
    for name, count in missing.items():
        fields.tag(f"no_value.train/{name}", f"{count} of {len(outcome.curve)} points missing or not finite")
    for probe in {probe.step: probe for probe in outcome.probes}.values():  # of few steps, several shares have one
        for name, value in (("forget", probe.forget), ("retain", probe.retain)):
            fields.metric(f"train/probe_{name}", value, step=probe.step, reason="not finite")
    fields.tag("train.stopped_early", outcome.stopped_early)
    fields.tag("train.stop_reason", outcome.stop_reason)


def sweep_fields(front: Front | None, controls: Controls | None, records: Sequence[TrialRecord]) -> Fields:
    """Convert a sweep to the content of its run. Leave out the hypervolume curve, which is logged incrementally."""
    fields = Fields()
    states = [record.state for record in records]
    for state in sorted(set(states)):
        fields.tag(f"trials.{state}", states.count(state))
    versions = code_versions(records)
    if len(versions) > 1:
        shown = ", ".join(f"{version}: {count} trials" for version, count in versions.items())
        fields.tag("several_code_versions", shown)
    if front:
        fields.tag("trials_settled", front.trials_settled)
        fields.tag("trials_wanted", front.trials_wanted)
        fields.tag("front_size", len(front.front))
        fields.tag("hypervolume_reference_point", list(front.reference_point))
        fields.table("front.json", FRONT_COLUMNS, front_lines(front, records))
    if controls:
        for control in (controls.original, controls.gold):
            fields.metric(f"control.{control.model}.ue", control.ue, reason="not measured")
            fields.metric(f"control.{control.model}.ut", control.ut, reason="not measured")
    return fields


def front_lines(front: Front, records: Sequence[TrialRecord]) -> Iterator[list[Any]]:
    """Yield one row per non-dominated trial, best robustness first."""
    chosen = [record for record in records if is_on_front(record, front)]
    chosen.sort(key=lambda record: (-(record.rob if record.rob is not None else -1.0), record.number))
    for record in chosen:
        objectives = [finite(value) for value in (record.ue, record.ut, record.rob)]
        settings = as_text(record.params)
        yield [record.number, record.key, record.method, record.seed, *objectives, record.rob_is_bound, settings]


def is_on_front(record: TrialRecord, front: Front) -> bool:
    """Return whether the trial is on the front. A duplicate is not, even if the trial it repeats is."""
    return record.key in front.front and record.state != "duplicate"


def is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def finite(value: float | None) -> float | None:
    """Return the value if it is finite and thus valid JSON, else None."""
    return value if value is not None and math.isfinite(value) else None


def hypervolume_curve(front: Front) -> dict[int, float]:
    """Map the number of settled trials to the hypervolume. Skip non-finite values; of duplicates, keep the last."""
    return {step: value for step, value in front.hypervolume_curve if math.isfinite(value)}
