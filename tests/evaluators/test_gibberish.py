"""Clean text by a classifier. Oracle: unbatched forwards of the same classifier."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from tests.evaluators import tiny_models
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.external_judges import missing_verdicts, verdict_identity
from unlearn_sweep.evaluators.gibberish import VARIABLE, GibberishClassifier, clean_label, gibberish_model
from unlearn_sweep.evaluators.judge.judge import Cost
from unlearn_sweep.evaluators.local_models import folder_identity, model_identity
from unlearn_sweep.evaluators.rows import Row, Template

LABELS = {0: "clean", 1: "mild gibberish", 2: "noise", 3: "word salad"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast) -> Path:
    """A random classifier with the labels of the published one."""
    torch.manual_seed(2)
    config = BertConfig(
        vocab_size=tiny_models.VOCABULARY,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.8,
        id2label=LABELS,
        label2id={name: place for place, name in LABELS.items()},
    )
    place = tmp_path_factory.mktemp("gibberish")
    BertForSequenceClassification(config).save_pretrained(place)
    tiny_tokenizer.save_pretrained(place)
    return place


def test_it_is_the_share_of_the_label_clean(folder: Path) -> None:
    judge = GibberishClassifier(str(folder))
    texts = [f"Answer {'so ' * (i % 5)}number {i}" for i in range(20)]
    expected = []
    for text in texts:
        with torch.no_grad():
            logits = judge.model(**judge.tokenizer(text, return_tensors="pt")).logits[0]
        expected.append(float(logits.softmax(-1)[0]))
    assert judge.clean(texts) == pytest.approx(expected, abs=1e-5)
    assert judge.clean(texts[::-1]) == pytest.approx(expected[::-1], abs=1e-5)
    assert judge.clean(["", " \n"]) == [0.0, 0.0], "nothing is no clean text"
    assert max(expected) - min(expected) > 0.01, "a classifier that tells texts apart"


def test_it_serves_an_evaluation(
    folder: Path, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(folder))
    rows = [
        Row(row_id="q", group_id="q", split="retain", question="Who wrote it?", answer="Anna"),
        Row(row_id="i", group_id="i", split="retain", question="Tell a story.", answer="", kind="instruction"),
        Row(row_id="t", group_id="t", split="retain", question="", answer="A text that is only read.", kind="text"),
    ]
    found = evaluate_rows(
        tiny_models.llama().eval(), tiny_tokenizer, rows, metrics=["clean_text"], template=Template(), max_new_tokens=6
    )
    texts = [str(text) for text in found.table["generation"][:2]]
    assert found.table["clean_text"].tolist()[:2] == pytest.approx(GibberishClassifier(str(folder)).clean(texts))
    assert found.table["row_id"].tolist() == ["q", "i"], "a text that is only read is not asked about"
    assert found.judging == {"gibberish": Cost(rows=2)}
    assert verdict_identity(["clean_text"]) == {"gibberish": folder_identity(folder)}


def test_without_one_the_reason_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    (reason,) = missing_verdicts(["clean_text"])
    assert f"set {VARIABLE} to the folder of one, or to owner/name@revision" in reason
    with pytest.raises(ValueError, match=r"no folder with config\.json"):
        gibberish_model({VARIABLE: str(tmp_path)})


def test_a_hub_model_is_named_with_its_revision() -> None:
    assert gibberish_model({VARIABLE: "owner/name@0a1b2c"}) == "owner/name@0a1b2c"
    assert model_identity("owner/name@0a1b2c") == "owner/name@0a1b2c"
    with pytest.raises(ValueError, match=r"no folder with config\.json"):
        gibberish_model({VARIABLE: "owner/name"})


def test_labels_have_to_name_clean() -> None:
    assert clean_label({0: "noise", 1: "Clean"}) == 1
    with pytest.raises(ValueError, match="labels must name 'clean' once, and are LABEL_0, LABEL_1"):
        clean_label({0: "LABEL_0", 1: "LABEL_1"})
