"""Margins and equal budgets. Oracles: draws written by hand, and scores worked out from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.sweeps.report.written_sweep import trial, write_sweep
from unlearn_sweep.engine.store.draws import pack
from unlearn_sweep.engine.store.records import AttackScore, TrialRecord
from unlearn_sweep.engine.study.front_noise import Sample, sample_of
from unlearn_sweep.sweeps.report.build import build_report, load_report
from unlearn_sweep.sweeps.report.margins import margin, margin_text
from unlearn_sweep.sweeps.report.method_table import method_lines
from unlearn_sweep.sweeps.report.picks import pick_trials, with_margins
from unlearn_sweep.sweeps.report.summary import final_table
from unlearn_sweep.sweeps.report.uncertainty import alike, standard_errors

ALL = ("ue", "ut", "rob")
NOISE = np.linspace(-0.1, 0.1, 5)


def drawn(number: int, method: str, level: float, noise: np.ndarray = NOISE) -> TrialRecord:
    """A trial with the same level in all objectives, whose draws lie around it by `noise`."""
    draws = pack(level + noise)
    names = [f"{half}{name}" for half in ("", "report_") for name in ("ue", "ut", "attack:a")]
    values = {f"{half}{name}": level for half in ("", "report_") for name in ALL}
    attack = AttackScore(attack="a", family="one", value=level, report_value=level)
    changes = {"method": method, "attacks": [attack], "draws": dict.fromkeys(names, draws), **values}
    return trial(number).model_copy(update=changes)


def sample(*trials: TrialRecord) -> Sample:
    found = sample_of(trials, ALL)
    assert found is not None
    return found


def test_a_margin_is_that_of_paired_draws() -> None:
    same = sample(drawn(0, "npo", 0.6), drawn(1, "npo", 0.5), drawn(2, "npo", 0.3))
    found = margin(same, 0, [0, 1, 2], "balance")
    assert (found.over, found.compared, found.probability) == (1, 3, 1.0)
    assert found.lead == pytest.approx(0.1, abs=1e-4)
    assert found.error == pytest.approx(0.0, abs=1e-4)
    against = margin(sample(drawn(0, "npo", 0.6), drawn(1, "npo", 0.5, -NOISE)), 0, [0, 1], "rob")
    assert against.error == pytest.approx(np.std(2 * NOISE, ddof=1), abs=1e-4)
    assert against.probability == pytest.approx(0.7, abs=0.11)  # ahead from -0.05 on, equal there: 3.5 or 4 of 5
    assert margin_text(against).startswith("leads trial 1 by 0.100 \N{PLUS-MINUS SIGN} 0.158 in Rob; the best of 2 in ")
    assert margin_text(margin(same, 2, [2], "ue")) == "no other trial to compare its UE with"
    assert margin_text(margin(same, 1, [0], "ue")).startswith("is behind trial 0 by 0.100")


def test_each_rule_that_a_pick_won_has_its_margin() -> None:
    front = [drawn(0, "npo", 0.9), drawn(1, "npo", 0.85)]
    picks = with_margins(pick_trials(front), sample(*front))
    assert [found.score for found in picks[0].margins] == ["balance", "rob", "ue"]
    assert picks[1].margins == []
    assert with_margins(pick_trials(front), None) == pick_trials(front)


def test_methods_are_compared_by_their_first_trials_as_many_of_each() -> None:
    trials = [drawn(0, "npo", 0.5), drawn(1, "rmu", 0.4), drawn(2, "npo", 0.3), drawn(3, "npo", 0.8)]
    lines = {line.method: line for line in method_lines(trials, [], ALL, sample(*trials))}
    assert (lines["npo"].balance_trial, lines["npo"].equal.trial, lines["npo"].equal.trials) == (3, 0, 1)
    assert lines["npo"].equal.balance == pytest.approx(0.5)
    assert (lines["npo"].equal.probability, lines["rmu"].equal.probability) == (1.0, 0.0)
    bound = [trials[0], trials[1].model_copy(update={"rob_is_bound": True})]
    rmu = next(line for line in method_lines(bound, [], ALL) if line.method == "rmu")
    assert (rmu.equal.unmeasured, rmu.equal.trial, rmu.equal.probability) == (1, None, None)


def test_paired_draws_tell_trials_apart_that_separate_errors_do_not() -> None:
    one, paired, apart = drawn(0, "npo", 0.6), drawn(1, "npo", 0.55), drawn(2, "npo", 0.55, -NOISE)
    assert standard_errors(one)["rob"] == pytest.approx(np.std(NOISE, ddof=1), abs=1e-4)
    assert alike(one, [paired, apart], ALL, "report") == [2]


def test_report_page_and_terminal_say_how_sure_the_front_is(tmp_path: Path) -> None:
    directory = write_sweep(tmp_path, [drawn(0, "npo", 0.6), drawn(1, "rmu", 0.59, -NOISE)])
    report = load_report(directory)
    assert report.noise.probability == {0: pytest.approx(0.6, abs=0.2), 1: pytest.approx(0.4, abs=0.2)}
    assert [found.front_probability for found in report.trials] == list(report.noise.probability.values())
    page = build_report(directory).page.read_text()
    console = Console(width=200, record=True)
    final_table(directory, console)
    shown = console.export_text()
    share = f"on the front in {100 * report.noise.probability[0]:.3g}% of the bootstrap draws"
    assert share in page
    assert share in shown
    assert "leads trial 1 by 0.010" in shown
    assert "members are on the front with a probability of at least 0.9" in page
    assert "best at equal budget" in page


def test_a_report_without_draws_says_that_it_is_not_sure(tmp_path: Path) -> None:
    """Records of older versions have none."""
    directory = write_sweep(tmp_path / "sweep", [trial(0), trial(1)])
    page = build_report(directory).page.read_text()
    assert "How sure the front is, is not known: 2 of 2 trials have no draws." in page
    assert "how sure that is, is not known: 2 of 2 trials have no draws." in page
    assert "in brackets the probability" not in page
