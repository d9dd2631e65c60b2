"""Report attacks that would measure nothing: no metric reads what they draw, or no state is attacked at all."""

from __future__ import annotations

from collections.abc import Sequence

from unlearn_sweep.engine.job import AttackSettings
from unlearn_sweep.evaluators.attacks.catalog import CHAIN, validate
from unlearn_sweep.evaluators.cards import GENERATED
from unlearn_sweep.evaluators.catalog import METRICS, row_metrics
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing

SAMPLE = "sample"


def check_effects(attacks: Sequence[AttackSettings], ue: Sequence[str], collector: ProblemCollector) -> None:
    """Report each attack of the file that cannot change what is scored, once."""
    _check_sampling(attacks, ue, collector)
    _check_sampling_is_last(attacks, collector)
    _check_strengths(attacks, collector)


def links_of(attack: AttackSettings) -> list[str]:
    """Return the names of the attacks that an attack runs, in order: its own, or those of a chain."""
    steps = attack.params["steps"] if attack.name == CHAIN else [{attack.name: attack.params}]
    return [next(iter(step)) for step in steps]


def _check_sampling(attacks: Sequence[AttackSettings], ue: Sequence[str], collector: ProblemCollector) -> None:
    """Report attack `sample`, also inside a chain, where no metric of UE reads the answers it draws."""
    known = [name for name in ue if name in METRICS]  # an unknown one is a mistake of its own
    reading = [name for name in row_metrics(known) if METRICS[name].needs in GENERATED]
    for attack in attacks:
        if reading or SAMPLE not in links_of(attack) or not collector.is_valid(("attacks", attack.entry)):
            continue
        collector.add(
            ("attacks", attack.entry),
            "draws answers, and no metric of ue reads generated answers: it would change nothing",
            given=SAMPLE,
            allowed=listing(name for name, card in METRICS.items() if card.needs in GENERATED and "ue" in card.serves),
            advice="add one of them to ue, or leave the attack out",
        )


def _check_sampling_is_last(attacks: Sequence[AttackSettings], collector: ProblemCollector) -> None:
    """Report a chain that goes on behind `sample`, which leaves no model or prompt to go on from."""
    for attack in attacks:
        if SAMPLE in links_of(attack)[:-1] and collector.is_valid(("attacks", attack.entry)):
            collector.add(
                ("attacks", attack.entry),
                "sample draws the answers that are scored, so it can only be the last attack of a chain",
                given=" > ".join(links_of(attack)),
                allowed="a chain that ends with sample, or has none",
                advice="move sample to the end",
            )


def _check_strengths(attacks: Sequence[AttackSettings], collector: ProblemCollector) -> None:
    """Report an attack whose only state is the model as it is; of a searched attacker, one without another setting."""
    strongest: dict[int, float | None] = {}
    for attack in attacks:
        own, before = validate(attack.name, attack.params).strongest, strongest.get(attack.entry, 0)
        strongest[attack.entry] = None if own is None or before is None else max(own, before)
    for attack in attacks:
        own = validate(attack.name, attack.params).strongest
        weak = own == 0 and (attack.searched is None or strongest[attack.entry] == 0)
        if weak and collector.is_valid(("attacks", attack.entry)):
            collector.add(
                ("attacks", attack.entry),
                f"attack {attack.label} has no strength above 0: it asks the model as it is, which no score counts",
                given="0",
                allowed="at least one strength above 0",
                advice="raise the strength, or leave the attack out",
            )
