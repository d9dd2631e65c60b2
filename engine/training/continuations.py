"""Generate the start model's own continuations of a question plus a change of subject, to keep the model fluent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_sweep.engine.training.training_views import CONTINUATION, Views
from unlearn_sweep.evaluators.generation import generate
from unlearn_sweep.evaluators.inference import end_ids, padding_id

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CONTINUATION_TOKENS = 32


def write_continuations(views: Views, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Generate the answers of view "forget_continuation" greedily, if a method reads that view.

    Call this once per training, with the start model. Every rank generates the same text.
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
