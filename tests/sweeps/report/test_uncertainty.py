"""Standard errors, trials that cannot be told apart, and cautions. Oracles: values worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweeps.report.written_sweep import controls, objective, special, trial, write_sweep
from unlearn_sweep.engine.store.records import AttackScore, Controls, Measured, Normalised, Objective, TrialRecord
from unlearn_sweep.sweeps.few_facts import few_facts
from unlearn_sweep.sweeps.report.build import build_report, load_report
from unlearn_sweep.sweeps.report.cautions import cautions
from unlearn_sweep.sweeps.report.uncertainty import alike, chosen_half, standard_errors
from unlearn_sweep.sweeps.report.values import trials_text, with_error


def attack(name: str, family: str, value: float, error: float | None) -> AttackScore:
    return AttackScore(
        attack=name, family=family, value=value, standard_error=error, report_value=value, report_standard_error=error
    )


def at(number: int, ue: float, error: float | None, **changes: object) -> TrialRecord:
    detail = Objective(value=ue, standard_error=error)
    values = {"report_ue": ue, "report_ut": 0.9, "report_ue_detail": detail}
    known = {"report_ut_detail": Objective(value=0.9, standard_error=0.0)}
    return trial(number).model_copy(update={**values, **known, **changes})


def test_robs_error_is_that_of_its_weakest_family() -> None:
    attacks = [attack("a", "one", 0.3, 0.02), attack("b", "one", 0.5, 0.06), attack("c", "two", 0.7, 0.5)]
    found = standard_errors(trial(0).model_copy(update={"attacks": attacks, "rob": 0.4, "report_rob": 0.4}))
    assert found["rob"] == found["report_rob"] == pytest.approx(0.04)
    assert found["ue"] == 0.02
    attacks[1] = attack("b", "one", 0.5, None)
    assert "rob" not in standard_errors(trial(0).model_copy(update={"attacks": attacks}))


def test_a_missing_objective_has_no_error() -> None:
    assert standard_errors(special(0, "failed")) == {}


def test_two_trials_are_apart_from_two_standard_errors_of_the_difference_on() -> None:
    """Errors 0.03 and 0.04: the difference has 0.05, so 0.1 is the border."""
    one = at(0, 0.5, 0.03)
    assert alike(one, [one, at(1, 0.599, 0.04), at(2, 0.601, 0.04), at(3, 0.5, None)], ["ue", "ut"], "report") == [1]


def test_the_report_half_is_shown_where_all_of_the_front_has_it() -> None:
    assert chosen_half([trial(0), trial(1)], ["ue", "ut"]) == "report"
    assert chosen_half([trial(0), trial(1).model_copy(update={"report_ut": None})], ["ue", "ut"]) == "search"
    assert chosen_half([], ["ue", "ut"]) == "search"


def gold_with(metric: str, error: float | None) -> Controls:
    made = controls()
    one = Measured(metric=metric, split="forget", half="search", value=0.183, standard_error=error, n=72)
    return made.model_copy(update={"gold": made.gold.model_copy(update={"measured": [one]})})


def forgot(metric: str, value: float, original: float = 0.99, gold: float = 0.183) -> TrialRecord:
    part = Normalised(metric=metric, split="forget", group="g", value=value, original=original, gold=gold, score=1.0)
    return trial(0).model_copy(update={"ue_detail": Objective(value=1.0, parts=(part,)), "rob": 0.1, "report_rob": 0.1})


def test_far_past_gold_is_said_with_both_numbers() -> None:
    said = cautions(forgot("probability", 0.003), gold_with("probability", 0.03))
    assert said == ["beyond gold: probability 0.003 where gold has 0.183; a sign that something was removed"]


@pytest.mark.parametrize(
    ("metric", "value", "error"),
    [("probability", 0.12, 0.03), ("probability", 0.003, 0.1), ("probability", 0.5, 0.01), ("mia_loss_auc", 0.0, 0.01)],
)
def test_near_gold_noise_the_other_side_and_two_sided_metrics_are_no_caution(
    metric: str, value: float, error: float
) -> None:
    """0.12 is 8% of the way past gold; 0.003 is less than two errors of 0.1; a two-sided metric loses score itself."""
    assert cautions(forgot(metric, value), gold_with(metric, error)) == []


def test_rob_above_ue_is_said_with_its_half_and_not_for_a_bound() -> None:
    high = trial(0).model_copy(update={"ue": 0.4, "rob": 0.93, "report_ue": 0.9, "report_rob": 0.9})
    said = cautions(high, None)
    assert len(said) == 1
    assert said[0].startswith("Rob above UE on the search half:")
    assert cautions(high.model_copy(update={"rob_is_bound": True}), None) == []


def test_few_facts_begin_below_forty() -> None:
    assert few_facts(40) is None
    assert few_facts(None) is None
    assert "24 facts, about 12 in each half" in (few_facts(24) or "")


def test_cards_answer_and_banner_show_both_halves_and_what_is_alike(tmp_path: Path) -> None:
    detail = objective(0.9, "probability", "forget")
    values = {"ue": 0.9, "ut": 0.9, "report_ue": 0.88, "report_ut": 0.9, "rob": 0.6, "report_rob": 0.61}
    known = {f"{name}_detail": detail for name in ("ue", "ut", "report_ue", "report_ut")}
    attacks = [attack("a", "one", 0.6, 0.05)]
    best = trial(0).model_copy(update={**values, **known, "attacks": attacks})
    near = trial(1).model_copy(update={**values, **known, "attacks": attacks, "ue": 0.89, "ut": 0.91})
    folder = write_sweep(tmp_path / "demo", [best, near])
    few = controls().model_copy(update={"forget_facts": 24})
    (folder / "controls.json").write_text(few.model_dump_json())
    page, report = build_report(folder).page.read_text(), load_report(folder)
    assert report.alike[report.picks[0].number] == [1 - report.picks[0].number]
    assert f"cannot be told apart from trial {1 - report.picks[0].number}" in page
    assert "<span>0.90 ± 0.02</span><span>0.88 ± 0.02</span>" in page
    assert "<span>0.60 ± 0.05</span><span>0.61 ± 0.05</span>" in page
    assert "24 facts, about 12 in each half" in page


def test_words() -> None:
    report_trial = load_trial(special(0, "bound"))
    assert with_error(report_trial, "rob", "search").startswith("≤ ")
    assert with_error(report_trial, "ut", "report").endswith(f"{report_trial.report_ut:.2f}")
    assert [trials_text(numbers) for numbers in ([3], [2, 5, 8])] == ["trial 3", "trials 2, 5 and 8"]
    assert trials_text(range(9)) == "trials 0, 1, 2, 3, 4, 5 and 3 more"


def load_trial(record: TrialRecord):
    from unlearn_sweep.sweeps.report.document import ReportTrial

    same = set(ReportTrial.model_fields) & set(TrialRecord.model_fields) - {"training"}
    fields = {name: getattr(record, name) for name in same}
    return ReportTrial(**fields, errors=standard_errors(record))
