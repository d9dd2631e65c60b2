"""The model as lm-evaluation-harness asks it, with likelihoods from our own teacher-forced pass.

The harness's class reads every request whole, with logits at all places. `score` reads shared contexts and the examples
of a few-shot prompt once, and runs the head at continuations only. Tokens, truncation and answers are the harness's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from lm_eval.models.huggingface import HFLM

from unlearn_sweep.evaluators.likelihood import score
from unlearn_sweep.evaluators.rows import Example

if TYPE_CHECKING:
    from collections.abc import Callable

TokenRequest = tuple[tuple[str, str] | None, list[int], list[int]]
"""Context and continuation as text (None: a window of a long text), and their ids."""


class HarnessModel(HFLM):
    """HFLM for a causal model in memory; `generate_until` is the harness's own."""

    def _loglikelihood_tokens(
        self, requests: Sequence[TokenRequest], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Return for each request the continuation's log-likelihood in nats, and whether greedy decoding writes it.

        What is longer than the context loses its first tokens. The batch size the harness gives is not used.

        Raises:
            ValueError: a context or continuation has no token.
            NonFiniteLogits: the model is broken.
        """
        own: Any = self  # the decorator of HFLM hides its attributes
        examples = [
            _example(str(place), context, continuation, own.max_length)
            for place, (_, context, continuation) in enumerate(requests)
        ]
        add: Callable[[str, tuple[str, str], tuple[float, bool]], Any] = own.cache_hook.add_partial
        answers: list[tuple[float, bool]] = []
        for (texts, _, _), found in zip(requests, score(own.model, examples, pad_id=0).scores, strict=True):
            answers.append((float(found.logp.sum(dtype=np.float64)), bool(found.correct.all())))
            if texts is not None:
                add("loglikelihood", texts, answers[-1])
        return answers


def _example(row_id: str, context: list[int], continuation: list[int], context_tokens: int) -> Example:
    """The last continuation token is predicted but never fed, so one more than `context_tokens` fit."""
    kept = tuple([*context, *continuation][-(context_tokens + 1) :])
    border = len(kept) - len(continuation)
    return Example(row_id=row_id, prompt_ids=kept[:border], answer_ids=kept[border:])
