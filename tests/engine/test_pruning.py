"""Pruning leaves the front as it is, in whatever order attacks run. Oracle: the same trials with every attack run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.recorded_attacks import SETTINGS, Recorded, attack_list, recorded_job, run_all, searched_relearning
from unlearn_sweep.engine.search_settings import ObjectiveName
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.front import front_of

ATTACKS = attack_list(("prefill", "prompt"), ("few_shot", "prompt"), ("quantize", "quantize"), ("relearn", "relearn"))
LABELS = [attack.label for attack in ATTACKS]
COSTS = {"prefill0": 1.0, "few_shot1": 2.0, "quantize2": 4.0, "relearn3": 20.0}

# Few levels, so that ties and equal trials are common.
level = st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
trial = st.builds(
    Recorded,
    ue=level,
    ut=st.sampled_from([0.2, 0.5, 0.8, 1.0]),
    attacks=st.fixed_dictionaries({n: level for n in LABELS}),
)


def _front(records: list[TrialRecord]) -> list[str]:
    return front_of(records, wanted=len(records)).front


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trials=st.lists(trial, min_size=6, max_size=9))
def test_the_front_is_the_same_with_and_without(trials: list[Recorded]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        pruned, _ = run_all(recorded_job(storage, "on", ATTACKS, prune=True), trials, COSTS)
        whole, _ = run_all(recorded_job(storage, "off", ATTACKS, prune=False), trials, COSTS)
    assert _front(pruned) == _front(whole)
    for short, full in zip(pruned, whole, strict=True):
        assert (short.ue, short.ut) == (full.ue, full.ut)
        assert not full.rob_is_bound
        assert short.rob is not None
        assert full.rob is not None
        assert short.rob >= full.rob
        assert short.rob_is_bound or short.rob == full.rob
        assert [score.attack for score in short.attacks] == LABELS


@pytest.fixture
def beaten() -> list[Recorded]:
    """The first trial is good and stands everything; the rest are weaker, and only relearning shows it."""
    strong = Recorded(0.9, 0.9, {**dict.fromkeys(LABELS, 0.6), "relearn3": 0.5})
    weak = {"prefill0": 0.9, "few_shot1": 0.9, "quantize2": 0.9, "relearn3": 0.1}
    return [strong, *(Recorded(0.8, 0.8 - number / 100, weak) for number in range(9))]


def test_the_order_is_learnt_and_saves_attacks(tmp_path: Path, beaten: list[Recorded]) -> None:
    """Until five trials were attacked the file's order holds; then relearning goes first, though the dearest."""
    records, executor = run_all(recorded_job(tmp_path, "on", ATTACKS, prune=True), beaten, COSTS)
    runs = {number: [label for at, label in executor.attacks_run if at == number] for number in range(len(beaten))}
    assert runs[0] == runs[4] == LABELS
    assert [runs[number] for number in (5, 6, 7, 8, 9)] == [["relearn3"]] * 5
    skipped = [[score.attack for score in record.attacks if score.skipped] for record in records]
    assert skipped[9] == ["prefill0", "few_shot1", "quantize2"]
    assert _front(records) == ["k0"]


def test_a_dear_attack_waits_where_a_cheap_one_does_as_well(tmp_path: Path) -> None:
    """Both prompt attacks and relearning end every weak trial; the prompt family is cheap, so it goes first."""
    weak = {"prefill0": 0.1, "few_shot1": 0.1, "quantize2": 0.9, "relearn3": 0.1}
    trials = [Recorded(0.9, 0.9, dict.fromkeys(LABELS, 0.55)), *(Recorded(0.8, 0.8, weak) for _ in range(8))]
    attacks = [ATTACKS[3], *ATTACKS[:3]]
    _, executor = run_all(recorded_job(tmp_path, "on", attacks, prune=True), trials, COSTS)
    first = {}
    for number, label in executor.attacks_run:
        first.setdefault(number, label)
    assert [first[number] for number in (1, 4)] == ["relearn3", "relearn3"]
    assert [first[number] for number in (5, 8)] == ["prefill0", "prefill0"]


def test_rob_does_not_depend_on_the_order(tmp_path: Path, beaten: list[Recorded]) -> None:
    forth, _ = run_all(recorded_job(tmp_path, "forth", ATTACKS, prune=False), beaten, COSTS)
    back, executor = run_all(recorded_job(tmp_path, "back", ATTACKS[::-1], prune=False), beaten, COSTS)
    assert [record.rob for record in forth] == [record.rob for record in back]
    assert [score.attack for score in back[0].attacks] == LABELS[::-1]
    assert executor.attacks_run == []  # every stage was found in the store


CONSTRAINTS: dict[ObjectiveName, float] = {"ut": 0.5, "rob": 0.3}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trials=st.lists(trial, min_size=6, max_size=9))
def test_constraints_end_trials_and_leave_the_front_as_it_is(trials: list[Recorded]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        gated, _ = run_all(recorded_job(storage, "on", ATTACKS, prune=True, minimum=CONSTRAINTS), trials, COSTS)
        whole, _ = run_all(recorded_job(storage, "off", ATTACKS, prune=False, minimum=CONSTRAINTS), trials, COSTS)
    assert _front(gated) == _front(whole)
    for short, full in zip(gated, whole, strict=True):
        assert full.infeasible is None or short.infeasible is not None or short.rob_is_bound
        assert full.infeasible is not None or short.infeasible is None


def test_a_trial_that_misses_a_constraint_is_not_attacked_further(tmp_path: Path) -> None:
    """Trial 0 loses too much utility and is never attacked; trial 1 falls to the second attack, trial 2 to none."""
    firm = dict.fromkeys(LABELS, 0.6)
    trials = [Recorded(0.9, 0.4, firm), Recorded(0.5, 0.9, {**firm, "few_shot1": 0.0, "prefill0": 0.5}),
              Recorded(0.4, 0.95, firm)]  # fmt: skip
    job = recorded_job(tmp_path, "on", ATTACKS, prune=True, minimum=CONSTRAINTS)
    records, executor = run_all(job, trials, COSTS)
    assert executor.attacks_run == [(1, "prefill0"), (1, "few_shot1"), *((2, label) for label in LABELS)]
    assert records[0].infeasible == "UT 0.4 is below 0.5"
    assert records[1].infeasible == "Rob 0.25 is below 0.3"
    assert records[1].rob_is_bound
    assert records[2].infeasible is None
    assert records[0].attacks[0].reason == "the trial misses the sweep's constraints: UT 0.4 is below 0.5"


# --- searched attackers -----------------------------------------------------------------------------------------------

SEARCHED = [*ATTACKS[:1], *searched_relearning(), ATTACKS[2]]
SEARCHED_COSTS = {**COSTS, **dict.fromkeys(SETTINGS.values(), 10.0)}
attacked_trial = st.builds(
    Recorded,
    ue=level,
    ut=st.sampled_from([0.5, 0.8, 1.0]),
    attacks=st.fixed_dictionaries({attack.label: level for attack in SEARCHED}),
    kept=st.fixed_dictionaries({label: st.sampled_from([0.3, 0.6, 1.0]) for label in SETTINGS.values()}),
)


def _by_hand(trial: Recorded) -> float:
    """Rob by its definition: the worst family. Relearning may leave a model as it is, and must keep .9 of UT."""
    kept = [trial.attacks[label] for label in SETTINGS.values() if trial.kept[label] >= 0.9 * trial.ut]
    return min(trial.attacks["prefill0"], trial.attacks["quantize2"], trial.ue, *kept)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trials=st.lists(attacked_trial, min_size=6, max_size=9))
def test_a_searched_attacker_leaves_the_front_as_it_is(trials: list[Recorded]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        pruned, _ = run_all(recorded_job(storage, "on", SEARCHED, prune=True), trials, SEARCHED_COSTS)
        whole, _ = run_all(recorded_job(storage, "off", SEARCHED, prune=False), trials, SEARCHED_COSTS)
    assert _front(pruned) == _front(whole)
    for short, full, trial in zip(pruned, whole, trials, strict=True):
        assert full.rob == pytest.approx(_by_hand(trial), abs=1e-6)
        assert short.rob is not None
        assert full.rob is not None
        assert short.rob >= full.rob
        assert short.rob_is_bound or short.rob == full.rob


def test_what_beat_the_last_trial_is_tried_first_on_the_next(tmp_path: Path) -> None:
    """Setting 3 leaves least of every trial. From the second trial on it is the first of its attacker."""
    labels = list(SETTINGS.values())
    values = {**dict.fromkeys([attack.label for attack in SEARCHED], 0.7), labels[2]: 0.4}
    trials = [Recorded(0.8 - number / 100, 0.8 + number / 100, values) for number in range(3)]
    records, executor = run_all(recorded_job(tmp_path, "on", SEARCHED, prune=True), trials, SEARCHED_COSTS)
    runs = {number: [label for at, label in executor.attacks_run if at == number] for number in range(3)}
    assert [label for label in runs[0] if label in labels] == labels
    for number in (1, 2):
        assert [label for label in runs[number] if label in labels] == [labels[2], *labels[:2]]
    found = records[0].rob_detail
    assert found is not None
    assert found.worst == {"relearn-search": labels[2]}
    assert _front(records) == ["k0", "k1", "k2"]
