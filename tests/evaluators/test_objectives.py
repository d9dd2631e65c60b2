"""UE, UT, Rob. Oracles: hand tables, scipy's harmonic mean, anchors by construction, and bounds by brute force."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hmean

from tests.evaluators.tables import noisy, table
from unlearn_sweep.evaluators.objectives.forgetting import unlearning_effectiveness
from unlearn_sweep.evaluators.objectives.robustness import attack_score, robustness
from unlearn_sweep.evaluators.objectives.utility import utility_retention
from unlearn_sweep.evaluators.scores import AttackTables

UE_METRICS = ["probability", "extraction_strength", "truth_ratio"]
ORIGINAL = {"probability": 0.9, "extraction_strength": 0.8, "truth_ratio": 0.95}
GOLD = {"probability": 0.1, "extraction_strength": 0.0, "truth_ratio": 0.55}
UNLEARNED = {"probability": 0.5, "extraction_strength": 0.0, "truth_ratio": 0.85}


def forget(means: dict[str, float], seed: int = 0) -> pd.DataFrame:
    return noisy(means, seed=seed)


def utility(*, retain: float, facts: float) -> pd.DataFrame:
    parts = [
        noisy({"probability": retain, "truth_ratio": 0.5 + retain / 2}, split="retain", seed=1),
        noisy({"probability": facts, "truth_ratio": 0.5 + facts / 2}, split="world_facts", seed=2),
    ]
    return pd.concat(parts, ignore_index=True)


# --- UE ---------------------------------------------------------------------------------------------------------------


def test_ue_by_hand() -> None:
    """memorisation: (0.5 + 1) / 2; truth: (0.95 - 0.85) / (0.95 - 0.55) = 0.25; their harmonic mean."""
    found = unlearning_effectiveness(forget(UNLEARNED, 1), forget(ORIGINAL, 2), forget(GOLD, 3), UE_METRICS)
    assert found.groups == pytest.approx({"memorisation": 0.75, "truth": 0.25})
    assert found.value == pytest.approx(hmean([0.75, 0.25]))
    assert [part.score for part in found.parts] == pytest.approx([0.5, 1.0, 0.25])
    first = found.parts[0]
    assert (first.metric, first.split, first.group) == ("probability", "forget", "memorisation")
    assert (first.value, first.original, first.gold) == pytest.approx((0.5, 0.9, 0.1))
    assert found.reason is None
    assert (found.rows, found.dropped) == (60, {})


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_original_has_ue_0_and_gold_ue_1_exactly(seed: int) -> None:
    original, gold = forget(ORIGINAL, seed), forget(GOLD, seed + 1)
    assert unlearning_effectiveness(original, original, gold, UE_METRICS).value == 0.0
    assert unlearning_effectiveness(gold, original, gold, UE_METRICS).value == 1.0


def test_a_metric_whose_anchors_are_too_close_is_left_out_and_says_so() -> None:
    near = {**GOLD, "truth_ratio": ORIGINAL["truth_ratio"] - 0.001}
    found = unlearning_effectiveness(forget(UNLEARNED, 1), forget(ORIGINAL, 2), forget(near, 3), UE_METRICS)
    assert found.groups == pytest.approx({"memorisation": 0.75})
    assert found.value == pytest.approx(0.75)
    assert found.parts[2].score is None
    assert "original 0.95 and gold 0.949 are 0.001 apart, which is within 2 x" in str(found.parts[2].reason)


def test_nothing_but_noise_is_no_ue() -> None:
    found = unlearning_effectiveness(forget(UNLEARNED, 1), forget(GOLD, 2), forget(GOLD, 3), ["probability"])
    assert found.value is None
    assert found.standard_error is None
    assert str(found.reason).startswith("probability on forget: original 0.1 and gold 0.1 are")


def test_only_the_given_facts_count() -> None:
    """Facts outside the half are made absurd; nothing may change."""
    tables = (forget(UNLEARNED, 1), forget(ORIGINAL, 2), forget(GOLD, 3))
    chosen = frozenset(tables[0]["group_id"].unique()[:10])
    expected = unlearning_effectiveness(*tables, UE_METRICS, groups=chosen)
    for rows in tables:
        rows.loc[~rows["group_id"].isin(list(chosen)), UE_METRICS] = 7.0
    assert unlearning_effectiveness(*tables, UE_METRICS, groups=chosen) == expected
    assert expected.rows == 30
    assert unlearning_effectiveness(*tables, UE_METRICS).value != expected.value


def test_rows_one_model_lacks_are_dropped_and_counted() -> None:
    unlearned, original, gold = forget(UNLEARNED, 1), forget(ORIGINAL, 2), forget(GOLD, 3)
    found = unlearning_effectiveness(unlearned.iloc[6:], original, gold.iloc[:-3], UE_METRICS)
    assert found.rows == 51
    assert found.dropped == {"unlearned": 3, "original": 9, "gold": 6}
    expected = unlearning_effectiveness(unlearned.iloc[6:-3], original.iloc[6:-3], gold.iloc[6:-3], UE_METRICS)
    assert found.value == expected.value


def test_a_row_without_a_value_is_left_out_of_that_metric_only() -> None:
    unlearned, original, gold = forget(UNLEARNED, 1), forget(ORIGINAL, 2), forget(GOLD, 3)
    gold.loc[:5, "probability"] = math.nan
    found = unlearning_effectiveness(unlearned, original, gold, UE_METRICS)
    assert found.parts[0].original == pytest.approx(original["probability"][6:].mean())
    assert found.parts[1].original == pytest.approx(original["extraction_strength"].mean())


def test_no_forget_row_and_no_common_value_are_reasons() -> None:
    rows = utility(retain=0.8, facts=0.6)
    assert "no row is left" in str(unlearning_effectiveness(rows, rows, rows, ["probability"]).reason)
    empty = forget(GOLD).assign(truth_ratio=math.nan)
    found = unlearning_effectiveness(forget(UNLEARNED), forget(ORIGINAL), empty, ["truth_ratio"])
    assert found.reason == "truth_ratio on forget: none of 60 rows has a value for all three models"


def test_metrics_that_cannot_serve_are_refused() -> None:
    tables = forget(UNLEARNED), forget(ORIGINAL), forget(GOLD)
    with pytest.raises(ValueError, match="'model_utility' does not serve UE; those that do: probability, "):
        unlearning_effectiveness(*tables, ["model_utility"])
    with pytest.raises(ValueError, match="unknown metric 'mmlu'"):
        utility_retention(tables[0], tables[1], ["mmlu"])
    with pytest.raises(ValueError, match="the unlearned table has no column 'rouge'"):
        unlearning_effectiveness(*tables, ["rouge"])
    with pytest.raises(ValueError, match="no metric is given for UE"):
        unlearning_effectiveness(*tables, [])


def test_the_standard_error_is_that_of_repeated_benchmarks() -> None:
    """Oracle: draw the whole benchmark anew 200 times and look at how far UE scatters."""

    def ue(seed: int) -> tuple[float, float]:
        draw = np.random.default_rng(seed)
        values = {name: draw.normal(mean, 0.2, 80) for name, mean in (("u", 0.5), ("o", 0.9), ("g", 0.1))}
        tables = {name: table({"probability": list(column)}) for name, column in values.items()}
        found = unlearning_effectiveness(tables["u"], tables["o"], tables["g"], ["probability"])
        return float(found.value or 0.0), float(found.standard_error or 0.0)

    values, errors = zip(*(ue(seed) for seed in range(200)), strict=True)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.2)


# --- UT ---------------------------------------------------------------------------------------------------------------


def test_ut_by_hand() -> None:
    """probability has chance 0: .4/.8 and .6/.6; truth_ratio has chance .5: .2/.4 and .3/.3."""
    found = utility_retention(
        utility(retain=0.4, facts=0.6), utility(retain=0.8, facts=0.6), ["probability", "truth_ratio"]
    )
    assert found.groups == pytest.approx({"retain": 0.5, "world_facts": 1.0})
    assert found.value == pytest.approx(0.75)
    assert {(part.split, part.metric): part.score for part in found.parts} == pytest.approx(
        {
            ("retain", "probability"): 0.5,
            ("retain", "truth_ratio"): 0.5,
            ("world_facts", "probability"): 1.0,
            ("world_facts", "truth_ratio"): 1.0,
        }
    )
    assert all(part.gold is None for part in found.parts)


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_original_has_ut_1_exactly(seed: int) -> None:
    rows = pd.concat([noisy({"probability": 0.7}, split="retain", seed=seed), forget(ORIGINAL, seed)])
    assert utility_retention(rows, rows, ["probability"]).value == 1.0


def test_a_model_better_than_the_original_has_no_more_than_1() -> None:
    found = utility_retention(utility(retain=0.9, facts=0.9), utility(retain=0.8, facts=0.6), ["probability"])
    assert found.value == 1.0


def test_an_original_at_chance_is_left_out_and_says_so() -> None:
    original = utility(retain=0.8, facts=0.6)
    original.loc[original["split"] == "world_facts", "truth_ratio"] -= 0.3
    found = utility_retention(utility(retain=0.4, facts=0.6), original, ["truth_ratio"])
    assert found.groups == pytest.approx({"retain": 0.5})
    assert "original 0.5 is not above chance 0.5" in str(found.parts[1].reason)


def test_the_forget_split_is_no_utility_and_splits_can_be_chosen() -> None:
    unlearned = pd.concat([utility(retain=0.4, facts=0.6), forget(GOLD)])
    original = pd.concat([utility(retain=0.8, facts=0.6), forget(ORIGINAL)])
    assert {part.split for part in utility_retention(unlearned, original, ["probability"]).parts} == {
        "retain",
        "world_facts",
    }
    assert utility_retention(unlearned, original, ["probability"], splits=["retain"]).value == pytest.approx(0.5)
    assert utility_retention(forget(GOLD), forget(ORIGINAL), ["probability"]).value is None


def test_splits_are_resampled_on_their_own() -> None:
    """Two splits of equal noise: the error of their mean is that of one, divided by the root of 2."""

    def rows(mean: float, seed: int) -> pd.DataFrame:
        parts = [noisy({"probability": mean}, rows=240, spread=0.1, split=split, seed=seed) for split in ("a", "b")]
        return pd.concat(parts, ignore_index=True)

    unlearned, original = rows(0.5, 1), rows(0.8, 2)
    both = utility_retention(unlearned, original, ["probability"]).standard_error
    one = utility_retention(unlearned, original, ["probability"], splits=["a"]).standard_error
    assert both == pytest.approx(float(one or 0) / math.sqrt(2), rel=0.2)


def test_model_utility_is_one_part_over_all_splits() -> None:
    def rows(factor: float) -> pd.DataFrame:
        means = {"probability": 0.8 * factor, "normalised_probability": 0.8 * factor, "rouge": 0.6 * factor}
        parts = []
        for split in ("retain", "world_facts"):
            part = noisy(means, split=split, spread=0.02)
            part["log_truth_ratio"] = math.log(1 - 0.5 * factor)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    found = utility_retention(rows(0.5), rows(1.0), ["model_utility"])
    (part,) = found.parts
    assert (part.metric, part.split) == ("model_utility", "utility")
    assert part.original == pytest.approx(hmean([0.8, 0.6, 0.5] * 2), rel=1e-6)
    assert found.value == pytest.approx(0.5)
    assert found.standard_error is not None
    assert utility_retention(rows(1.0), rows(1.0), ["model_utility", "rouge"]).value == 1.0
    unknown = rows(1.0).assign(log_truth_ratio=math.nan)
    assert "model utility has no value for retain:truth_ratio" in str(
        utility_retention(unknown, rows(1.0), ["model_utility"]).reason
    )


# --- never NaN --------------------------------------------------------------------------------------------------------

CELL = st.one_of(st.just(math.nan), st.sampled_from([0.0, 1.0]), st.floats(0, 1))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6).flatmap(
        lambda rows: st.lists(st.lists(CELL, min_size=rows, max_size=rows), min_size=6, max_size=6)
    )
)
def test_an_objective_is_a_number_in_range_or_a_reason(columns: list[list[float]]) -> None:
    tables = [table({"probability": columns[n], "truth_ratio": columns[n + 3]}) for n in range(3)]
    relabelled = [rows.assign(split="retain") for rows in tables]
    metrics = ["probability", "truth_ratio"]
    point = AttackTables(strength=1, unit="steps", unlearned=tables[0], original=tables[1], gold=tables[2])
    for found in (
        unlearning_effectiveness(tables[0], tables[1], tables[2], metrics),
        utility_retention(relabelled[0], relabelled[1], metrics),
        attack_score([point], metrics),
    ):
        assert (found.value is None) != (found.reason is None)
        assert found.value is None or 0.0 <= found.value <= 1.0
        assert found.standard_error is None or math.isfinite(found.standard_error)


# --- attacks ----------------------------------------------------------------------------------------------------------


def under_attack(strength: float, unlearned: float, *, original: float = 0.9, gold: float = 0.1) -> AttackTables:
    return AttackTables(
        strength=strength,
        unit="steps",
        unlearned=forget({"probability": unlearned}, 1),
        original=forget({"probability": original}, 2),
        gold=forget({"probability": gold}, 3),
    )


def test_what_is_still_forgotten_is_measured_against_the_attacked_controls() -> None:
    """Gold relearns to 0.3 as well, so 0.5 is (0.9 - 0.5) / (0.9 - 0.3), not / (0.9 - 0.1)."""
    found = attack_score([under_attack(20, 0.5, gold=0.3)], ["probability"])
    assert found.value == pytest.approx(2 / 3)
    assert found.curve[0].still_forgotten == pytest.approx(2 / 3)
    assert found.curve[0].metrics == pytest.approx({"probability": 0.5})


def test_a_curve_counts_as_its_mean_over_strengths_above_0() -> None:
    points = [under_attack(0, 0.1), under_attack(5, 0.3), replace(under_attack(20, 0.7), utility=0.6)]
    found = attack_score(points, ["probability"])
    assert [point.still_forgotten for point in found.curve] == pytest.approx([1.0, 0.75, 0.25])
    assert found.value == pytest.approx(0.5)
    assert found.utility == 0.6
    assert found.standard_error is not None


def test_points_stay_from_weak_to_strong_as_the_attack_gave_them() -> None:
    found = attack_score([under_attack(8, 0.3), under_attack(4, 0.5)], ["probability"])
    assert [point.strength for point in found.curve] == [8, 4]


def test_a_strength_that_makes_gold_and_original_alike_is_left_out_and_says_so() -> None:
    points = [under_attack(5, 0.3), under_attack(100, 0.9, gold=0.899)]
    found = attack_score(points, ["probability"])
    assert found.value == pytest.approx(0.75)
    assert found.curve[1].still_forgotten is None
    assert "original 0.9 and gold 0.899" in str(found.curve[1].reason)
    hopeless = attack_score(points[1:], ["probability"])
    assert hopeless.value is None
    assert str(hopeless.reason).startswith("at 100 steps: probability on forget: original 0.9 and gold 0.899")


def test_attacked_original_has_nothing_left_and_attacked_gold_all() -> None:
    point = under_attack(5, 0.5)
    assert attack_score([replace(point, unlearned=point.original)], ["probability"]).value == 0.0
    assert attack_score([replace(point, unlearned=point.gold)], ["probability"]).value == 1.0


def test_only_facts_the_attack_did_not_use_are_scored() -> None:
    point = under_attack(5, 0.5)
    facts = point.unlearned["group_id"].unique()
    half, scored = frozenset(facts[:10]), frozenset(facts[5:15])
    found = attack_score([replace(point, scored_groups=scored)], ["probability"], groups=half)
    assert found == attack_score([point], ["probability"], groups=half & scored)
    assert found.value != attack_score([point], ["probability"], groups=half).value


def test_no_strength_above_0_is_a_reason() -> None:
    assert attack_score([under_attack(0, 0.5)], ["probability"]).reason == "the attack has no strength above 0"
    assert attack_score([], ["probability"]).reason == "the attack has no strength above 0"


# --- Rob --------------------------------------------------------------------------------------------------------------

FAMILIES = {"relearn": "relearn", "relearn_long": "relearn", "int4": "quantize", "prefill": "prompt"}


def test_rob_is_the_worst_familys_mean() -> None:
    found = robustness({"relearn": 0.2, "relearn_long": 0.4, "int4": 0.9, "prefill": 0.5}, FAMILIES)
    assert found.families == pytest.approx({"relearn": 0.3, "quantize": 0.9, "prompt": 0.5})
    assert found.value == pytest.approx(0.3)
    assert not found.is_bound
    assert found.unfinished == ()


def test_a_half_finished_family_is_bounded_as_if_the_rest_did_no_harm() -> None:
    """The plain mean of what is finished (0.2) would be no bound: the second attack may bring the family to 0.55."""
    half = robustness({"relearn": 0.2, "int4": 0.9}, FAMILIES)
    assert half.value == pytest.approx(0.6)
    assert half.is_bound
    assert half.unfinished == ("relearn_long", "prefill")
    whole = robustness({"relearn": 0.2, "relearn_long": 0.9, "int4": 0.9, "prefill": 0.9}, FAMILIES)
    assert 0.2 < float(whole.value or 0) <= 0.6


@given(
    families=st.lists(st.sampled_from("abc"), min_size=1, max_size=8),
    data=st.data(),
)
def test_the_bound_never_rises_and_ends_at_rob(families: list[str], data: st.DataObject) -> None:
    named = {f"attack{number}": family for number, family in enumerate(families)}
    scores = {name: data.draw(st.one_of(st.none(), st.floats(0, 1))) for name in named}
    order = data.draw(st.permutations(list(named)))
    final = robustness(scores, named)
    previous = 1.0
    for done in range(len(order) + 1):
        found = robustness({name: scores[name] for name in order[:done]}, named)
        assert found.is_bound == (done < len(order))
        if found.value is None:
            assert done == len(order)
            assert all(score is None for score in scores.values())
            continue
        assert found.value <= previous + 1e-12
        assert final.value is None or found.value >= final.value - 1e-12
        previous = found.value


def test_attacks_without_a_score_are_excluded_by_name() -> None:
    found = robustness({"relearn": None, "relearn_long": 0.4, "int4": None, "prefill": 0.7}, FAMILIES)
    assert found.families == pytest.approx({"relearn": 0.4, "prompt": 0.7})
    assert found.excluded == ("relearn", "int4")
    nothing = robustness(dict.fromkeys(FAMILIES), FAMILIES)
    assert (nothing.value, nothing.is_bound) == (None, False)
    assert nothing.reason == "no attack has a score: relearn, relearn_long, int4, prefill"
    assert robustness({}, {}).reason == "no attack was planned"


def test_scores_out_of_range_and_attacks_without_family_are_refused() -> None:
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
            robustness({"relearn": bad}, FAMILIES)
    with pytest.raises(ValueError, match="attack 'gcg' has a score but no family; these have one: relearn, "):
        robustness({"gcg": 0.5}, FAMILIES)


# --- UT as a mean over groups of splits -------------------------------------------------------------------------------


def split_table(shares: dict[str, float]) -> pd.DataFrame:
    parts = [table({"probability": [value] * 6}, split=split, prefix=split) for split, value in shares.items()]
    return pd.concat(parts, ignore_index=True)


def test_groups_of_splits_weigh_alike_and_others_are_only_reported() -> None:
    """Shares of the original's .8 above 0: a .5, b 1, c 0, d .25; groups ((.5 + 1) / 2 + 0) / 2 = .375."""
    original = split_table(dict.fromkeys("abcd", 0.8))
    unlearned = split_table({"a": 0.4, "b": 0.8, "c": 0.0, "d": 0.2})
    means = {"choices": ["a", "b"], "written": ["c"]}
    found = utility_retention(unlearned, original, ["probability"], means=means)
    assert found.value == pytest.approx(0.375)
    assert found.groups == pytest.approx({"choices": 0.75, "written": 0.0})
    (beside,) = [part for part in found.parts if part.split == "d"]
    assert beside.score is None
    assert beside.value == pytest.approx(0.2)
    assert beside.reason == "measured beside UT: in no group of evaluators.ut_groups"
    plain = utility_retention(unlearned, original, ["probability"])
    assert plain.value == pytest.approx((0.5 + 1.0 + 0.0 + 0.25) / 4)
    assert utility_retention(original, original, ["probability"], means=means).value == 1.0


def test_a_group_without_any_score_is_left_out_and_all_of_them_leave_none() -> None:
    original = split_table({"a": 0.8, "c": 0.0})
    unlearned = split_table({"a": 0.4, "c": 0.0})
    found = utility_retention(unlearned, original, ["probability"], means={"one": ["a"], "two": ["c"]})
    assert (found.value, list(found.groups)) == (pytest.approx(0.5), ["one"])
    none = utility_retention(unlearned, original, ["probability"], means={"two": ["c"]})
    assert none.value is None
    assert none.reason


def weighted(weights: dict[str, float] | None) -> float | None:
    models = forget(UNLEARNED, 1), forget(ORIGINAL, 2), forget(GOLD, 3)
    return unlearning_effectiveness(*models, UE_METRICS, weights=weights).value


def test_weights_count_inside_and_between_groups_by_hand() -> None:
    """memorisation: (3 x 0.5 + 1) / 4 = 0.625, weight 2; truth: 0.25, weight 0.5; 2.5 / (2 / 0.625 + 0.5 / 0.25)."""
    weights = {"probability": 3.0, "extraction_strength": 1.0, "truth_ratio": 0.5}
    models = forget(UNLEARNED, 1), forget(ORIGINAL, 2), forget(GOLD, 3)
    found = unlearning_effectiveness(*models, UE_METRICS, weights=weights)
    assert found.groups == pytest.approx({"memorisation": 0.625, "truth": 0.25})
    assert found.value == pytest.approx(2.5 / (2 / 0.625 + 0.5 / 0.25))
    assert {part.metric: part.weight for part in found.parts} == weights


@given(weight=st.floats(0.01, 100.0))
@settings(max_examples=20, deadline=None)
def test_equal_weights_change_nothing_and_only_ratios_matter(weight: float) -> None:
    assert weighted(dict.fromkeys(UE_METRICS, weight)) == pytest.approx(weighted(None))
    weights = {"probability": 3.0, "extraction_strength": 1.0, "truth_ratio": 0.5}
    assert weighted({name: weight * value for name, value in weights.items()}) == pytest.approx(weighted(weights))


def test_a_metric_of_weight_0_is_measured_and_does_not_count() -> None:
    models = forget(UNLEARNED, 1), forget(ORIGINAL, 2), forget(GOLD, 3)
    found = unlearning_effectiveness(*models, UE_METRICS, weights=dict.fromkeys(UE_METRICS, 1.0) | {"truth_ratio": 0.0})
    without = unlearning_effectiveness(*models, ["probability", "extraction_strength"])
    assert (found.value, found.standard_error) == (without.value, without.standard_error)
    assert [part.score for part in found.parts] == pytest.approx([0.5, 1.0, 0.25])


def test_weighted_errors_are_the_spread_of_weighted_draws() -> None:
    """Weights that leave one group alone give its error; anything between lies between by brute force over draws."""
    models = forget(UNLEARNED, 1), forget(ORIGINAL, 2), forget(GOLD, 3)
    alone = unlearning_effectiveness(*models, ["truth_ratio"])
    nearly = dict.fromkeys(UE_METRICS, 1e-9) | {"truth_ratio": 1.0}
    found = unlearning_effectiveness(*models, UE_METRICS, weights=nearly)
    assert found.value == pytest.approx(alone.value, abs=1e-6)
    assert found.standard_error == pytest.approx(alone.standard_error, abs=1e-6)


@pytest.mark.parametrize(
    ("weights", "message"), [({"probability": 1.0}, "no weight"), ({"truth_ratio": -1.0}, "is -1")]
)
def test_missing_and_negative_weights_are_refused(weights: dict[str, float], message: str) -> None:
    whole = weights if message == "no weight" else dict.fromkeys(UE_METRICS, 1.0) | weights
    with pytest.raises(ValueError, match=message):
        weighted(whole)


def test_robustness_weighs_metrics_as_ue_does() -> None:
    weights = {"probability": 3.0, "extraction_strength": 1.0, "truth_ratio": 0.5}
    models = forget(UNLEARNED, 1), forget(ORIGINAL, 2), forget(GOLD, 3)
    tables = AttackTables(strength=1.0, unit="step", unlearned=models[0], original=models[1], gold=models[2])
    assert attack_score([tables], UE_METRICS, weights=weights).value == pytest.approx(weighted(weights))
