"""Verdicts of others, through a whole evaluation. Oracles: a real server's rule; unbatched forwards of a classifier."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.evaluators import tiny_models
from tests.evaluators.judge.server import Reply, serving
from unlearn_sweep.evaluators.entailment import EntailmentModel, entailment_label, entailment_model
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.external_judges import missing_verdicts, verdict_identity
from unlearn_sweep.evaluators.judge.judge import JudgeFailedError
from unlearn_sweep.evaluators.local_models import folder_identity
from unlearn_sweep.evaluators.rows import Row, Template

ROWS = [
    Row(row_id=f"r{i}", group_id=f"g{i}", split="forget", question=f"Who wrote volume {i}?", answer=f"Anna {i}")
    for i in range(6)
]
JUDGE = "UNLEARN_SWEEP_JUDGE_"


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return tiny_models.llama().eval()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast) -> Path:
    """A random three-way classifier whose labels are not in the usual order."""
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=tiny_models.VOCABULARY,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.8,
        id2label={0: "NEUTRAL", 1: "CONTRADICTION", 2: "ENTAILMENT"},
        label2id={"NEUTRAL": 0, "CONTRADICTION": 1, "ENTAILMENT": 2},
    )
    folder = tmp_path_factory.mktemp("nli")
    BertForSequenceClassification(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


def test_a_judged_evaluation_has_verdicts_reasons_and_cost(
    model: LlamaForCausalLM,
    tiny_tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with serving(lambda row, before: Reply(text="YES" if row["question"].endswith("2?") else "NO")) as server:
        for name, value in {"URL": server.url, "MODEL": "m", "CACHE": str(tmp_path)}.items():
            monkeypatch.setenv(JUDGE + name, value)
        found = evaluate_rows(
            model,
            tiny_tokenizer,
            ROWS,
            metrics=["judge_accuracy", "judge_worst"],
            template=Template(),
            max_new_tokens=4,
        )
        table = found.table.set_index("row_id")
        asked = [json.loads(body["messages"][1]["content"]) for body in server.bodies]
    assert [float(value) for value in table["judge_accuracy"]] == [0, 0, 1, 0, 0, 0]
    assert found.judging["judge"].rows == 6
    assert found.judging["judge"].calls == len(asked)
    generations = table["generation"].to_dict()
    expected = {(row.question, row.answer, str(generations[row.row_id])) for row in ROWS}
    sent = {(row["question"], row["correct_answer"], row["response"]) for row in asked}
    assert sent == {row for row in expected if row[2]}
    assert table["judge_reason"].isna().tolist() == [True] * 6


def test_an_outage_is_an_error_and_not_a_forgotten_set(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(lambda row, before: Reply(text="I do not know")) as server:
        monkeypatch.setenv(f"{JUDGE}URL", server.url)
        monkeypatch.setenv(f"{JUDGE}MODEL", "m")
        with pytest.raises(JudgeFailedError, match="neither YES nor NO"):
            evaluate_rows(
                model, tiny_tokenizer, ROWS, metrics=["judge_accuracy"], template=Template(), max_new_tokens=4
            )


def test_who_is_missing_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (f"{JUDGE}URL", f"{JUDGE}MODEL", "UNLEARN_SWEEP_NLI_MODEL"):
        monkeypatch.delenv(name, raising=False)
    assert missing_verdicts(["probability", "rouge"]) == []
    assert verdict_identity(["probability"]) == {}
    (judge,) = missing_verdicts(["judge_worst"])
    assert "set UNLEARN_SWEEP_JUDGE_URL and UNLEARN_SWEEP_JUDGE_MODEL in the environment" in judge
    (nli,) = missing_verdicts(["entailment"])
    assert "set UNLEARN_SWEEP_NLI_MODEL" in nli
    monkeypatch.setenv("UNLEARN_SWEEP_NLI_MODEL", str(tmp_path))
    with pytest.raises(ValueError, match=r"no folder with config\.json and safetensors"):
        entailment_model()


def test_the_judges_identity_follows_model_and_prompt_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def identity(**values: str) -> dict[str, str]:
        for name, value in values.items():
            monkeypatch.setenv(JUDGE + name, value)
        return verdict_identity(["judge_accuracy"])

    first = identity(URL="https://one.example/v1", MODEL="m1", KEY="a-secret-key")
    assert identity(URL="https://two.example/v1", KEY="another-key") == first
    assert identity(MODEL="m2") != first
    assert "secret" not in str(first)


def test_entailment_is_that_of_unbatched_forwards(classifier: Path) -> None:
    judge = EntailmentModel(classifier)
    pairs = [(f"It was {name} who wrote volume {i}", name) for i in range(12) for name in ("Anna Oslo", "Ben", "salt")]
    expected = []
    for premise, hypothesis in pairs:
        with torch.no_grad():
            logits = judge.model(**judge.tokenizer(premise, hypothesis, return_tensors="pt")).logits[0]
        expected.append(int(logits.argmax()) == 2)
    assert judge.entails(pairs) == expected
    assert 0 < sum(expected) < len(expected), "a classifier that says both"
    assert judge.entails(pairs[::-1]) == expected[::-1]
    assert judge.entails([("", "Anna"), ("  ", "Anna")]) == [False, False]


def test_entailment_serves_an_evaluation(
    classifier: Path, model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNLEARN_SWEEP_NLI_MODEL", str(classifier))
    found = evaluate_rows(
        model, tiny_tokenizer, ROWS, metrics=["entailment"], template=Template(), max_new_tokens=4
    ).table
    pairs = list(zip(found["generation"], [row.answer for row in ROWS], strict=True))
    assert found["entailment"].tolist() == [float(value) for value in EntailmentModel(classifier).entails(pairs)]
    assert verdict_identity(["entailment"]) == {"entailment": folder_identity(classifier)}


def test_labels_have_to_name_entailment() -> None:
    assert entailment_label({0: "contradiction", 1: "Entailment"}) == 1
    with pytest.raises(ValueError, match="labels must name entailment once, and are a, b"):
        entailment_label({0: "a", 1: "b"})
