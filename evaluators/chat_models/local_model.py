"""A chat model in this process: an instruct model from a folder, one call at a time. No address, no key, no cost.

It is asked with the words an endpoint is asked with, through its own chat template: as a judge greedily, and held to
the same strict verdict; as a writer by sampling.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_sweep.evaluators.chat_models.endpoint import CallError, Completion, without_thought
from unlearn_sweep.evaluators.chat_models.settings import SHORT_TOKENS
from unlearn_sweep.evaluators.inference import context_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


SAMPLED: dict[str, Any] = {"do_sample": True, "top_p": 0.9, "top_k": 50, "repetition_penalty": 1.1}
"""How answers are sampled, as the released code of GAO does."""


class LocalModel:
    """A loaded model that answers messages."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = "auto" if device == "cuda" else torch.float32  # bfloat16 is many times slower on most CPUs
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, **options)
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, dtype=dtype, **options)
        self.model: PreTrainedModel = loaded.to(device).eval()

    def complete(
        self, messages: list[dict[str, str]], tokens: int | None = None, *, temperature: float = 0.0, seed: int = 0
    ) -> Completion:
        """An answer of at most `tokens` tokens (None: 16), without a chain of thought before it.

        Greedy at temperature 0, else sampled from the likeliest tokens that hold 0.9 of the probability, with `seed`;
        the process's random state stays as it was.

        Raises:
            CallError: messages and answer together are longer than the model reads.
        """
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self._complete(messages, tokens or SHORT_TOKENS, temperature)

    def _complete(self, messages: list[dict[str, str]], tokens: int, temperature: float) -> Completion:
        import torch

        ids = self._prompt(messages)
        context = context_tokens(self.model)
        if context is not None and len(ids) + tokens > context:
            raise CallError(f"{len(ids)} tokens and {tokens} to answer with: the model reads {context}", again=False)
        asked = torch.tensor([ids], device=self.model.device)
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.tokenizer.eos_token_id
        with torch.no_grad():
            found: Any = self.model.generate(  # pyright: ignore[reportCallIssue]
                input_ids=asked,
                attention_mask=torch.ones_like(asked),
                max_new_tokens=tokens,
                pad_token_id=pad,
                **(SAMPLED | {"temperature": temperature} if temperature else {"do_sample": False}),
            )
        answer = found[0, len(ids) :].tolist()
        text = str(self.tokenizer.decode(answer, skip_special_tokens=True))
        return Completion(
            text=without_thought(text),
            prompt_tokens=len(ids),
            completion_tokens=len(answer),
            calls=1,
            cut=len(answer) >= tokens and answer[-1] not in self._ends(),
        )

    def _ends(self) -> set[int]:
        """Ids with which the model ends an answer."""
        found: Any = self.model.generation_config.eos_token_id if self.model.generation_config is not None else None
        ends = found if isinstance(found, list) else [found]
        return {end for end in (*ends, self.tokenizer.eos_token_id) if isinstance(end, int)}

    def _prompt(self, messages: list[dict[str, str]]) -> list[int]:
        """Through the model's chat template; without one, the messages as paragraphs and "Answer:"."""
        if self.tokenizer.chat_template is None:
            text = "\n\n".join(message["content"] for message in messages) + "\n\nAnswer:"
            return list(self.tokenizer.encode(text))
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(self.tokenizer.encode(str(text), add_special_tokens=False))


@functools.lru_cache(maxsize=3)
def local_model(folder: Path) -> LocalModel:
    """The model of a folder, loaded once a process."""
    return LocalModel(folder)
