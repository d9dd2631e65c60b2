"""Choose the next attack of a trial: the one with the highest chance of ending the trial per unit of cost.

A trial ends early once a finished trial dominates (UE, UT, upper bound of Rob). The score of an attack on this trial is
unknown before it runs, but its scores on earlier trials are known. The chance of an attack is the share of those scores
that would end this trial. The attack with the highest chance / cost runs next.

Rob is the minimum over families, and a family's score is the mean of its attacks. One attack of a large family may
therefore never end a trial on its own. So the remaining attacks of a family are also rated as a group; if the group is
best, its cheapest attack runs first.

The choice depends only on the settled trials that a trial may see. Costs are measured seconds. In a reproducible sweep,
timings of another machine or run must not change which attacks are skipped, so there the cost is the attack's work in
rows read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.job import AttackSettings
from unlearn_sweep.engine.stages.attack_work import attack_work
from unlearn_sweep.engine.stages.control_tables import control_tables
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.store.records import AttackScore, TrialRecord
from unlearn_sweep.engine.store.stages import StageStore

LEARN_FROM = 5
"""Minimum number of attacked trials to learn from; with fewer, attacks run in the order of the sweep file."""
VALUES_KEPT = 24
PRIOR = 0.2
"""Pseudo-count of trials that ended, and of trials that did not. Small, so that a few observed trials outweigh it."""
LEVELS = 12
"""Number of ranks at which the scores of a family's attacks are combined."""


class AttackOutlook(BaseModel):
    """Expected effect and cost of one attack.

    Attributes:
        scores: scores of earlier trials under this attack, ascending; at most `VALUES_KEPT`.
        seen: number of scores observed before thinning.
        cost: seconds, or rows read in a reproducible sweep.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    scores: list[float]
    seen: int
    cost: float


def outlooks(
    records: Iterable[TrialRecord], attacks: Sequence[AttackSettings], base_costs: Mapping[str, float], *, timed: bool
) -> dict[str, AttackOutlook]:
    """Return the outlook of each attack from settled trials; empty if fewer than `LEARN_FROM` of them were attacked.

    `base_costs` is used for attacks without a measured cost, and for all attacks if `timed` is false.
    """
    attacked = [record for record in records if any(not score.skipped for score in record.attacks)]
    if len(attacked) < LEARN_FROM:
        return {}
    scores: dict[str, list[float]] = {attack.label: [] for attack in attacks}
    seconds: dict[str, list[float]] = {attack.label: [] for attack in attacks}
    for record in attacked:
        for score in record.attacks:
            if score.value is not None and not score.skipped and score.attack in scores:
                scores[score.attack].append(score.value)
                took = record.stage_seconds.get(f"attack:{score.attack}", 0.0)
                seconds[score.attack] += [took] if timed and took > 0 else []
    return {
        label: AttackOutlook(
            scores=_thinned(sorted(found)), seen=len(found), cost=_mean(seconds[label]) or base_costs[label]
        )
        for label, found in scores.items()
    }


def next_attack(
    waiting: Sequence[AttackSettings],
    done: Sequence[AttackScore],
    outlook: Mapping[str, AttackOutlook],
    ends: Callable[[Mapping[str, float | None]], bool],
    tried_first: Sequence[str] = (),
) -> AttackSettings:
    """Return the attack of `waiting` to run next. `ends` returns whether the given attack scores would end the trial.

    Return the first one (file order) if an attack has no outlook yet, or if even scores of 0 would not end the trial;
    of a searched attacker, a setting in `tried_first` comes before the others.
    """
    known = {score.attack: score.value for score in done}
    seen = all(attack.label in outlook for attack in waiting)
    if not seen or not ends({**known, **{attack.label: 0.0 for attack in waiting}}):
        return _first(waiting, tried_first)
    groups = [[attack] for attack in waiting] + _families(waiting)
    best = max(groups, key=lambda group: _chance(group, known, outlook, ends) / _cost(group, outlook))
    return min(best, key=lambda attack: outlook[attack.label].cost)


def worst_of_last(records: Sequence[TrialRecord]) -> list[str]:
    """Return the setting of each searched attacker that left least forgotten in the last trial that was attacked.

    `records` are the trials that may be seen, in order.
    """
    last = next((record for record in reversed(records) if any(not score.skipped for score in record.attacks)), None)
    lowest: dict[str, AttackScore] = {}
    for score in last.attacks if last is not None else ():
        if score.searched is None or score.value is None:
            continue
        known = lowest.get(score.searched)
        if known is None or known.value is None or score.value < known.value:
            lowest[score.searched] = score
    return [score.attack for score in lowest.values()]


def _first(waiting: Sequence[AttackSettings], tried_first: Sequence[str]) -> AttackSettings:
    """Return the first attack, or for a setting of a searched attacker the one of its settings to try first."""
    first = waiting[0]
    if first.searched is None:
        return first
    same = (attack for attack in waiting if attack.searched and attack.searched.label == first.searched.label)
    return next((attack for attack in same if attack.label in tried_first), first)


def base_costs(
    attacks: Sequence[AttackSettings], prepared: Prepared, store: StageStore, *, timed: bool
) -> dict[str, float]:
    """Return the cost of each attack from its run on the original model, in seconds if `timed`, else in rows read.

    Raises:
        FileNotFoundError: `timed`, and the stage of an attack on the original model is gone.
    """
    costs = {}
    for attack in attacks:
        key = prepared.attacks[attack.label]["original"]
        if timed:
            stage = store.result(key)
            if stage is None:
                raise FileNotFoundError(
                    f"the stage {key} of attack {attack.label} on the original is missing from the storage"
                )
            costs[attack.label] = stage.seconds
        else:
            tables = control_tables(prepared, store).attacked(attack.label, "original")
            costs[attack.label] = work_of(attack, sum(len(rows) for rows in tables.values()))
    return costs


def work_of(attack: AttackSettings, measured_rows: int) -> float:
    """Return the cost of an attack in rows read. Training on a row counts as three. Independent of timing."""
    work = attack_work(attack)
    return float(3 * work.trained_rows + work.read_rows + measured_rows)


def _families(waiting: Sequence[AttackSettings]) -> list[list[AttackSettings]]:
    """Group the waiting attacks by family. Families with a single waiting attack are left out."""
    members: dict[str, list[AttackSettings]] = {}
    for attack in waiting:
        members.setdefault(attack.family, []).append(attack)
    return [group for group in members.values() if len(group) > 1]


def _chance(
    group: Sequence[AttackSettings],
    known: Mapping[str, float | None],
    outlook: Mapping[str, AttackOutlook],
    ends: Callable[[Mapping[str, float | None]], bool],
) -> float:
    """Estimate the probability that these attacks end the trial; 0.5 if an attack has no observed score.

    Attacks of one family mostly agree on a trial, so their scores are combined at equal rank.
    """
    seen = min(outlook[attack.label].seen for attack in group)
    if not seen:
        return 0.5
    levels = VALUES_KEPT if len(group) == 1 else LEVELS
    over = 0
    for level in range(levels):
        scores = {attack.label: _at(outlook[attack.label].scores, level / (levels - 1)) for attack in group}
        over += ends({**known, **scores})
    return (over / levels * seen + PRIOR) / (seen + 2 * PRIOR)


def _cost(group: Sequence[AttackSettings], outlook: Mapping[str, AttackOutlook]) -> float:
    return max(sum(outlook[attack.label].cost for attack in group), 1e-9)


def _at(scores: Sequence[float], rank: float) -> float:
    """Return the score at a rank between 0 (lowest) and 1 (highest)."""
    return scores[round(rank * (len(scores) - 1))]


def _thinned(scores: Sequence[float]) -> list[float]:
    """Return at most `VALUES_KEPT` scores, evenly spaced by rank, including the lowest and the highest."""
    if len(scores) <= VALUES_KEPT:
        return list(scores)
    return [_at(scores, place / (VALUES_KEPT - 1)) for place in range(VALUES_KEPT)]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
