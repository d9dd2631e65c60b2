"""A judge in this process: an instruct model from a folder, greedy, one row at a time. No address, no key, no cost.

It is asked with the words an endpoint is asked with, through its own chat template, and held to the same strict
verdict: a small model that does not keep to one word gives none.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_sweep.evaluators.judge.endpoint import Completion, without_thought
from unlearn_sweep.evaluators.judge.settings import SHORT_TOKENS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LocalJudge:
    """A loaded model that answers messages."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, **options)
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, dtype="auto", **options)
        self.model: PreTrainedModel = loaded.to(device).eval()

    def complete(self, messages: list[dict[str, str]], tokens: int | None = None) -> Completion:
        """The greedy answer of at most `tokens` tokens (None: 16), without a chain of thought before it."""
        import torch

        ids = self._prompt(messages)
        asked = torch.tensor([ids], device=self.model.device)
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.tokenizer.eos_token_id
        with torch.no_grad():
            found: Any = self.model.generate(  # pyright: ignore[reportCallIssue]
                input_ids=asked,
                attention_mask=torch.ones_like(asked),
                do_sample=False,
                max_new_tokens=tokens or SHORT_TOKENS,
                pad_token_id=pad,
            )
        answer = found[0, len(ids) :].tolist()
        text = str(self.tokenizer.decode(answer, skip_special_tokens=True))
        return Completion(text=without_thought(text), prompt_tokens=len(ids), completion_tokens=len(answer), calls=1)

    def _prompt(self, messages: list[dict[str, str]]) -> list[int]:
        """Through the model's chat template; without one, the messages as paragraphs and "Answer:"."""
        if self.tokenizer.chat_template is None:
            text = "\n\n".join(message["content"] for message in messages) + "\n\nAnswer:"
            return list(self.tokenizer.encode(text))
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(self.tokenizer.encode(str(text), add_special_tokens=False))


@functools.lru_cache(maxsize=1)
def local_judge(folder: Path) -> LocalJudge:
    """The judge of a folder, loaded once a process."""
    return LocalJudge(folder)
