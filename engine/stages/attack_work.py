"""Look up the work of an attack of the sweep: what its parameters declare."""

from __future__ import annotations

from unlearn_sweep.engine.job import AttackSettings
from unlearn_sweep.evaluators.attacks.attack_params import AttackWork


def attack_work(attack: AttackSettings) -> AttackWork:
    """Return the work of an attack, without the evaluation of its states.

    Raises:
        ValueError: no such attack, or parameters that it refuses.
    """
    from unlearn_sweep.evaluators.attacks.catalog import validate

    return validate(attack.name, attack.params).work()
