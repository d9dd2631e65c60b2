"""Contract checks for samplers. Each raises ContractError on a violation. Used by the tests and `check-plugin`.

They run the sweep's own broker and journal over made-up results: no model, no training.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_sweep.engine.contracts.failure import require
from unlearn_sweep.engine.samplers.cards import SamplerCard
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.search_space import Choice, Fixed, Integer, LogInteger, LogUniform, MethodSpace, Uniform
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.broker import Proposal, StudyBroker
from unlearn_sweep.user_error import UserError

SPACES = (
    MethodSpace(method="npo", params={"rate": LogUniform(1e-6, 1e-2), "beta": Uniform(-1.0, 1.0), "fixed": Fixed(3)}),
    MethodSpace(method="rmu", params={"layer": Integer(1, 6), "width": LogInteger(1, 64), "kind": Choice(("a", "b"))}),
)
"""Every kind of dimension. Real and whole numbers, so that a mix-up of types shows."""
BARE = MethodSpace(method="ga", params={"fixed": Fixed(1)})
"""A method without a searched parameter."""
TRIALS = 10
Options = Mapping[str, Any]
Outcome = Callable[[Proposal], TrialRecord]


def options_are_complete(card: SamplerCard, options: Options) -> None:
    """Check that the class takes the model of its options, and that options and defaults are JSON."""
    params = card.params.model_validate(dict(options))
    require(params.model_config.get("frozen") is True, "params can be changed: model_config needs frozen=True")
    card.params.model_validate_json(params.model_dump_json())
    require(callable(getattr(card.load()(params), "point", None)), f"{card.target} has no method point(ask)")


def proposals_are_inside_the_space(card: SamplerCard, options: Options) -> None:
    """Check every proposal over all kinds of dimensions; the broker refuses a point outside the space."""
    found = _run(card, options, SPACES, TRIALS, _smooth)
    require(len(found) == TRIALS, f"{len(found)} distinct proposals of {TRIALS}: it repeats points it has tried")
    asked = {space.method: sum(proposal.method == space.method for proposal in found) for space in SPACES}
    require(set(asked.values()) == {TRIALS // len(SPACES)}, f"trials per method: {asked}")


def a_method_without_parameters_is_proposed_once(card: SamplerCard, options: Options) -> None:
    """Check a space with nothing to search: one trial, and the other method gets the rest."""
    found = _run(card, options, (BARE, SPACES[0]), 4, _smooth)
    require([proposal.method for proposal in found].count(BARE.method) == 1, "not one trial of a method without ranges")


def one_seed_gives_one_search(card: SamplerCard, options: Options) -> None:
    first, second = (_run(card, options, SPACES, TRIALS, _mixed) for _ in range(2))
    require(first == second, f"one seed gives two searches, from trial {_first_difference(first, second)} on")


def random_states_are_left_as_found(card: SamplerCard, options: Options) -> None:
    """Check that the sampler uses `ask.seed` and not the generators of Python and NumPy."""
    before = random.getstate(), _numpy_state()
    _run(card, options, SPACES, TRIALS, _smooth)
    same = (random.getstate(), _numpy_state()) == before
    require(same, "draws from the generators of Python or NumPy instead of ask.seed")


def it_takes_failed_and_collapsed_trials(card: SamplerCard, options: Options) -> None:
    """Check histories in which trials failed or collapsed: some of them, and all of them."""
    for outcome in (_mixed, _all_failed, _all_collapsed):
        found = _run(card, options, SPACES, TRIALS, outcome)
        require(len(found) == TRIALS, f"{len(found)} distinct proposals of {TRIALS} after failed trials")


def it_goes_on_from_the_journal(card: SamplerCard, options: Options) -> None:
    """Check that a sweep stopped after each trial, with one still running, proposes what an unstopped one does."""
    whole = _run(card, options, SPACES, TRIALS, _mixed, window=2)
    with tempfile.TemporaryDirectory() as folder:
        journal, records = Path(folder) / "study.journal", list[TrialRecord]()
        found: dict[int, Proposal] = {}
        while (broker := _broker(journal, card, options, SPACES, TRIALS, window=2, known=records)) is not None:
            asked = [proposal for _ in range(2) if (proposal := _asked(broker)) is not None]
            found |= {proposal.number: proposal for proposal in asked}
            if not asked:
                break
            records.append(_mixed(min(asked, key=lambda proposal: proposal.number)))  # the other one is killed
        resumed = [found[number] for number in sorted(found)]
    require(resumed == whole, f"resumed, it proposes something else from trial {_first_difference(resumed, whole)} on")


def it_goes_on_from_the_records(card: SamplerCard, options: Options) -> None:
    """Check that a study rebuilt from records, without its journal, continues with new proposals.

    They may differ from those of the lost study, because repeated proposals have no record.
    """
    whole = _run(card, options, SPACES, TRIALS, _mixed)
    with tempfile.TemporaryDirectory() as folder:
        known = [_mixed(proposal) for proposal in whole[: TRIALS // 2]]
        broker = _broker(Path(folder) / "study.journal", card, options, SPACES, TRIALS, known=known)
        rest = _drain(broker, _mixed)
    require(len(rest) == TRIALS - len(known), f"{len(rest)} proposals, {TRIALS - len(known)} expected")
    repeated = {record.key for record in known} & {proposal.key for proposal in rest}
    require(not repeated, f"proposes {len(repeated)} of {len(known)} settled trials again")


def _numpy_state() -> tuple[str, ...]:
    """State of NumPy's global generator as text, which can be compared."""
    with np.printoptions(threshold=10_000):
        return tuple(map(str, np.random.get_state()))


def _run(
    card: SamplerCard,
    options: Options,
    spaces: Sequence[MethodSpace],
    trials: int,
    outcome: Outcome,
    *,
    window: int | None = None,
) -> list[Proposal]:
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "study.journal"
        return _drain(_broker(journal, card, options, spaces, trials, window=window), outcome, window=window or 1)


def _broker(
    journal: Path,
    card: SamplerCard,
    options: Options,
    spaces: Sequence[MethodSpace],
    trials: int,
    *,
    window: int | None = None,
    known: Sequence[TrialRecord] = (),
) -> StudyBroker:
    plan = SearchPlan(
        sampler=card.name, sampler_options=dict(options), startup_trials=4, trials=trials, seed=5, window=window
    )
    return StudyBroker(journal, spaces, plan, identity={}, known=known)


def _asked(broker: StudyBroker) -> Proposal | None:
    """Return the next proposal; None if there is none yet or no more.

    Raises:
        ContractError: the sampler raised an error or left the space.
    """
    try:
        return broker.ask()
    except UserError as error:
        require(False, error.message)
        raise


def _drain(broker: StudyBroker, outcome: Outcome, *, window: int = 1) -> list[Proposal]:
    """Settle proposals in order, with up to `window` running at once, until there are no more."""
    found: list[Proposal] = []
    running: list[Proposal] = []
    while True:
        while len(running) < window and (proposal := _asked(broker)) is not None:
            running.append(proposal)
            found.append(proposal)
        if not running:
            return found
        broker.settle(outcome(running.pop(0)))


def _smooth(proposal: Proposal) -> TrialRecord:
    """A complete trial; UE, UT and Rob rise with the first searched parameter."""
    first = next((value for name, value in proposal.params.items() if name != "fixed"), 0)
    value = 0.5 + 0.5 * float(np.tanh(float(first) if isinstance(first, int | float) else 0.0))
    return _record(proposal, state="complete", ue=value, ut=1 - value, rob=value / 2)


def _mixed(proposal: Proposal) -> TrialRecord:
    """Every third trial fails, every fifth collapses, the others are complete."""
    if proposal.number % 3 == 1:
        return _record(proposal, state="failed", reason="made up")
    if proposal.number % 5 == 2:
        return _record(proposal, state="collapsed", ue=0.9, ut=0.0)
    return _smooth(proposal)


def _all_failed(proposal: Proposal) -> TrialRecord:
    return _record(proposal, state="failed", reason="made up")


def _all_collapsed(proposal: Proposal) -> TrialRecord:
    return _record(proposal, state="collapsed", ue=0.9, ut=0.0)


def _record(proposal: Proposal, **fields: Any) -> TrialRecord:
    return TrialRecord(
        number=proposal.number,
        key=proposal.key,
        method=proposal.method,
        params=proposal.params,
        seed=proposal.seed,
        started=0.0,
        finished=1.0,
        **fields,
    )


def _first_difference(one: Sequence[Proposal], other: Sequence[Proposal]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (first, second) in pairs if first != second), min(len(one), len(other)))
