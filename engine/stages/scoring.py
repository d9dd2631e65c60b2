"""Compute a trial's UE, UT and Rob from per-row tables, on the search half and on the report half.

The formulas are in `evaluators.objectives`. This module passes them the tables of the trial and of the controls, and
converts the results to records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from unlearn_sweep.engine.stages.control_tables import by_strength, control_tables
from unlearn_sweep.engine.store.draws import pack, unpack
from unlearn_sweep.engine.store.outcomes import AttackOutcome, AttackState
from unlearn_sweep.engine.store.records import (
    AttackPoint,
    AttackScore,
    EvaluationScores,
    Objective,
    RequestScore,
    RobustnessScores,
    StageResult,
)
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.evaluators.scores import FORGET_SPLIT

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_sweep.engine.job import AttackSettings, SweepJob
    from unlearn_sweep.engine.stages.prepared import Prepared
    from unlearn_sweep.evaluators.objectives.parts import Drawn
    from unlearn_sweep.evaluators.scores import AttackScore as Scored
    from unlearn_sweep.evaluators.scores import AttackTables


class Scorer:
    """Scores models of one sweep against its controls.

    Attributes:
        draws: bootstrap draws of everything scored so far, packed and named as in `TrialRecord.draws`.
    """

    def __init__(self, job: SweepJob, prepared: Prepared, store: StageStore) -> None:
        self.job = job
        self.store = store
        self.controls = control_tables(prepared, store)
        self.draws: dict[str, str] = {}

    def evaluation(self, rows: pd.DataFrame) -> EvaluationScores:
        """Return UE and UT of a model's evaluation rows on both halves, without the parts of the report half."""
        found = {
            f"{prefix}{name}": score(rows, half)
            for prefix, half in (("", "search"), ("report_", "report"))
            for name, score in (("ue", self.effectiveness), ("ut", self.utility))
        }
        self.draws |= {name: pack(draws) for name, (_, draws) in found.items() if len(draws)}
        ue, ut, report_ue, report_ut = (objective for objective, _ in found.values())
        return EvaluationScores(
            ue=ue.value,
            ut=ut.value,
            ue_detail=ue,
            ut_detail=ut,
            report_ue=report_ue.value,
            report_ut=report_ut.value,
            report_ue_detail=report_ue.model_copy(update={"parts": ()}),
            report_ut_detail=report_ut.model_copy(update={"parts": ()}),
        )

    def after(self, rows: pd.DataFrame, request: int) -> RequestScore:
        """Return UE and UT of a model that has forgotten the first requests: UE of their rows alone, UT of all."""
        ue, report_ue = (self.effectiveness(rows, half, after=request)[0] for half in ("search", "report"))
        ut, report_ut = (self.utility(rows, half)[0] for half in ("search", "report"))
        return RequestScore(
            after=request,
            ue=ue.value,
            ut=ut.value,
            ue_standard_error=ue.standard_error,
            ut_standard_error=ut.standard_error,
            report_ue=report_ue.value,
            report_ut=report_ut.value,
            reason=ue.reason or ut.reason,
        )

    def effectiveness(self, rows: pd.DataFrame, half: str, *, after: int | None = None) -> Drawn[Objective]:
        from unlearn_sweep.evaluators.objectives.forgetting import effectiveness

        tables = {"unlearned": rows, "original": self.controls.original, "gold": self.controls.gold}
        return effectiveness(tables, self.job.ue_metrics, self._facts(half, after), weights=self.job.ue_weights)

    def _facts(self, half: str, after: int | None = None) -> frozenset[str]:
        """Return the facts of a half, without those of later requests than `after` (None: the sweep's last)."""
        facts = self.controls.halves[half]
        if self.job.requests is None:
            return facts
        return facts - self.controls.groups_after(self.job.requests.after[-1] if after is None else after)

    def utility(self, rows: pd.DataFrame, half: str) -> Drawn[Objective]:
        from unlearn_sweep.evaluators.objectives.utility import retention

        return retention(
            rows,
            self.controls.original,
            self.job.ut_metrics,
            groups=self.controls.halves[half],
            beside=self.job.beside,
            means=self.job.ut_groups,
        )

    def read_ahead(self) -> None:
        """Read the controls' tables in the background."""
        self.controls.read_ahead()

    # --- attacks ------------------------------------------------------------------------------------------------------

    def attack(self, attack: AttackSettings, result: StageResult, *, before: EvaluationScores) -> AttackScore:
        """Return the score of one attack on the search half, and the values on the report half.

        `before` is the model without an attack. Its UT is used for states whose utility was not measured again, because
        the attack changed the prompts and not the model, and is what the states of a searched attacker must keep.
        """
        rows = self.store.rows(result.key)
        points = self._points(attack, rows, result.outcome(AttackOutcome).points, before.ut)
        weak_to_strong = {point.strength: position for position, point in enumerate(points)}  # 8 bits before 4
        (search, drawn), (report, report_drawn) = self._both_halves(attack, points, before)
        both = {f"attack:{attack.label}": drawn, f"report_attack:{attack.label}": report_drawn}
        self.draws |= {name: pack(draws) for name, draws in both.items() if len(draws)}
        curve = sorted(search.curve, key=lambda point: weak_to_strong[point.strength])
        unseen = {point.strength: point for point in report.curve}
        whole = tuple(point.model_copy(update={"report_metrics": unseen[point.strength].metrics}) for point in curve)
        scored = dict(search) | {"curve": whole, "utility": points[-1].utility if points else None}
        return AttackScore(
            **scored,
            attack=attack.label,
            family=attack.family,
            **setting_of(attack),
            report_value=report.value,
            report_standard_error=report.standard_error,
            report_reason=report.reason,
            report_left=tuple(unseen[point.strength].still_forgotten for point in curve),
        )

    def without_model(self, attack: AttackSettings, reason: str, *, before: EvaluationScores) -> AttackScore:
        """Return the score of a searched attacker's setting that left no model: the attacker leaves it as it was."""
        found = self._untouched(before)
        named = (f"attack:{attack.label}", f"report_attack:{attack.label}")
        self.draws |= {name: pack(draws) for name, (_, draws) in zip(named, found, strict=True) if len(draws)}
        (search, _), (report, _) = found
        return AttackScore(
            value=search.value,
            standard_error=search.standard_error,
            attack=attack.label,
            family=attack.family,
            **setting_of(attack),
            report_value=report.value,
            report_standard_error=report.standard_error,
            reason=f"left no model, so the attacker leaves it as it is: {reason}",
        )

    def _both_halves(
        self, attack: AttackSettings, points: Sequence[AttackTables], before: EvaluationScores
    ) -> tuple[Drawn[Scored], Drawn[Scored]]:
        """Return score and draws on the search half and on the report half."""
        from unlearn_sweep.evaluators.objectives.attacker import worst_kept
        from unlearn_sweep.evaluators.objectives.robustness import attacked

        metrics, weights = self.job.ue_metrics, self.job.ue_weights
        halves = self._facts("search"), self._facts("report")
        if attack.searched is None:
            search, report = (attacked(points, metrics, groups=facts, weights=weights) for facts in halves)
            return search, report
        least = None if before.ut is None else before.ut * attack.searched.utility_floor
        untouched = self._untouched(before)
        return worst_kept(points, metrics, halves=halves, least_utility=least, untouched=untouched, weights=weights)

    def _untouched(self, before: EvaluationScores) -> tuple[Drawn[Objective], Drawn[Objective]]:
        """Return UE without an attack, and its draws, on both halves."""
        import numpy as np

        found = []
        for name, detail in (("ue", before.ue_detail), ("report_ue", before.report_ue_detail)):
            packed = self.draws.get(name)
            draws = np.empty(0) if packed is None else unpack(packed)
            found.append((detail or Objective(value=None, reason="UE was not measured"), draws))
        return found[0], found[1]

    def control_attack(self, attack: AttackSettings, which: str) -> list[AttackPoint]:
        """Return the mean metrics of a control at each strength of an attack, without normalised scores."""
        return [
            AttackPoint(
                strength=strength,
                unit=str(rows["unit"].iloc[0]),
                still_forgotten=None,
                utility=self._utility(rows),
                metrics=self._forget_means(rows, "search"),
                report_metrics=self._forget_means(rows, "report"),
            )
            for strength, rows in self.controls.attacked(attack.label, which).items()
        ]

    def _forget_means(self, rows: pd.DataFrame, half: str) -> dict[str, float]:
        """Return the mean of each metric of UE over the forget rows of a half; without those that have no value."""
        mine = rows.loc[(rows["split"] == FORGET_SPLIT) & rows["group_id"].isin(list(self._facts(half)))]
        means = mine[[name for name in self.job.ue_metrics if name in rows.columns]].mean().dropna()
        return {str(name): float(value) for name, value in means.items()}

    def robustness(self, attacks: Sequence[AttackScore]) -> RobustnessScores:
        """Return Rob on both halves, or its upper bound while attacks are missing; empty if the sweep has none."""
        from unlearn_sweep.evaluators.objectives.robustness import robustness

        families, attackers = self.job.families, self.job.attackers
        if not families:
            return RobustnessScores()
        done = [score for score in attacks if not score.skipped]
        search = robustness({score.attack: score.value for score in done}, families, attackers)
        report = robustness(
            {score.attack: score.report_value for score in done if _counts(score.attack, attackers, search.worst)},
            {label: family for label, family in families.items() if _counts(label, attackers, search.worst)},
            attackers,
        )
        return RobustnessScores(
            rob=search.value,
            rob_is_bound=search.is_bound,
            rob_reason=None if search.value is not None else _unscored(done),
            report_rob=report.value,
            rob_detail=search,
            report_rob_detail=report,
        )

    def gold_robustness(self) -> RobustnessScores:
        """Return Rob of the gold model as for a trial; None with a reason if no trial can have a Rob."""
        from unlearn_sweep.evaluators.objectives.robustness import attack_score
        from unlearn_sweep.evaluators.scores import AttackTables

        scores = []
        for attack in self.job.attacks:
            original, gold = (self.controls.attacked(attack.label, which) for which in ("original", "gold"))
            points = [
                AttackTables(
                    strength=at,
                    unit=str(rows["unit"].iloc[0]),
                    unlearned=rows,
                    original=original.get(at, rows.head(0)),
                    gold=rows,
                )
                for at, rows in gold.items()
            ]
            facts = self.controls.halves["search"]
            found = attack_score(points, self.job.ue_metrics, groups=facts, weights=self.job.ue_weights)
            own = setting_of(attack)
            scores.append(
                AttackScore(attack=attack.label, family=attack.family, value=found.value, reason=found.reason, **own)
            )
        return self.robustness(scores)

    def highest_robustness(self, scores: Mapping[str, float | None]) -> float | None:
        """Return the upper bound of Rob given these attack scores; None if all attacks are done without a score."""
        from unlearn_sweep.evaluators.objectives.robustness import robustness

        return robustness(scores, self.job.families, self.job.attackers).value

    def _points(
        self, attack: AttackSettings, rows: pd.DataFrame, points: Sequence[AttackState], utility: float | None
    ) -> list[AttackTables]:
        from unlearn_sweep.evaluators.scores import AttackTables

        original, gold = (self.controls.attacked(attack.label, which) for which in ("original", "gold"))
        unlearned, nothing = by_strength(rows), rows.head(0)
        tables = []
        for point in points:
            at = point.strength
            mine = unlearned.get(at, nothing)
            after = self._utility(mine)
            tables.append(
                AttackTables(
                    strength=at,
                    unit=point.unit,
                    unlearned=mine,
                    original=original.get(at, nothing),
                    gold=gold.get(at, nothing),
                    utility=utility if after is None else after,
                    notes=point.notes,
                )
            )
        return tables

    def _utility(self, rows: pd.DataFrame) -> float | None:
        """Return UT of attacked rows; None if utility was not measured because the attack changed no weights."""
        return self.utility(rows, "search")[0].value if bool((rows["split"] != FORGET_SPLIT).any()) else None


class SettingOf(TypedDict, total=False):
    """The fields of an attack's score that name the searched attacker it is a setting of."""

    searched: str
    setting: dict[str, Any]


def setting_of(attack: AttackSettings) -> SettingOf:
    """Return these fields; empty for an attack that is not searched."""
    if attack.searched is None:
        return {}
    return {"searched": attack.searched.label, "setting": dict(attack.searched.values)}


def _counts(label: str, attackers: Mapping[str, str], worst: Mapping[str, str]) -> bool:
    """Return whether an attack counts on the report half: of a searched attacker, only its worst on the search half."""
    return label not in attackers or worst.get(attackers[label], label) == label


def _unscored(attacks: Sequence[AttackScore]) -> str:
    """Return why no attack has a score: each reason once, with its attacks."""
    reasons: dict[str, list[str]] = {}
    for score in attacks:
        reasons.setdefault(score.reason or "no reason given", []).append(score.attack)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
