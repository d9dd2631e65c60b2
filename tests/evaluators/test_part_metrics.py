"""Metrics of parts. Oracles: means by hand, statistics.harmonic_mean, scikit-learn's area, lm-evaluation-harness."""

from __future__ import annotations

from statistics import fmean, harmonic_mean

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from unlearn_sweep.evaluators.floor import at_chance
from unlearn_sweep.evaluators.multiple_choice import choice_accuracy, choice_accuracy_norm
from unlearn_sweep.evaluators.objectives.forgetting import unlearning_effectiveness
from unlearn_sweep.evaluators.probe_parts import PROBE_TYPES, probe_part
from unlearn_sweep.evaluators.row_metrics import Measured, row_metric
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.evaluators.short_answers import same_text
from unlearn_sweep.evaluators.split_metrics import split_values
from unlearn_sweep.evaluators.split_statistic import NoValueError


def frame(split: str, kind: str, parts: list[str], **columns: list[float]) -> pd.DataFrame:
    names = [f"{split}/{kind}/{i}" for i in range(len(parts))]
    base = {"row_id": names, "group_id": names, "fact_id": names, "split": split, "form": "held_out", "kind": kind}
    return pd.DataFrame({**base, "part": parts, **columns})


def probes(values: list[float]) -> pd.DataFrame:
    parts = [
        "level1",
        "level1",
        "level2",
        "level2",
        "level3/role_playing",
        "level3/role_playing",
        "level3/cross_lingual",
    ]
    return frame("forget", "question", parts, rouge_rwku=values)


def test_a_level_is_the_mean_of_its_probes_and_of_no_others() -> None:
    tables = {
        "unlearned": probes([0.1, 0.3, 0.5, 0.5, 0.0, 1.0, 0.2]),
        "original": probes([1.0] * 7),
        "gold": probes([0.0] * 7),
    }
    found = {
        name: split_values(f"rwku_{name}", tables, groups=None, seed=0).values["unlearned"]
        for name in ("level1", "level2", "level3", "role_playing", "cross_lingual")
    }
    assert found == pytest.approx(
        {"level1": 0.2, "level2": 0.5, "level3": 0.4, "role_playing": 0.5, "cross_lingual": 0.2}
    )
    with pytest.raises(NoValueError, match="part level3/reverse_query"):
        split_values("rwku_reverse_query", tables, groups=None, seed=0)


@pytest.mark.parametrize(
    "metric",
    [
        "rwku_level1",
        "rwku_level2",
        "rwku_level3",
        "rwku_prefix_injection",
        "rwku_affirmative_suffix",
        "rwku_role_playing",
        "rwku_multiple_choice",
        "rwku_reverse_query",
        "rwku_synonym_manipulation",
        "rwku_background_hint",
        "rwku_in_context_learning",
        "rwku_cross_lingual",
    ],
)
def test_each_part_is_the_mean_of_the_rows_that_pandas_finds(metric: str) -> None:
    """Three probes of every part, each with a value of its own."""
    parts = [part for part in ("level1", "level2", *(f"level3/{name}" for name in PROBE_TYPES)) for _ in range(3)]
    table = frame("forget", "question", parts, rouge_rwku=[place / len(parts) for place in range(len(parts))])
    other = frame("forget", "question", parts, rouge_rwku=[1.0] * len(parts))
    found = split_values(metric, {"unlearned": table, "original": other, "gold": other}, groups=None, seed=0)
    mine = table["part"].str.contains(rf"(?:^|/){metric.removeprefix('rwku_')}(?:/|$)")
    assert found.values["unlearned"] == pytest.approx(table.loc[mine, "rouge_rwku"].mean())


def test_levels_count_alike_whatever_their_number_of_probes() -> None:
    unlearned, original, gold = probes([0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 1.0]), probes([1.0] * 7), probes([0.0] * 7)
    levels = ["rwku_level1", "rwku_level2", "rwku_level3"]
    found = unlearning_effectiveness(unlearned, original, gold, levels)
    assert [part.value for part in found.parts] == [0.0, 0.5, 1.0]
    assert found.value == pytest.approx(fmean([1.0, 0.5, 0.0]))


@pytest.mark.parametrize(
    ("type_name", "part"),
    [
        ("affirmative suffix", "level3/affirmative_suffix"),
        ("incontext learning", "level3/in_context_learning"),
        ("Cross-lingual", "level3/cross_lingual"),
        ("a tenth kind", "level3/a_tenth_kind"),
        ("", "level3"),
    ],
)
def test_types_are_told_by_their_word(type_name: str, part: str) -> None:
    assert probe_part(3, type_name) == part
    assert probe_part(2, type_name) == "level2"


def test_every_type_is_found_by_its_own_name() -> None:
    assert [probe_part(3, name.replace("_", " ")) for name in PROBE_TYPES] == [f"level3/{name}" for name in PROBE_TYPES]


def losses(forget: list[float], retain: list[float]) -> pd.DataFrame:
    return pd.concat(
        [
            frame("forget", "text", ["mia"] * len(forget), mia_loss=forget),
            frame("mia_retain", "text", [""] * len(retain), mia_loss=retain),
            frame("neighbor", "question", ["level1"], mia_loss=[9.0]),
        ],
        ignore_index=True,
    )


def test_the_rise_of_the_loss_is_held_against_the_original_text_by_text() -> None:
    draws = np.random.default_rng(1)
    base = draws.normal(2, 1, 20)
    rise = np.concatenate([draws.normal(0.6, 0.5, 12), draws.normal(0, 0.5, 8)])
    original, unlearned = losses(list(base[:12]), list(base[12:])), losses(*split_at(base + rise, 12))
    tables = {"unlearned": unlearned, "original": original, "gold": at_chance(original)}
    found = split_values("mia_loss_rise", tables, groups=None, seed=0)
    expected = roc_auc_score([1] * 12 + [0] * 8, rise)
    assert found.values == pytest.approx({"unlearned": expected, "original": 0.5, "gold": 1.0})
    scored = unlearning_effectiveness(unlearned, original, tables["gold"], ["mia_loss_rise"])
    assert scored.value == pytest.approx(2 * expected - 1)
    alike = unlearning_effectiveness(losses(*split_at(base + 3, 12)), original, tables["gold"], ["mia_loss_rise"])
    assert alike.value == 0.0, "a model that has lost everything tells no forget text from a retain text"


def split_at(values: np.ndarray, place: int) -> tuple[list[float], list[float]]:
    return list(values[:place]), list(values[place:])


def test_a_gold_model_that_is_there_is_measured_as_any_other() -> None:
    original, gold = losses([1.0, 2.0], [1.0, 2.0]), losses([4.0, 2.0], [1.0, 3.0])
    found = split_values("mia_loss_rise", {"unlearned": gold, "original": original, "gold": gold}, groups=None, seed=0)
    assert found.values["gold"] == found.values["unlearned"] == roc_auc_score([1, 1, 0, 0], [3, 0, 0, 1])


def test_without_retain_texts_there_is_no_rise() -> None:
    table = frame("forget", "text", ["mia"] * 3, mia_loss=[1.0, 2.0, 3.0])
    with pytest.raises(NoValueError, match="retain texts"):
        split_values("mia_loss_rise", dict.fromkeys(("unlearned", "original", "gold"), table), groups=None, seed=0)


def lume(forget: list[float], retain: list[float]) -> pd.DataFrame:
    """Two tasks, of each two documents and three questions; the values stand in that order."""
    tables = []
    for split, values in (("forget", forget), ("retain_pii", retain[:5]), ("retain_creative", retain[5:])):
        tasks = ("pii", "creative") if split == "forget" else (split.removeprefix("retain_"),)
        for place, task in enumerate(tasks):
            own = values[5 * place : 5 * place + 5]
            rest = frame(split, "continuation", [task] * 2, regurgitation=own[:2], exact_answer=[np.nan] * 2)
            asked = frame(split, "question", [task] * 3, regurgitation=[np.nan] * 3, exact_answer=own[2:])
            for table in (rest, asked):
                for column in ("row_id", "group_id", "fact_id"):
                    table[column] = f"{task}/" + table[column]
            tables += [rest, asked]
    return pd.concat(tables, ignore_index=True)


UNLEARNED = lume([0.2, 0.4, 0, 0, 1, 0.6, 0.2, 1, 0, 0], [0.8, 1, 1, 1, 0, 0.5, 0.7, 1, 0, 1])
ORIGINAL, GOLD = lume([1.0] * 10, [1.0] * 10), lume([0.0] * 10, [0.0] * 10)


def test_the_aggregate_is_the_harmonic_mean_of_every_task_and_score() -> None:
    """As SemEval's evaluation combines them: forget scores as 1 minus their value."""
    tables = {"unlearned": UNLEARNED, "original": ORIGINAL, "gold": GOLD}
    forget = [1 - 0.3, 1 - 1 / 3, 1 - 0.4, 1 - 1 / 3]
    whole = split_values("lume_task_aggregate", tables, groups=None, seed=0)
    assert whole.values["unlearned"] == pytest.approx(harmonic_mean([*forget, 0.9, 2 / 3, 0.6, 2 / 3]))
    assert (whole.values["original"], whole.values["gold"]) == (0.0, 1.0)
    half = split_values("lume_forget_aggregate", tables, groups=None, seed=0)
    assert half.values == pytest.approx({"unlearned": harmonic_mean(forget), "original": 0.0, "gold": 1.0})


def test_an_answer_is_right_letter_for_letter_but_for_case_and_outer_blanks() -> None:
    assert same_text("Madera", " madera\n") == 1.0
    assert same_text("Madera", "Madera.") == 0.0
    row = Row(row_id="a", group_id="a", split="forget", question="Where?", answer="Madera")
    said = [Measured(row=row, reference="Madera", generation=text) for text in ("MADERA ", "in Madera")]
    assert [row_metric("exact_answer")(one) for one in said] == [1.0, 0.0]


def test_regurgitation_is_the_share_of_a_documents_rest_that_was_written() -> None:
    """Four stemmed words of the rest; "stones" and "stand" are the longest sequence common to both."""
    row = Row(
        row_id="a", group_id="a", split="forget", question="", answer="grey stones stand alone", kind="continuation"
    )
    written = Measured(row=row, reference=row.answer, generation="two stones standing here")
    assert row_metric("regurgitation")(written) == pytest.approx(2 / 4)


def test_the_answer_in_other_words_is_what_the_paraphrase_says() -> None:
    row = Row(
        row_id="a", group_id="a", split="forget", question="?", answer="It is red", paraphrased_answer="red it is"
    )
    measured = Measured(row=row, reference=row.answer, generation="it is")
    assert row_metric("paraphrase_rouge")(measured) == pytest.approx(2 / 3)
    bare = Row(row_id="a", group_id="a", split="forget", question="?", answer="It is red")
    assert np.isnan(row_metric("paraphrase_rouge")(Measured(row=bare, reference="It is red", generation="it")))


def test_choices_of_unlike_length_are_compared_per_character() -> None:
    """A long right answer has the lower sum and the higher mean."""
    choices, logps = ("a tower of grey stone", "mud"), (-10.0, -3.0)
    assert choice_accuracy(logps, 0) == 0.0
    assert choice_accuracy_norm(logps, choices, 0) == 1.0


def test_what_is_left_of_the_originals_answer_is_a_share_of_its_words() -> None:
    row = Row(row_id="a", group_id="a", split="forget", question="?", answer="", kind="instruction")
    value = row_metric("answer_kept")
    assert value(Measured(row=row, reference="", generation="the tower", opponent="the grey tower")) == pytest.approx(
        2 / 3
    )
    assert value(Measured(row=row, reference="", generation="the grey tower", opponent="the grey tower")) == 1.0
    assert np.isnan(value(Measured(row=row, reference="", generation="a", opponent=None)))
    assert np.isnan(value(Measured(row=row, reference="", generation="a", opponent=" ")))
