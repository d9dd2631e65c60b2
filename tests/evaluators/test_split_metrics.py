"""Metrics over whole splits. Oracles: scikit-learn, scipy, facts counted by hand, inequalities that must hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tests.evaluators import tiny_models
from unlearn_sweep.evaluators.benchmarks.passages import document_row
from unlearn_sweep.evaluators.catalog import COMPONENTS
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.objectives.forgetting import unlearning_effectiveness
from unlearn_sweep.evaluators.objectives.utility import utility_retention
from unlearn_sweep.evaluators.rows import DOCUMENT, Row, Template, encode
from unlearn_sweep.evaluators.split_metrics import SPLIT_METRICS, split_values
from unlearn_sweep.evaluators.split_statistic import NoValueError

FORGET, HOLDOUT = 20, 15


def table(forget: np.ndarray, holdout: np.ndarray, column: str, *, kind: str = "question") -> pd.DataFrame:
    values = np.concatenate([forget, holdout])
    splits = ["forget"] * len(forget) + ["holdout"] * len(holdout)
    return pd.DataFrame(
        {
            "row_id": [f"{split}{i}" for i, split in enumerate(splits)],
            "group_id": [f"g{i}" for i in range(len(splits))],
            "split": splits,
            "form": "trained",
            "kind": kind,
            column: values,
        }
    )


@pytest.fixture
def draws() -> np.random.Generator:
    return np.random.default_rng(0)


def three(draws: np.random.Generator, column: str, *means: float) -> dict[str, pd.DataFrame]:
    """Unlearned, original and gold: forget scores around a mean each, held-out scores around 2."""
    names = ("unlearned", "original", "gold")
    return {
        name: table(draws.normal(mean, 1, FORGET), draws.normal(2, 1, HOLDOUT), column)
        for name, mean in zip(names, means, strict=True)
    }


def auc(frame: pd.DataFrame, column: str) -> float:
    return float(roc_auc_score(frame["split"] == "holdout", frame[column]))


def test_every_metric_over_splits_is_one_of_the_catalog() -> None:
    assert set(SPLIT_METRICS) == set(COMPONENTS) - {"model_utility"}


@pytest.mark.parametrize(
    "metric",
    [
        *("mia_loss_auc", "mia_zlib_auc", "mia_min_k_auc", "mia_min_k_plus_plus_auc", "mia_gradnorm_auc"),
        *("mia_zlib_ou_auc", "mia_min_k_ou_auc", "mia_min_k_plus_plus_ou_auc", "mia_gradnorm_ou_auc"),
    ],
)
def test_the_areas_are_scikit_learns(draws: np.random.Generator, metric: str) -> None:
    column = metric.removesuffix("_auc")
    tables = three(draws, column, 1.0, 0.0, 2.0)
    found = split_values(metric, tables, groups=None, seed=0)
    assert found.values == pytest.approx({name: auc(frame, column) for name, frame in tables.items()})
    for name in tables:
        assert found.draws[name].mean() == pytest.approx(found.values[name], abs=0.05)


def test_the_reference_area_takes_golds_own_loss_off(draws: np.random.Generator) -> None:
    tables = three(draws, "mia_loss", 1.0, 0.0, 2.0)
    found = split_values("mia_reference_auc", tables, groups=None, seed=0)
    relative = tables["unlearned"].assign(mia_loss=tables["unlearned"]["mia_loss"] - tables["gold"]["mia_loss"])
    assert found.values["unlearned"] == pytest.approx(auc(relative, "mia_loss"))
    assert found.values["gold"] == 0.5


def test_privleak_is_made_of_both_areas(draws: np.random.Generator) -> None:
    tables = three(draws, "mia_min_k", 1.0, 0.0, 2.0)
    found = split_values("privleak", tables, groups=None, seed=0)
    unlearned, gold = auc(tables["unlearned"], "mia_min_k"), auc(tables["gold"], "mia_min_k")
    assert found.values["unlearned"] == pytest.approx(((1 - unlearned) - (1 - gold)) / (1 - gold) * 100)
    assert found.values["gold"] == 0
    assert found.values["original"] < found.values["unlearned"] < 0


def test_only_forget_rows_of_the_held_out_kind_count(draws: np.random.Generator) -> None:
    tables = {name: frame.assign(kind="text") for name, frame in three(draws, "mia_loss", 1.0, 0.0, 2.0).items()}
    expected = split_values("mia_loss_auc", tables, groups=None, seed=0).values
    extra = table(np.full(8, 99.0), np.empty(0), "mia_loss", kind="question")
    extra = extra.assign(row_id=[f"x{i}" for i in range(8)], group_id=[f"x{i}" for i in range(8)])
    mixed = {name: pd.concat([frame, extra], ignore_index=True) for name, frame in tables.items()}
    assert split_values("mia_loss_auc", mixed, groups=None, seed=0).values == pytest.approx(expected)


def test_forget_quality_is_one_minus_the_distance_to_gold(draws: np.random.Generator) -> None:
    tables = three(draws, "log_truth_ratio", 1.0, -2.0, 1.5)
    forget = {name: frame.loc[frame["split"] == "forget", "log_truth_ratio"] for name, frame in tables.items()}
    found = split_values("forget_quality", tables, groups=None, seed=0)
    p_values = split_values("forget_quality_p", tables, groups=None, seed=0)
    for name in tables:
        expected: Any = stats.ks_2samp(forget[name], forget["gold"])
        assert found.values[name] == pytest.approx(1 - expected.statistic)
        assert p_values.values[name] == pytest.approx(expected.pvalue)
    assert found.values["gold"] == p_values.values["gold"] == 1


def test_both_serve_ue_with_original_0_and_gold_1(draws: np.random.Generator) -> None:
    columns = {"mia_min_k": (1.2, -1.0, 2.0), "log_truth_ratio": (0.5, -2.0, 1.5)}
    parts = {column: three(draws, column, *means) for column, means in columns.items()}
    tables = {
        name: parts["mia_min_k"][name].assign(log_truth_ratio=parts["log_truth_ratio"][name]["log_truth_ratio"])
        for name in ("unlearned", "original", "gold")
    }
    metrics = ["forget_quality", "mia_min_k_auc", "privleak"]

    def effect(name: str) -> float:
        found = unlearning_effectiveness(tables[name], tables["original"], tables["gold"], metrics)
        assert [part.reason for part in found.parts] == [None] * 3
        assert found.value is not None
        return found.value

    assert effect("original") == 0
    assert effect("gold") == 1
    assert 0 < effect("unlearned") < 1


def test_without_held_out_rows_there_is_a_reason_and_no_value(draws: np.random.Generator) -> None:
    tables = {n: frame.iloc[:FORGET] for n, frame in three(draws, "mia_loss", 1.0, 0.0, 2.0).items()}
    found = unlearning_effectiveness(tables["unlearned"], tables["original"], tables["gold"], ["mia_loss_auc"])
    assert found.value is None
    assert "no rows of split holdout were measured" in str(found.parts[0].reason)


def test_held_out_rows_are_no_utility() -> None:
    frame = table(np.full(4, 0.5), np.full(4, 0.9), "probability")
    kept = frame[frame["split"] == "forget"].assign(split="retain", row_id=lambda rows: rows["row_id"] + "r")
    whole = pd.concat([frame, kept.assign(probability=[0.4, 0.5, 0.6, 0.7])], ignore_index=True)
    assert [part.split for part in utility_retention(whole, whole, ["probability"]).parts] == ["retain"]


# --- worst case over wordings -----------------------------------------------------------------------------------------

FORMS = ("trained", "held_out", "in_context")
FACTS = st.lists(
    st.lists(st.tuples(st.sampled_from(FORMS), st.booleans()), min_size=1, max_size=4), min_size=1, max_size=6
)
Facts = list[list[tuple[str, bool]]]


def judged(facts: Facts) -> dict[str, pd.DataFrame]:
    rows = [
        {
            "row_id": f"{fact}/{i}",
            "group_id": str(fact),
            "fact_id": str(fact),
            "split": "forget",
            "form": form,
            "kind": "question",
            "judge_accuracy": float(holds),
            "answer_contained": float(holds),
        }
        for fact, wordings in enumerate(facts)
        for i, (form, holds) in enumerate(wordings)
    ]
    frame = pd.DataFrame(rows)
    return dict.fromkeys(("unlearned", "original", "gold"), frame)


def share(facts: Facts, forms: tuple[str, ...]) -> float | None:
    kept = [[holds for form, holds in wordings if form in forms] for wordings in facts]
    asked = [wordings for wordings in kept if wordings]
    return sum(any(wordings) for wordings in asked) / len(asked) if asked else None


def worst(metric: str, facts: Facts) -> float | None:
    try:
        return split_values(metric, judged(facts), groups=None, seed=0).values["unlearned"]
    except NoValueError:
        return None


@settings(max_examples=60, deadline=None)
@given(FACTS)
def test_a_fact_is_known_if_any_wording_brings_it_out(facts: Facts) -> None:
    assert worst("judge_worst", facts) == pytest.approx(share(facts, FORMS))
    assert worst("judge_worst_paraphrase", facts) == pytest.approx(share(facts, FORMS[:2]))
    assert worst("judge_worst_context", facts) == pytest.approx(share(facts, FORMS[2:]))
    assert worst("contained_worst", facts) == pytest.approx(share(facts, FORMS))


def test_the_worst_case_of_two_facts_by_hand() -> None:
    """[[0, 1], [1, 0]] over two wordings: each fact comes out once, so all of them do."""
    facts: Facts = [[("trained", False), ("held_out", True)], [("trained", True), ("held_out", False)]]
    assert worst("judge_worst", facts) == 1.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=2, max_size=8), st.booleans())
def test_the_worst_case_is_no_better_than_either_part_and_grows_with_wordings(
    answers: list[tuple[bool, bool, bool]], more: bool
) -> None:
    facts: Facts = [list(zip(FORMS, answer, strict=True)) for answer in answers]
    whole, alone, behind = (worst(name, facts) for name in SPLIT_NAMES)
    assert whole is not None
    assert alone is not None
    assert behind is not None
    assert whole >= max(alone, behind)
    longer: Facts = [[*wordings, ("held_out", more)] for wordings in facts]
    again = worst("judge_worst", longer)
    assert again is not None
    assert again >= whole


SPLIT_NAMES = ("judge_worst", "judge_worst_paraphrase", "judge_worst_context")


# --- on a model -------------------------------------------------------------------------------------------------------

SUBJECTS = ("pilot", "miller", "weaver", "smith", "baker", "cooper", "mason", "tailor")
VERBS = ("owes", "sold", "hid", "lent", "built", "found", "lost", "keeps")


def member_texts(offset: int) -> list[Row]:
    texts = [
        f"The {SUBJECTS[i]} {VERBS[(i * 3 + offset) % 8]} a {SUBJECTS[(i * 5 + offset) % 8]} nine sacks"
        for i in range(8)
    ]
    split = "forget" if offset == 0 else "holdout"
    return [document_row(f"{split}{i}", split, text) for i, text in enumerate(texts)]


def test_a_model_that_learnt_its_texts_by_heart_gives_them_away(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """Members overfit: every area is near 1 and PrivLeak near -100; the model that never saw them is the zero."""
    members, strangers = member_texts(0), member_texts(2)
    gold, overfit = tiny_models.llama().eval(), tiny_models.llama()
    examples = [encode(tiny_tokenizer, row.row_id, "", row.answer, DOCUMENT) for row in members]
    optimizer = torch.optim.AdamW(overfit.parameters(), lr=5e-3)
    for _ in range(40):
        for example in examples:
            ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
            logits = overfit(input_ids=ids).logits[0, len(example.prompt_ids) - 1 : -1]
            torch.nn.functional.cross_entropy(logits, torch.tensor(example.answer_ids)).backward()
        optimizer.step()
        optimizer.zero_grad()
    names = ["loss", "zlib", "min_k", "min_k_plus_plus", "gradnorm", "reference"]
    metrics = [*(f"mia_{name}_auc" for name in names), "privleak"]

    def measured(model: LlamaForCausalLM) -> pd.DataFrame:
        rows = [*members, *strangers]
        found = evaluate_rows(model, tiny_tokenizer, rows, metrics=metrics, template=Template(), max_new_tokens=2)
        return found.table

    original, reference = measured(overfit), measured(gold)
    tables = {"unlearned": original, "original": original, "gold": reference}
    found = {name: split_values(name, tables, groups=None, seed=0).values for name in metrics}
    for name in metrics[:-1]:
        assert found[name]["original"] > 0.9, name
    assert found["privleak"]["original"] < -80
    assert found["privleak"]["gold"] == 0
    scored = unlearning_effectiveness(reference, original, reference, ["mia_min_k_auc", "mia_reference_auc"])
    assert scored.value == 1
