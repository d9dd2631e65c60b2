"""What a reader must know before trusting a trial's numbers: it lies beyond gold, or its Rob exceeds its UE."""

from __future__ import annotations

from unlearn_sweep.engine.store.records import Controls, TrialRecord
from unlearn_sweep.evaluators.catalog import METRICS

PAST_GOLD = 0.1
ERRORS_PAST = 2.0
ABOVE = 0.005


def cautions(trial: TrialRecord, controls: Controls | None) -> list[str]:
    """Return the cautions of one trial as sentences without a final period; empty if there are none."""
    past = [] if controls is None else beyond_gold(trial, controls)
    found = [f"beyond gold: {', '.join(past)}; a sign that something was removed"] if past else []
    pairs = (("ue", "rob", "search half"), ("report_ue", "report_rob", "unseen half"))
    above = [where for ue, rob, where in pairs if _is_above(getattr(trial, ue), getattr(trial, rob))]
    if above and not trial.rob_is_bound:
        found.append(
            f"Rob above UE on the {' and the '.join(above)}: the attacks move original and gold, between which Rob is "
            "laid, too, so this does not mean that an attack makes the model forget"
        )
    return found


def beyond_gold(trial: TrialRecord, controls: Controls) -> list[str]:
    """Return the forget metrics by which a trial is far past gold, as "probability 0.003 where gold has 0.183".

    Far: more than a tenth of the way from original to gold, and more than two standard errors of gold. The score of
    such a metric is cut at 1, so the objectives do not show it. Metrics whose target is gold itself are left out, since
    both sides of gold lower their score. On the search half.
    """
    if trial.ue_detail is None:
        return []
    errors = {
        one.metric: one.standard_error
        for one in controls.gold.measured
        if one.split == "forget" and one.half == "search"
    }
    texts = []
    for part in trial.ue_detail.parts:
        card, error = METRICS.get(part.metric), errors.get(part.metric)
        if card is None or card.better_on_forget == "gold" or error is None:
            continue
        if part.score is None or part.value is None or part.original is None or part.gold is None:
            continue
        past = (part.gold - part.value) * (1 if part.original > part.gold else -1)
        if past > PAST_GOLD * abs(part.original - part.gold) and past > ERRORS_PAST * error:
            texts.append(f"{part.metric} {_short(part.value)} where gold has {_short(part.gold)}")
    return texts


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


def _is_above(ue: float | None, rob: float | None) -> bool:
    return ue is not None and rob is not None and rob > ue + ABOVE
