"""Figures that other projects' own code gave on small inputs written down here (docs/comparison.md says how).

Oracle: those figures. Nothing of that code is needed to run the tests, and nothing of it is in here.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from unlearn_sweep.evaluators.aggregate import match_rows
from unlearn_sweep.evaluators.fluency import ngram_entropy
from unlearn_sweep.evaluators.membership import min_k, min_k_plus_plus, zlib_score
from unlearn_sweep.evaluators.model_utility import model_utility
from unlearn_sweep.evaluators.probability import normalised_probability
from unlearn_sweep.evaluators.short_answers import answer_f1, exact_match
from unlearn_sweep.evaluators.split_metrics import split_values
from unlearn_sweep.evaluators.truth_ratio import forget_truth_ratio, log_truth_ratio

PLACES = np.arange(13)
VOCABULARY = 7


@pytest.mark.parametrize(("share", "expected"), [(0.2, 3.125), (0.4, 2.75), (1.0, 1.75)])
def test_min_k_of_open_unlearning(share: float, expected: float) -> None:
    """`MinKProbAttack.compute_score` on log-probabilities -(1 + 7i mod 13) / 4."""
    logp = (-(1 + (7 * PLACES) % 13) / 4).astype(np.float32)
    assert min_k(logp, share=share) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("share", "expected"), [(0.2, 3.8209081), (0.4, 3.4809303)])
def test_min_k_plus_plus_of_open_unlearning(share: float, expected: float) -> None:
    """`MinKPlusPlusAttack.compute_score` on logits (5i + 3j mod 11) / 2 of seven entries, target i mod 7."""
    logits = ((5 * PLACES[:, None] + 3 * np.arange(VOCABULARY)) % 11) / 2.0
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    mean = (np.exp(logp) * logp).sum(-1)
    variance = (np.exp(logp) * logp**2).sum(-1) - mean**2
    target = logp[PLACES, PLACES % VOCABULARY]
    found = min_k_plus_plus(
        target.astype(np.float32), mean.astype(np.float32), variance.astype(np.float32), share=share
    )
    assert found == pytest.approx(expected, abs=2e-6)


def test_zlib_of_open_unlearning() -> None:
    """`ZLIBAttack.compute_score` at a loss of 2.5: the text takes 46 bytes."""
    text = " Orla Beck keeps the lighthouse, Orla Beck keeps it."
    assert zlib_score(2.5, text) == pytest.approx(0.05434782608695652, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "accepted", "exact", "f1"),
    [
        ("Indian Ocean", ["the Indian Ocean"], 1, 1.0),
        ("It was Leonardo da Vinci.", ["Leonardo da Vinci", "Da Vinci"], 0, 0.75),
        ("in the year 1989", ["1989"], 0, 0.5),
        ("", ["x"], 0, 0.0),
        ("(B)", ["(A)"], 0, 0.0),
        ("A", ["(A)"], 1, 1.0),
        ("x x y", ["x y y"], 0, 2 / 3),
        ("U.S.A.", ["USA"], 1, 1.0),
        ("São Paulo", ["Sao Paulo"], 0, 0.5),
    ],
)
def test_short_answers_of_rwku(answer: str, accepted: list[str], exact: float, f1: float) -> None:
    """`EM` and `F1` of its eval_triviaqa.py."""
    assert exact_match(accepted, answer) == exact
    assert answer_f1(accepted, answer) == pytest.approx(f1, abs=1e-12)


def test_answers_that_rwku_takes_for_nothing() -> None:
    """There an article is no word, so that any answer of articles is right; curly quotes are no punctuation."""
    assert exact_match(["a"], "the") == 0.0  # there 1
    assert exact_match(["its quoted"], "It's \u201cquoted\u201d") == 1.0  # there 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the cat sat on the mat and the cat sat on the mat again", 2.9226002056731004),
        (
            "Once upon a time, there was a lighthouse keeper who didn't sleep; he wrote letters (long ones) "
            "to the sea.",
            4.6045937304056785,
        ),
        ("no no no no no no", 0.0),
    ],
)
def test_fluency_of_rwku(text: str, expected: float) -> None:
    """`compute_n_gram_entropy` of its eval_fluency.py, which is printed times 100 in the paper."""
    assert ngram_entropy(text) == pytest.approx(100 * expected, abs=1e-9)


def test_worst_cases_of_jensun() -> None:
    """`WorstEval` on 12 facts, 4 wordings, yes where (3 fact + 5 wording + 7 context) mod 11 is below 2."""
    lines = [
        {
            "row_id": f"{fact}/{wording}/{context}",
            "group_id": f"f{fact}",
            "fact_id": f"f{fact}",
            "split": "forget",
            "kind": "question",
            "form": "in_context" if context else "held_out",
            "judge_accuracy": float((3 * fact + 5 * wording + 7 * context) % 11 < 2),
        }
        for fact in range(12)
        for wording in range(4)
        for context in (0, 1)
    ]
    table = pd.DataFrame(lines)
    tables = {"unlearned": table, "original": table, "gold": table}
    names = ("judge_worst_paraphrase", "judge_worst_context", "judge_worst")
    found = [split_values(name, tables, groups=None, seed=0).values["unlearned"] for name in names]
    assert found == pytest.approx([0.5833333333333334, 0.5833333333333334, 0.8333333333333334])
    plain = table.loc[table["form"] == "held_out", "judge_accuracy"].mean()
    assert plain == pytest.approx(0.1875)  # its J_avg


def tofu_losses(seed: int) -> dict[str, np.ndarray]:
    """Losses of 12 rows of one split as TOFU's logs have them, and a ROUGE of each."""
    rows, wrong = np.arange(12), np.arange(5)
    return {
        "answer": 0.2 + ((7 * rows + seed) % 11) / 10,
        "paraphrase": 0.3 + ((5 * rows + 2 * seed) % 13) / 8,
        "wrong": 0.5 + ((3 * rows[:, None] + 4 * wrong + seed) % 17) / 6,
        "rouge": ((rows * rows + seed) % 10) / 9,
    }


def tofu_table(split: str, seed: int) -> pd.DataFrame:
    losses = tofu_losses(seed)
    names = [f"{split}/{place}" for place in range(12)]
    wrong = [list(found) for found in losses["wrong"]]
    return pd.DataFrame(
        {
            **dict.fromkeys(("row_id", "group_id", "fact_id"), names),
            **{"split": split, "kind": "question", "form": "trained"},
            "probability": np.exp(-losses["answer"]),
            "normalised_probability": list(map(normalised_probability, losses["answer"], wrong)),
            "rouge": losses["rouge"],
            "log_truth_ratio": list(map(log_truth_ratio, losses["paraphrase"], wrong)),
        }
    )


def test_model_utility_of_tofu() -> None:
    """`get_model_utility` of its aggregate_eval_stat.py. (The copy in its utils.py has the arithmetic mean of the wrong
    answers' probabilities and gives 0.385455; it is called while a model trains.)
    """
    splits = ("real_authors", "world_facts", "retain")
    table = pd.concat([tofu_table(split, seed) for seed, split in enumerate(splits, start=1)], ignore_index=True)
    found = model_utility(match_rows({"one": table}), "one", splits)
    assert found.value == pytest.approx(0.4272628476477128, abs=1e-9)
    assert found.parts["real_authors:normalised_probability"] == pytest.approx(0.3265699864299138, abs=1e-9)
    assert found.parts["world_facts:truth_ratio"] == pytest.approx(0.5020651021155541, abs=1e-9)
    assert found.parts["retain:probability"] == pytest.approx(0.5288475533121322, abs=1e-9)


def test_forget_quality_of_tofu() -> None:
    """`get_forget_quality` of the same file, unlearned by seed 4, the retain model by seed 9."""
    unlearned, gold = tofu_table("forget", 4), tofu_table("forget", 9)
    tables = {"unlearned": unlearned, "original": unlearned, "gold": gold}
    found = {name: split_values(name, tables, groups=None, seed=0) for name in ("forget_quality_p", "forget_quality")}
    assert found["forget_quality_p"].values["unlearned"] == pytest.approx(0.9984852944874484, abs=1e-9)
    assert found["forget_quality"].values["unlearned"] == pytest.approx(1 - 0.16666666666666666, abs=1e-9)
    ratios = unlearned["log_truth_ratio"].to_numpy(dtype=float)
    assert forget_truth_ratio(ratios) == pytest.approx(0.5054608330210554, abs=1e-9)
