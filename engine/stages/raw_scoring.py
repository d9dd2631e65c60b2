"""Score a model if a control is missing: raw metrics, and the reason why an objective has no value.

UE and Rob need the original and the gold model as anchors, UT needs the original. Without them only the raw metrics
are reported; nothing is substituted for the missing objectives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.stages.control_tables import by_strength
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.scoring import setting_of
from unlearn_sweep.engine.store.outcomes import AttackOutcome
from unlearn_sweep.engine.store.records import (
    AttackPoint,
    AttackScore,
    EvaluationScores,
    Normalised,
    Objective,
    RequestScore,
    Robustness,
    RobustnessScores,
    StageResult,
)
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.evaluators.scores import FORGET_SPLIT

if TYPE_CHECKING:
    import pandas as pd

CONTROLS = ("original", "gold")


class RawScorer:
    """Replaces `Scorer` if `prepared` lacks a control."""

    def __init__(self, job: SweepJob, prepared: Prepared, store: StageStore) -> None:
        self.job = job
        self.store = store
        self.tables = {which: store.rows(key) for which, key in prepared.evaluations.items()}
        self.missing = [which for which in CONTROLS if which not in self.tables]
        self.draws: dict[str, str] = {}  # without objectives there is nothing to draw

    @property
    def reason(self) -> str:
        """Why scores cannot be normalised by both controls."""
        models = " and no ".join(f"{which} model" for which in self.missing)
        return f"cannot be normalised: there is no {models}, and the benchmark has no recipe for one"

    def evaluation(self, rows: pd.DataFrame) -> EvaluationScores:
        """Return UE without a value but with its raw parts, and UT if there is an original model."""
        ue = Objective(value=None, parts=self._parts(rows, self.job.ue_metrics, "ue"), reason=self.reason)
        ut = self._utility(rows)
        return EvaluationScores(ut=ut.value, ue_detail=ue, ut_detail=ut)

    def after(self, rows: pd.DataFrame, request: int) -> RequestScore:
        """Return the request without a value: an audited model has no requests before it."""
        return RequestScore(after=request, reason=self.reason)

    def attack(self, attack: AttackSettings, result: StageResult, *, before: EvaluationScores) -> AttackScore:
        """Return the raw metrics at each strength, without a score."""
        units = {point.strength: (point.unit, point.notes) for point in result.outcome(AttackOutcome).points}
        curve = [
            self._point(strength, *units[strength], rows, before.ut)
            for strength, rows in by_strength(self.store.rows(result.key)).items()
        ]
        after = curve[-1].utility if curve else None
        return self._score(attack, self.reason, tuple(curve), after)

    def without_model(self, attack: AttackSettings, reason: str, *, before: EvaluationScores) -> AttackScore:
        """Return an attack without a score: it left no model."""
        return self._score(attack, f"left no model: {reason}", (), before.ut)

    def _score(
        self, attack: AttackSettings, reason: str, curve: tuple[AttackPoint, ...], utility: float | None
    ) -> AttackScore:
        return AttackScore(
            attack=attack.label,
            family=attack.family,
            **setting_of(attack),
            value=None,
            utility=utility,
            curve=curve,
            reason=reason,
        )

    def robustness(self, attacks: Sequence[AttackScore]) -> RobustnessScores:
        return RobustnessScores(rob_detail=Robustness(value=None, reason=self.reason))

    def highest_robustness(self, scores: Mapping[str, float | None]) -> float | None:
        return None

    def read_ahead(self) -> None:
        """Do nothing: the constructor has read the tables."""

    def _utility(self, rows: pd.DataFrame) -> Objective:
        if "original" in self.tables:
            from unlearn_sweep.evaluators.objectives.utility import utility_retention

            original, metrics = self.tables["original"], self.job.ut_metrics
            return utility_retention(rows, original, metrics, beside=self.job.beside, means=self.job.ut_groups)
        return Objective(value=None, parts=self._parts(rows, self.job.ut_metrics, "ut"), reason=self.reason)

    def _point(
        self, strength: float, unit: str, notes: dict[str, float], rows: pd.DataFrame, utility: float | None
    ) -> AttackPoint:
        forget = rows.loc[rows["split"] == FORGET_SPLIT]
        metrics = [name for name in self.job.ue_metrics if name in rows.columns]
        means = forget[metrics].mean().dropna()
        measured_again = bool((rows["split"] != FORGET_SPLIT).any())
        return AttackPoint(
            strength=strength,
            unit=unit,
            still_forgotten=None,
            utility=self._utility(rows).value if measured_again else utility,
            metrics={str(name): float(value) for name, value in means.items()},
            notes=notes,
        )

    def _parts(self, rows: pd.DataFrame, metrics: Sequence[str], objective: str) -> tuple[Normalised, ...]:
        """Return each metric's mean on the forget split (UE) or on each other split (UT), with the controls' means."""
        from unlearn_sweep.evaluators.aggregate import measure
        from unlearn_sweep.evaluators.catalog import METRICS

        def means(table: pd.DataFrame) -> dict[tuple[str, str], float | None]:
            return {(found.metric, found.split): found.value for found in measure(table, metrics)}

        controls = {which: means(table) for which, table in self.tables.items()}
        return tuple(
            Normalised(
                metric=metric,
                split=split,
                group=METRICS[metric].group,
                value=value,
                original=controls.get("original", {}).get((metric, split)),
                gold=controls.get("gold", {}).get((metric, split)),
                score=None,
                reason=self.reason,
            )
            for (metric, split), value in means(rows).items()
            if (split == FORGET_SPLIT) == (objective == "ue")
        )
