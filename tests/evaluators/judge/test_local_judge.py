"""A judge in this process. Oracle: a small model taught which rows to say YES to, asked as an endpoint is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unlearn_sweep.evaluators.chat_models.local_model import LocalModel
from unlearn_sweep.evaluators.external_judges import missing_verdicts, verdict_identity
from unlearn_sweep.evaluators.judge.judge import Judge, JudgeFailedError
from unlearn_sweep.evaluators.judge.questions import RULES, Asked
from unlearn_sweep.evaluators.judge.settings import judge_settings

FOLDER = "UNLEARN_SWEEP_JUDGE_FOLDER"
ROWS = [Asked(f"Who keeps light {i}?", "Orla", "It is Orla." if i % 2 == 0 else "Nobody knows.") for i in range(4)]
CHAT = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<answer>"
STEPS = 60


def speaker(chat: bool) -> PreTrainedTokenizerFast:
    """Long words of the rules, so that a prompt is short."""
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<bos>", "<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    model.train_from_iterator([RULES, *(row.messages()[1]["content"] for row in ROWS)], trainer)
    found = PreTrainedTokenizerFast(tokenizer_object=model, bos_token="<bos>", eos_token="<eos>", pad_token="<eos>")
    found.chat_template = CHAT if chat else None
    return found


@pytest.fixture(scope="module", params=[True, False], ids=["chat", "plain"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt four verdicts."""
    place = tmp_path_factory.mktemp("judge")
    tokenizer = speaker(request.param)
    torch.manual_seed(0)
    size: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    size |= {"num_attention_heads": 4}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=1024, eos_token_id=1, **size)
    )
    tokenizer.save_pretrained(place)
    model.save_pretrained(place)
    asking = LocalModel(place)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    learnt = []
    for row in ROWS:
        prompt = asking._prompt(row.messages())
        answer = tokenizer.encode("YES" if "Orla" in row.response else "NO", add_special_tokens=False)
        learnt.append((torch.tensor([[*prompt, *answer, 1]]), len(answer) + 1))
    for _ in range(STEPS):
        for ids, supervised in learnt:
            logits = model(input_ids=ids).logits[0, -supervised - 1 : -1]
            functional.cross_entropy(logits, ids[0, -supervised:]).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(place)
    return place


def test_it_judges_as_it_was_taught_and_costs_nothing(folder: Path) -> None:
    verdicts, cost = Judge(judge_settings({FOLDER: str(folder)})).verdicts(ROWS)
    assert [verdict.value for verdict in verdicts] == [1.0, 0.0, 1.0, 0.0]
    assert (cost.calls, cost.failed, cost.dollars) == (4, 0, None)
    assert cost.prompt_tokens > 4 * 50
    assert cost.completion_tokens <= 4 * 16


def test_a_model_that_babbles_gives_no_verdict(folder: Path, tmp_path: Path) -> None:
    """The same folder with random weights: every answer is nonsense, and the metric says so."""
    torch.manual_seed(1)
    config = LlamaConfig.from_pretrained(folder)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    PreTrainedTokenizerFast.from_pretrained(folder).save_pretrained(tmp_path)
    with pytest.raises(JudgeFailedError, match="neither YES nor NO"):
        Judge(judge_settings({FOLDER: str(tmp_path)})).verdicts(ROWS)


def test_it_is_named_by_its_content(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "MODEL"):
        monkeypatch.delenv(f"UNLEARN_SWEEP_JUDGE_{name}", raising=False)
    monkeypatch.setenv(FOLDER, str(folder))
    assert missing_verdicts(["judge_accuracy"]) == []
    identity = verdict_identity(["judge_accuracy"])["judge"]
    assert identity.startswith("folder:")
    assert str(folder) not in identity


def test_one_judge_and_one_that_is_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one judge, please"):
        judge_settings({FOLDER: str(folder), "UNLEARN_SWEEP_JUDGE_URL": "https://judge.example/v1"})
    with pytest.raises(ValueError, match=r"no folder with config\.json and safetensors"):
        judge_settings({FOLDER: str(tmp_path)})
