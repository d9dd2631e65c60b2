"""A paper's numbers beside a sweep's. Oracles: values, differences and reasons worked out by hand from made rows."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Literal

import pandas as pd
import pytest

from unlearn_sweep.engine.job import BenchmarkSettings, ModelSource, SweepJob
from unlearn_sweep.engine.search_settings import SearchSettings
from unlearn_sweep.engine.search_space import CHECKPOINT, Choice, Scalar
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.evaluators.paper_cards import ORIGINAL, PAPER_CARDS, Line, MeanOf, PaperCard, Reading
from unlearn_sweep.evaluators.papers import PublishedNumber, published_numbers
from unlearn_sweep.methods.catalog import METHODS
from unlearn_sweep.methods.composed_card import canonical_name
from unlearn_sweep.sweeps.paper.comparing import Compared, Source, cells, compare
from unlearn_sweep.sweeps.paper.settings import other_model, other_prompt, other_rows, other_settings, paper_settings
from unlearn_sweep.sweeps.paper.sweep import trial_of
from unlearn_sweep.sweeps.paper.values import NotMeasuredError, Tables, own_value
from unlearn_sweep.sweeps.paper.view import render


def rows(split: str, values: Mapping[str, list[float]], prefix: str = "") -> pd.DataFrame:
    """A table of as many facts as values, each with one row."""
    count = len(next(iter(values.values())))
    names = [f"{prefix or split + '/'}{place}" for place in range(count)]
    ids = {"row_id": names, "group_id": names, "fact_id": names}
    return pd.DataFrame({**ids, "split": split, "form": "trained", "kind": "question", **values})


def at(tables: Tables, attacked: Mapping[str, Tables] | None = None):
    def tables_at(attack: str, strength: float | None) -> Tables:
        if not attack:
            return tables
        if attacked is None or attack not in attacked:
            raise NotMeasuredError(f"the model was not measured under {attack}")
        return attacked[attack]

    return tables_at


FORGET = rows("forget", {"rouge_rwku": [0.1, 0.3, 0.8], "probability": [math.e**-1, math.e**-2, math.e**-3]})


def test_a_mean_is_over_all_rows_in_the_printed_unit() -> None:
    found = own_value(Reading(metric="rouge_rwku", scale=100.0), at({"unlearned": FORGET}))
    assert found.value == pytest.approx(40.0)  # (0.1 + 0.3 + 0.8) / 3 * 100
    assert found.rows == 3
    # Bootstrap of a mean of three: its deviation is near sd / sqrt(3), with sd of the sample itself .2944.
    assert found.error == pytest.approx(100 * 0.2944 / math.sqrt(3), rel=0.2)


def test_only_rows_whose_ids_begin_so_count() -> None:
    table = pd.concat([rows("forget", {"rouge_rwku": [1.0, 0.0]}, "forget/level1/"), FORGET], ignore_index=True)
    assert own_value(Reading(metric="rouge_rwku", rows="forget/level1/"), at({"unlearned": table})).value == 0.5


def test_a_loss_is_the_mean_of_the_logarithms_not_the_logarithm_of_the_mean() -> None:
    found = own_value(Reading(metric="probability", form="loss", scale=100.0), at({"unlearned": FORGET}))
    assert found.value == pytest.approx(200.0)  # (1 + 2 + 3) / 3 * 100


def test_nearness_folds_the_truth_ratio_from_both_sides() -> None:
    logs = [math.log(0.5), math.log(4.0)]  # min(TR, 1 / TR): .5 and .25
    table = rows("forget", {"truth_ratio": [0.6, 0.4], "log_truth_ratio": logs})
    assert own_value(Reading(metric="truth_ratio", form="nearness"), at({"unlearned": table})).value == 0.375


def test_a_mean_of_groups_weighs_groups_alike_and_not_readings() -> None:
    def task(name: str) -> Reading:
        return Reading(metric="lm_eval", split=f"task:{name}")

    table = pd.concat(
        [
            rows("task:a", {"lm_eval": [1.0, 0.0]}),
            rows("task:b", {"lm_eval": [1.0, 1.0]}),
            rows("task:c", {"lm_eval": [0.0, 0.0]}),
        ],
        ignore_index=True,
    )
    mean = MeanOf(groups=((task("a"), task("b")), (task("c"),)))
    assert own_value(mean, at({"unlearned": table})).value == 0.375  # ((.5 + 1) / 2 + 0) / 2
    lacking = MeanOf(groups=((task("a"),), (task("d"),)))
    assert own_value(lacking, at({"unlearned": table})).reason == "lm_eval has no value on split task:d"


def test_what_is_not_measured_has_its_reason_and_no_number() -> None:
    tables = at({"unlearned": FORGET})
    for reading, reason in (
        (Reading(metric="knowmem"), "knowmem is not measured by the sweep"),
        (Reading(metric="rouge_rwku", split="retain"), "rouge_rwku has no value on split retain"),
        (Reading(metric="rouge_rwku", attack="relearn"), "the model was not measured under relearn"),
        (
            Reading(metric="privleak"),
            "privleak needs the original and the gold model, which the sweep lacks",
        ),
    ):
        found = own_value(reading, tables)
        assert (found.value, found.reason) == (None, reason)


# --- joined with the paper --------------------------------------------------------------------------------------------

NUMBER = {
    "paper": "P",
    "benchmark": "B",
    "model": "M",
    "unit": "percent",
    "direction": "lower",
    "grade": "P",
    "note": "",
}
NUMBERS = [
    PublishedNumber.model_validate({**NUMBER, "method": method, "metric": metric, "value": value, **more})
    for method, metric, value, more in (
        ("Original", "recall", 80.0, {}),
        ("GA", "recall", 50.0, {}),
        ("GA", "other", 1.0, {}),
        ("XYZ", "recall", 2.0, {}),
        ("NPO", "recall", 3.0, {}),
        ("GA", "remembered", 4.0, {"grade": "R"}),
        ("GA", "recall", 9.0, {"model": "another"}),
    )
]
RECALL = Reading(metric="rouge_rwku", scale=100.0)
CARD = PaperCard(
    name="p",
    paper="P",
    benchmark="B",
    model="M",
    lines={"Original": ORIGINAL, "GA": Line(method="grad_ascent"), "NPO": Line(method="npo")},
    readings={"recall": RECALL, "remembered": RECALL},
)


def compared(*why_not: str) -> list[Compared]:
    def source_of(line: Line) -> Source | None:
        if line.method == "npo":
            return None
        return Source(
            trial=None if line.model == "original" else 4,
            why_not=why_not,
            read=lambda reading: own_value(reading, at({"unlearned": FORGET})),
        )

    return compare(CARD, NUMBERS, source_of)


def test_each_number_of_the_card_has_its_line() -> None:
    found = compared()
    assert [(one.published.method, one.published.metric) for one in found] == [
        ("Original", "recall"),
        ("GA", "recall"),
        ("GA", "other"),
        ("XYZ", "recall"),
        ("NPO", "recall"),
        ("GA", "remembered"),
    ]
    assert len(cells(CARD, NUMBERS)) == 6, "numbers of another model belong to another file"
    original, ascent, other, foreign, lacking, recalled = found
    assert (original.trial, original.here, original.difference) == (None, pytest.approx(40.0), pytest.approx(-40.0))
    assert (ascent.trial, ascent.here, ascent.difference) == (4, pytest.approx(40.0), pytest.approx(-10.0))
    assert original.comparable
    assert ascent.comparable
    assert (other.here, other.why_not) == (None, ["no metric here answers to it"])
    assert foreign.why_not == ["the paper's file runs no such method"]
    assert lacking.why_not == ["no complete trial of the sweep runs this line"]
    assert recalled.here == pytest.approx(40.0)
    assert not recalled.comparable, "a recalled number is shown and compares with nothing"


def test_every_reason_is_named_and_hides_no_value() -> None:
    found = compared("other model: a", "other rows: b")
    assert [one.comparable for one in found] == [False] * 6
    assert found[1].why_not == ["other model: a", "other rows: b"]
    assert found[1].here == pytest.approx(40.0)


def test_the_view_numbers_the_reasons() -> None:
    from rich.console import Console

    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render(CARD, compared("other model: a"), 120))
    text = console.export_text()
    assert "0 of 6 numbers are comparable." in text
    assert "1: other model: a (3)" in text
    assert "-10" in text


def test_a_number_lists_its_reasons_in_the_order_of_the_list_below() -> None:
    from rich.console import Console

    first = compared("other seed", "other rows")[0]
    second = first.model_copy(update={"why_not": first.why_not[::-1]})
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(render(CARD, [first, second], 60))
    assert console.export_text().count("no: 1, 2") == 2


# --- differences from the paper's file --------------------------------------------------------------------------------


def job(**changes: object) -> SweepJob:
    given = {
        "name": "own",
        "seed": 0,
        "benchmark": BenchmarkSettings(
            name="tofu", params={"forget": "forget10", "extra_splits": True, "holdout": True, "path": None}
        ),
        "original": ModelSource(path="open-unlearning/tofu_Llama-3.2-1B-Instruct_full@main"),
        "gold": ModelSource(path="open-unlearning/tofu_Llama-3.2-1B-Instruct_retain90"),
        "spaces": [],
        "training": TrainingSettings(global_batch_size=32, warmup_share=0.1, weight_decay=0.01),
        "ue_metrics": ["probability"],
        "ut_metrics": ["probability"],
        "attacks": [],
        "search": SearchSettings(trials=1),
        "storage": "/tmp",
        "directory": "/tmp/own",
    }
    return SweepJob.model_validate(given | changes)


def test_a_sweep_of_the_papers_file_differs_in_nothing() -> None:
    paper = paper_settings("open_unlearning_tofu")
    assert list(other_model(paper, job())) == []
    assert list(other_rows(paper, job(), rows_are_published=False)) == []
    params = {name: space.value for name, space in paper.spaces["npo"].params.items()}  # pyright: ignore[reportAttributeAccessIssue]
    assert list(other_settings(paper, job(), Line(method="npo"), params)) == []


def test_each_difference_is_told_with_both_values() -> None:
    paper = paper_settings("open_unlearning_tofu")
    other = job(
        original=ModelSource(path="/models/mine"),
        benchmark=BenchmarkSettings(name="tofu", params={"forget": "forget05", "path": "/rows"}),
        training=TrainingSettings(global_batch_size=8, warmup_share=0.1, weight_decay=0.01),
    )
    (model,) = other_model(paper, other)
    assert model == ("other model: /models/mine, the paper's is open-unlearning/tofu_Llama-3.2-1B-Instruct_full")
    assert list(other_rows(paper, other, rows_are_published=False)) == [
        "other rows: benchmark.forget forget05, paper forget10",
        "other rows: read from a folder (--published-rows says that they are the published ones)",
    ]
    assert len(list(other_rows(paper, other, rows_are_published=True))) == 1
    params = {name: space.value for name, space in paper.spaces["npo"].params.items()}  # pyright: ignore[reportAttributeAccessIssue]
    assert list(other_settings(paper, other, Line(method="npo"), params | {"learning_rate": 2e-5})) == [
        "other settings: learning_rate 2e-05, paper 1e-05",
        "other settings: training.global_batch_size 8, paper 32",
    ]


def test_prompts_are_compared_as_the_files_have_them() -> None:
    assert list(other_prompt(paper_settings("rwku"), job(spec_text="name: a\nprompt: chat\n"))) == []
    assert list(other_prompt(paper_settings("rwku"), job(spec_text="name: a\n"))) == [
        "other prompt: format auto, paper chat"
    ]
    found = list(other_prompt(paper_settings("gao"), job(spec_text="prompt: {format: chat, system: Be brief.}\n")))
    assert found == [
        "other prompt: system Be brief., paper You are a helpful assistant.",
        "other prompt: template_args {}, paper {'enable_thinking': False}",
    ]


def test_a_line_names_its_own_value_of_a_choice() -> None:
    paper = paper_settings("muse")
    assert isinstance(paper.spaces["npo"].params["retain"], Choice)
    trained = job(training=TrainingSettings(**{**paper.training, "epochs": 5.0}))
    params = {"retain": "nll", "learning_rate": 1e-5, "beta": 0.1, "epochs": 10}
    assert list(other_settings(paper, trained, Line(method="npo", params={"retain": "nll"}), params)) == []
    assert list(other_settings(paper, trained, Line(method="npo", params={"retain": "kl"}), params)) == [
        "other settings: retain nll, paper kl"
    ]


@pytest.mark.parametrize("card", PAPER_CARDS, ids=lambda card: card.name)
def test_what_a_card_names_exists(card: PaperCard) -> None:
    """Every reading is a metric, every line a method of the file, and every card but one has numbers."""
    paper = paper_settings(card.name)
    for reading in card.readings.values():
        for one in reading.readings if isinstance(reading, MeanOf) else (reading,):
            assert one.metric in METRICS
            assert not one.attack or one.attack in paper.attacks, one.attack
    for line in card.lines.values():
        assert line.model != "trial" or canonical_name(line.method) in paper.spaces
        assert line.model != "trial" or line.method.partition("+")[0] in METHODS
    numbers = cells(card, published_numbers())
    assert bool(numbers) == (card.name != "gao"), "GAO prints its table in no source that was at hand"
    assert {number.metric for number in numbers} <= set(card.readings)


def test_a_line_is_the_trial_trained_the_furthest_and_then_the_first() -> None:
    """A paper prints the model at the end of a training, so a share of it answers only if the end was not reached."""

    def trial(number: int, share: float, *, beta: float = 0.1, state: Literal["complete", "failed"] = "complete"):
        params: dict[str, Scalar] = {"beta": beta, CHECKPOINT: share}
        return TrialRecord(
            number=number, key=str(number), method="npo", params=params, seed=0, state=state, started=0.0, finished=1.0
        )

    trials = [trial(0, 0.5), trial(1, 1.0, beta=0.5), trial(2, 1.0, state="failed"), trial(3, 1.0), trial(4, 1.0)]
    found = [trial_of(Line(method="npo", params={"beta": 0.1}), trials[:count]) for count in (1, 3, 4, 5)]
    assert [record.number for record in found if record is not None] == [0, 0, 3, 3]
