"""The toy world as a thinking model sees it: a chat template that begins a thought where thinking is enabled."""

from __future__ import annotations

import copy
from dataclasses import replace

from unlearn_sweep.evaluators.attacks.attack import Target
from unlearn_sweep.evaluators.benchmarks.prompt_format import PromptSettings, in_format

THINKING = (
    "{% for m in messages %}{{ m.role + ': ' + m.content + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% if enable_thinking %}{{ '<think>\n' }}{% endif %}{% endif %}"
)


def suited(target: Target, attack: str) -> Target:
    """The target of an attack: for `think`, one that is asked in a chat."""
    if attack != "think":
        return target
    tokenizer = copy.deepcopy(target.tokenizer)
    tokenizer.chat_template = THINKING
    return replace(target, tokenizer=tokenizer, benchmark=in_format(target.benchmark, PromptSettings(format="chat")))
