"""Every metric of the catalog has a test that holds its value against something that is not ours, and says which.

Here stand those that no other file has, and the list of all. Oracles here: rouge-score, plain Python, plain forwards.
"""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tests.evaluators import tiny_models
from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS, load_benchmark
from unlearn_sweep.evaluators.catalog import COMPONENTS, METRICS
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.gradient_norm import gradient_norms
from unlearn_sweep.evaluators.rows import Row, Template, encode

HERE = Path(__file__).parent
TOFU = Path("../shared/data/tofu")
KINDS, EVALUATE, SPLITS = "test_kinds_of_row.py", "test_evaluate.py", "test_split_metrics.py"
AS_PUBLISHED = "test_published_membership.py"
PLAIN_FORWARDS = f"{KINDS}::test_every_value_is_that_of_plain_forwards"
ONE_BY_ONE = f"{EVALUATE}::test_likelihood_columns_are_recomputed_one_by_one"
ALTERNATIVES = f"{EVALUATE}::test_columns_of_alternatives_are_recomputed_one_by_one"
GENERATED = f"{EVALUATE}::test_generated_columns_are_recomputed_one_by_one"
WORST = f"{SPLITS}::test_a_fact_is_known_if_any_wording_brings_it_out"
AREAS = f"{SPLITS}::test_the_areas_are_scikit_learns"
LETTERS = f"{KINDS}::test_letters_are_compared_by_their_likelihood"
TEXTS = "test_metric_oracles.py::test_metrics_of_texts_are_those_of_their_definitions"

PARTS = "test_part_metrics.py"
EACH_PART = f"{PARTS}::test_each_part_is_the_mean_of_the_rows_that_pandas_finds"
LUME = f"{PARTS}::test_the_aggregate_is_the_harmonic_mean_of_every_task_and_score"

ORACLES: Mapping[str, str] = {
    "probability": PLAIN_FORWARDS,
    "paraphrase_probability": ALTERNATIVES,
    "normalised_probability": ALTERNATIVES,
    "exact_memorization": ONE_BY_ONE,
    "exact_memorization_ou": PLAIN_FORWARDS,
    "extraction_strength": ONE_BY_ONE,
    "extraction_strength_ou": PLAIN_FORWARDS,
    "truth_ratio": ALTERNATIVES,
    "forget_quality": f"{SPLITS}::test_forget_quality_is_one_minus_the_distance_to_gold",
    "forget_quality_p": f"{SPLITS}::test_forget_quality_is_one_minus_the_distance_to_gold",
    "model_utility": "test_model_utility.py::test_it_is_the_harmonic_mean_of_nine",
    "rouge": GENERATED,
    "paraphrase_rouge": f"{PARTS}::test_the_answer_in_other_words_is_what_the_paraphrase_says",
    "rouge_unstemmed": TEXTS,
    "rouge_rwku": "test_rouge_words.py::test_recall_is_that_of_the_package",
    "rouge_f1": GENERATED,
    "knowmem": TEXTS,
    "verbmem": f"{KINDS}::test_a_passage_is_held_against_as_much_of_it_as_may_be_written",
    "answer_match": GENERATED,
    "answer_contained": TEXTS,
    "contained_worst": WORST,
    "exact_match": "test_short_answers.py::test_by_hand",
    "answer_f1": "test_short_answers.py::test_f1_is_that_of_precision_and_recall",
    "choice_accuracy": "tasks/test_scoring.py::test_wmdp_by_letter_is_the_harnesss_row_by_row",
    "choice_accuracy_norm": f"{PARTS}::test_choices_of_unlike_length_are_compared_per_character",
    "choice_probability": LETTERS,
    "choice_mass": LETTERS,
    "ngram_entropy": "test_fluency.py::test_the_value_worked_out_by_hand",
    "distinct_ngrams": TEXTS,
    "judge_accuracy": "test_external_judges.py::test_a_judged_evaluation_has_verdicts_reasons_and_cost",
    "judge_worst_paraphrase": WORST,
    "judge_worst_context": WORST,
    "judge_worst": WORST,
    "entailment": "test_external_judges.py::test_entailment_serves_an_evaluation",
    "answer_kept": f"{PARTS}::test_what_is_left_of_the_originals_answer_is_a_share_of_its_words",
    "win_rate": "judge/test_comparison.py::test_every_answer_is_compared_in_both_orders",
    "clean_text": "test_gibberish.py::test_it_serves_an_evaluation",
    "lm_eval": "tasks/test_scoring.py::test_our_number_is_the_harnesss_own",
    "mia_loss": PLAIN_FORWARDS,
    "mia_zlib": PLAIN_FORWARDS,
    "mia_min_k": PLAIN_FORWARDS,
    "mia_min_k_plus_plus": PLAIN_FORWARDS,
    "mia_gradnorm": "test_metric_oracles.py::test_the_gradient_norm_of_a_row_is_autograds",
    "mia_loss_auc": AREAS,
    "mia_zlib_auc": AREAS,
    "mia_min_k_auc": AREAS,
    "mia_min_k_plus_plus_auc": AREAS,
    "mia_gradnorm_auc": AREAS,
    "mia_reference_auc": f"{SPLITS}::test_the_reference_area_takes_golds_own_loss_off",
    "privleak": f"{SPLITS}::test_privleak_is_made_of_both_areas",
    "mia_zlib_ou": f"{AS_PUBLISHED}::test_the_compressed_text_has_the_blank_before_the_answer",
    "mia_zlib_ou_auc": AREAS,
    "mia_min_k_ou": f"{AS_PUBLISHED}::test_the_token_that_ends_a_text_is_left_out",
    "mia_min_k_ou_auc": AREAS,
    "mia_min_k_plus_plus_ou": f"{AS_PUBLISHED}::test_the_token_that_ends_a_text_is_left_out",
    "mia_min_k_plus_plus_ou_auc": AREAS,
    "mia_gradnorm_ou": f"{AS_PUBLISHED}::test_the_gradient_norm_is_the_mean_over_weights",
    "mia_gradnorm_ou_auc": AREAS,
    "rwku_level1": EACH_PART,
    "rwku_level2": EACH_PART,
    "rwku_level3": EACH_PART,
    "rwku_prefix_injection": EACH_PART,
    "rwku_affirmative_suffix": EACH_PART,
    "rwku_role_playing": EACH_PART,
    "rwku_multiple_choice": EACH_PART,
    "rwku_reverse_query": EACH_PART,
    "rwku_synonym_manipulation": EACH_PART,
    "rwku_background_hint": EACH_PART,
    "rwku_in_context_learning": EACH_PART,
    "rwku_cross_lingual": EACH_PART,
    "mia_loss_rise": f"{PARTS}::test_the_rise_of_the_loss_is_held_against_the_original_text_by_text",
    "regurgitation": f"{PARTS}::test_regurgitation_is_the_share_of_a_documents_rest_that_was_written",
    "exact_answer": f"{PARTS}::test_an_answer_is_right_letter_for_letter_but_for_case_and_outer_blanks",
    "lume_forget_aggregate": LUME,
    "lume_task_aggregate": LUME,
}
"""The test of each metric, in this folder."""


def test_every_metric_has_its_test() -> None:
    assert list(ORACLES) == list(METRICS), "a new metric comes with an oracle, in the catalog's order"


@pytest.mark.parametrize("metric", ORACLES)
def test_the_test_is_there_and_is_about_it(metric: str) -> None:
    """By the source: the function exists, and it, what it is parametrised with or its helper's table names it."""
    file, _, name = ORACLES[metric].partition("::")
    text = (HERE / file).read_text(encoding="utf-8")
    (found,) = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == name]
    source = "\n".join([*(ast.unparse(mark) for mark in found.decorator_list), ast.unparse(found)])
    assert metric in source or f"def {metric}" in text, f"{name} does not say {metric}"
    assert any(isinstance(node, ast.Assert) for node in ast.walk(found)), f"{name} asserts nothing"


QUESTIONS = [
    Row(row_id=f"q{i}", group_id=f"q{i}", split="forget", question=f"Who wrote volume {i}?", answer="Anna wrote it.")
    for i in range(4)
]


def test_metrics_of_texts_are_those_of_their_definitions(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """knowmem, rouge_unstemmed, answer_contained, distinct_ngrams; some answers are made of what the model will say."""
    model = tiny_models.llama().eval()
    options = {"template": Template(), "max_new_tokens": 24}
    first = evaluate_rows(model, tiny_tokenizer, QUESTIONS, metrics=["knowmem"], **options).table
    said = [str(text).split() for text in first["generation"]]
    known = [
        Row(row_id=f"k{i}", group_id=f"k{i}", split="forget", question=row.question, answer=" ".join(words[:3]))
        for i, (row, words) in enumerate(zip(QUESTIONS, said, strict=True))
        if any(mark.isascii() and mark.isalnum() for mark in "".join(words[:3]))
    ]
    assert known, "a model that says nothing readable would show nothing"
    metrics = ["knowmem", "rouge_unstemmed", "answer_contained", "distinct_ngrams"]
    rows = [*QUESTIONS, *known]
    table = evaluate_rows(model, tiny_tokenizer, rows, metrics=metrics, **options).table
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    for row, line in zip(rows, table.to_dict("records"), strict=True):
        text = str(line["generation"])
        expected = scorer.score(row.answer, text)["rougeL"]
        assert line["knowmem"] == pytest.approx(expected.fmeasure)
        assert line["rouge_unstemmed"] == pytest.approx(expected.recall)
        if row.row_id.startswith("k"):
            assert line["answer_contained"] == 1.0, "it begins with these words"
        else:
            assert line["answer_contained"] == 0.0
        grams = Counter(zip(*(text.split()[i:] for i in range(4)), strict=False))
        if text.isascii() and grams and text.replace(" ", "").isalnum():
            assert line["distinct_ngrams"] == pytest.approx(len(grams) / grams.total())


def test_the_gradient_norm_of_a_row_is_autograds(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """mia_gradnorm in a table is the norm of the gradient that autograd gives for the row alone."""
    model = tiny_models.llama().eval()
    table = evaluate_rows(
        model, tiny_tokenizer, QUESTIONS, metrics=["mia_gradnorm"], template=Template(), max_new_tokens=1
    ).table
    for row, value in zip(QUESTIONS, table["mia_gradnorm"], strict=True):
        example = encode(tiny_tokenizer, row.row_id, row.question, row.answer, Template())
        model.zero_grad()
        ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
        logits = model(input_ids=ids).logits[0, len(example.prompt_ids) - 1 : -1]
        torch.nn.functional.cross_entropy(logits, torch.tensor(example.answer_ids)).backward()
        norms = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None])
        model.zero_grad()
        assert value == pytest.approx(float(norms.square().sum().sqrt()), rel=1e-4)
        assert value == pytest.approx(gradient_norms(model, [example])[0], rel=1e-5)


def test_choices_in_words_are_compared_by_their_whole_likelihood(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_models.llama().eval()
    choices = ("Basil wrote it", "nobody at all", "Anna")
    row = Row(
        row_id="c", group_id="c", split="truth", question="Q: Who?\nA:", answer="Anna", kind="choice", choices=choices,
        template=Template(before="", after="", ends=False),
    )  # fmt: skip
    wanted = ["choice_accuracy", "choice_probability", "choice_mass"]
    found = evaluate_rows(model, tiny_tokenizer, [row], metrics=wanted, template=Template(), max_new_tokens=1).table
    sums = []
    for choice in choices:
        example = encode(tiny_tokenizer, "c", row.question, choice, row.template or Template())
        ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
        with torch.no_grad():
            logp = model(input_ids=ids).logits[0, len(example.prompt_ids) - 1 : -1].log_softmax(-1)
        sums.append(float(logp.gather(1, torch.tensor(example.answer_ids)[:, None]).sum()))
    shares = torch.tensor(sums, dtype=torch.float64).softmax(0)
    (line,) = found.to_dict("records")
    assert line["choice_accuracy"] == float(int(torch.tensor(sums).argmax()) == 2)
    assert line["choice_probability"] == pytest.approx(float(shares[2]), rel=1e-3)
    assert math.isnan(line["choice_mass"]), "the mass of letters says nothing where there are none"
    assert line["chance"] == pytest.approx(1 / 3)


@pytest.mark.skipif(not TOFU.exists(), reason="the TOFU files are not beside the project")
def test_all_metrics_of_real_tofu_rows_come_of_one_evaluation_with_the_fewest_passes(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Prompts once, all behind them once, then one pass a token but the first, which the answers' pass gives."""
    options = {"path": str(TOFU), "forget": "forget01", "retain_rows": 8, "evaluation_rows": 5, "extra_splits": True}
    found = load_benchmark("tofu", options)
    rows = [row for split in found.evaluation.values() for row in split]
    model: LlamaForCausalLM = tiny_models.llama().eval()
    model.config.max_position_embeddings = 2048
    calls: list[int] = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    metrics = [*BENCHMARKS["tofu"].metrics, "forget_quality", "exact_memorization_ou", "extraction_strength_ou"]
    steps = 6
    done = evaluate_rows(
        model,
        tiny_tokenizer,
        rows,
        metrics=metrics,
        template=found.template,
        max_new_tokens=steps,
        batch_tokens=1 << 20,
    )
    handle.remove()
    print(f"{len(rows)} TOFU rows, {len(metrics)} metrics: {done.forward_passes} forward passes")
    assert done.forward_passes == len(calls) == 2 + steps - 1
    columns = {part for name in metrics for part in COMPONENTS.get(name, (name,))}
    assert columns <= set(done.table.columns)
    forget = done.table.loc[done.table["split"] == "forget"]
    assert [name for name in sorted(columns) if any(forget[name].isna().tolist())] == []
