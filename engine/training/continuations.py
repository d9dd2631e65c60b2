"""What the start model itself says behind a question and a change of subject: text that keeps a model fluent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_sweep.engine.training.training_views import CONTINUATION, Views
from unlearn_sweep.evaluators.generation import generate
from unlearn_sweep.evaluators.inference import end_ids, padding_id

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CONTINUATION_TOKENS = 32


def write_continuations(views: Views, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give view "forget_continuation" its answers, where a method reads it: the model's greedy text, the same on every
    rank. Made once a training, from the start model.
    """
    if CONTINUATION not in views.names:
        return
    prompts = views.continuation_prompts()
    made = generate(
        model,
        prompts,
        max_new_tokens=CONTINUATION_TOKENS,
        end_ids=end_ids(model, tokenizer, (views.encoder.template,)),
        pad_id=padding_id(tokenizer),
    )
    views.continuations = made.tokens
