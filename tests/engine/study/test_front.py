"""The front kept up to date trial by trial. Oracle: the front looked up anew."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sweep_folder import trial
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.front import SweepFront, front_of, members_of, rivals_of

level = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
changes = st.fixed_dictionaries(
    {
        "ue": level,
        "ut": level,
        "rob": st.one_of(level, st.none()),
        "rob_is_bound": st.booleans(),
        "state": st.sampled_from(["complete", "complete", "complete", "collapsed", "duplicate"]),
        "finished": st.floats(0, 100, width=16),
    }
)


@settings(max_examples=60, deadline=None)
@given(several=st.lists(changes, max_size=12))
def test_it_is_the_front_looked_up_anew_after_every_trial(several: list[dict[str, object]]) -> None:
    growing, records = SweepFront(wanted=99), list[TrialRecord]()
    for number, values in enumerate(several):
        records.append(trial(number, **values))
        grown, whole = growing.add(records[-1]), front_of(records, wanted=99)
        assert sorted(grown.front) == sorted(whole.front)
        assert grown.hypervolume_curve == whole.hypervolume_curve
        assert (grown.hypervolume, grown.trials_settled) == (whole.hypervolume, whole.trials_settled)


def test_a_trial_that_is_tried_again_counts_once() -> None:
    growing = SweepFront(wanted=1)
    growing.add(trial(0, state="failed", ue=None, ut=None, rob=None))
    front = growing.add(trial(0, finished=2e9))
    assert (front.trials_settled, front.front) == (1, [trial(0).key])


def test_rivals_are_the_points_of_the_members() -> None:
    records = [trial(0, ue=0.9, ut=0.1, rob=0.5), trial(1, ue=0.1, ut=0.9, rob=0.5), trial(2, ue=0.1, ut=0.1, rob=0.1)]
    assert [record.number for record in members_of(records)] == [0, 1]
    assert rivals_of(records) == [(0.9, 0.1, 0.5), (0.1, 0.9, 0.5)]
