"""Which attack to run next: the one that most likely ends the trial, for its cost.

A trial ends early once a finished trial beats (UE, UT, bound of Rob). What an attack does to this trial is not known
before it is run, but what it did to earlier trials is: with each of those scores in its place, would the bound be
beaten? The share of them for which it would is the attack's chance, and chance over cost decides. Rob is a minimum
over families and a family's score the mean of its attacks, so one attack of a large family may never end a trial by
itself; a family's remaining attacks are therefore also looked at together, and its cheapest goes first.

It is a function of the settled trials a trial may see and of nothing else. Costs are seconds as measured; in a
reproducible sweep, where the measured seconds of another machine or run must not change what is skipped, they are the
work of an attack in rows read.
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
"""Trials with measured attacks before anything is learnt from them; until then the file's order holds."""
VALUES_KEPT = 24
PRIOR = 0.2
"""Trials that ended, and as many that did not, taken as seen before any: little, so that experience decides soon."""
LEVELS = 12
"""At how many ranks the scores of a family's attacks are put together."""


class AttackOutlook(BaseModel):
    """What to expect of one attack: scores it left earlier trials with, ascending, and its cost. `seen`: how many."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scores: list[float]
    seen: int
    cost: float


def outlooks(
    records: Iterable[TrialRecord], attacks: Sequence[AttackSettings], base_costs: Mapping[str, float], *, timed: bool
) -> dict[str, AttackOutlook]:
    """The outlook of each attack, from settled trials. Empty while fewer than `LEARN_FROM` of them were attacked.

    `base_costs` are the costs where none was measured; without `timed` they are the only ones.
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
) -> AttackSettings:
    """The attack of `waiting` to run now. `ends` says whether the trial would be over with these attacks' scores.

    In the order of the file where nothing is learnt yet, or where not even scores of 0 would end the trial.
    """
    known = {score.attack: score.value for score in done}
    if not all(attack.label in outlook for attack in waiting):
        return waiting[0]
    if not ends({**known, **{attack.label: 0.0 for attack in waiting}}):
        return waiting[0]
    groups = [[attack] for attack in waiting] + _families(waiting)
    best = max(groups, key=lambda group: _chance(group, known, outlook, ends) / _cost(group, outlook))
    return min(best, key=lambda attack: outlook[attack.label].cost)


def base_costs(
    attacks: Sequence[AttackSettings], prepared: Prepared, store: StageStore, *, timed: bool
) -> dict[str, float]:
    """The cost of each attack by its run on the original model: its seconds, or (not `timed`) its work in rows read."""
    costs = {}
    for attack in attacks:
        key = prepared.attacks[attack.label]["original"]
        if timed:
            stage = store.result(key)
            if stage is None:
                raise FileNotFoundError(f"the stage {key} of attack {attack.label} on the original is gone")
            costs[attack.label] = stage.seconds
        else:
            tables = control_tables(prepared, store).attacked(attack.label, "original")
            costs[attack.label] = work_of(attack, sum(len(rows) for rows in tables.values()))
    return costs


def work_of(attack: AttackSettings, measured_rows: int) -> float:
    """The cost of an attack in rows read: training on a row is three of it. Depends on no clock."""
    work = attack_work(attack)
    return float(3 * work.trained_rows + work.read_rows + measured_rows)


def _families(waiting: Sequence[AttackSettings]) -> list[list[AttackSettings]]:
    """The attacks that wait, by family, where a family has more than one of them."""
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
    """Chance that the trial is over after these attacks, a half where nothing was seen.

    Attacks of one family mostly agree on a trial, so their scores are put together by rank.
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
    """The score at a rank between 0 (lowest) and 1 (highest)."""
    return scores[round(rank * (len(scores) - 1))]


def _thinned(scores: Sequence[float]) -> list[float]:
    """At most `VALUES_KEPT` of them, evenly over the ranks, both ends kept."""
    if len(scores) <= VALUES_KEPT:
        return list(scores)
    return [_at(scores, place / (VALUES_KEPT - 1)) for place in range(VALUES_KEPT)]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
