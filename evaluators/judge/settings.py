"""Who judges: an OpenAI-compatible endpoint, or a model in a folder; named in the environment and nowhere else.

UNLEARN_SWEEP_JUDGE_URL     base address, up to and with /v1
UNLEARN_SWEEP_JUDGE_MODEL   the model's id there; pin a dated one, preview ids get retired
UNLEARN_SWEEP_JUDGE_KEY     key, where the endpoint wants one; it is sent there and goes nowhere else
UNLEARN_SWEEP_JUDGE_PRICES  "0.15,0.60": dollars for a million tokens read and written, to count the cost
UNLEARN_SWEEP_JUDGE_FOLDER  in place of URL and MODEL: folder of an instruct model, which judges in this process
UNLEARN_SWEEP_JUDGE_CACHE   folder of verdicts, so that the same answer is judged once; left out: not kept
UNLEARN_SWEEP_JUDGE_REASONING  1: a model that thinks first: `max_completion_tokens` is sent and no temperature; found
                            out by itself where the endpoint refuses `max_tokens` or `temperature` with a 400
UNLEARN_SWEEP_JUDGE_TOKENS  tokens an answer may have, thinking included; left out: 16, or 4,096 of a thinking model
UNLEARN_SWEEP_JUDGE_RULES   what the judge is told: `holds` (left out: does the response hold the answer, after JensUn),
                            `same_meaning` (GAO: do the two answers mean the same), or a text file of rules, such as a
                            project's own prompt; it has to ask for YES or NO, or TRUE or FALSE, and gets rows as JSON
UNLEARN_SWEEP_JUDGE_BODY    JSON object of more fields to send: {"reasoning_effort": "low"}
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from unlearn_sweep.evaluators.chat_models.settings import ChatModelSettings, chat_model_settings
from unlearn_sweep.evaluators.judge.questions import Asked, SameMeaning, asked_by

PREFIX = "UNLEARN_SWEEP_JUDGE_"


def judge_settings(environment: Mapping[str, str] | None = None) -> ChatModelSettings:
    """The judge that the environment names.

    Raises:
        ValueError: an address or model is missing, the address is none that a key may be sent to, the folder holds no
            model, or another variable is not what it should be.
    """
    return chat_model_settings(PREFIX, "judge", environment)


NAMED_RULES: Mapping[str, type[Asked]] = {"holds": Asked, "same_meaning": SameMeaning}
"""What a judge may be told, by name; the first is the default."""


def judge_question(environment: Mapping[str, str] | None = None) -> type[Asked]:
    """Return the question that the judge of `judge_accuracy` and `judge_worst*` is asked.

    Raises:
        ValueError: RULES is neither a name nor a readable text file with something in it.
    """
    given = (os.environ if environment is None else environment).get(f"{PREFIX}RULES") or "holds"
    if given in NAMED_RULES:
        return NAMED_RULES[given]
    try:
        text = Path(given).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        names = " or ".join(NAMED_RULES)
        raise ValueError(f"{PREFIX}RULES: must be {names}, or a text file; {given!r} cannot be read") from error
    if not text:
        raise ValueError(f"{PREFIX}RULES: {given} is empty")
    return asked_by(text)


def named_judge() -> ChatModelSettings:
    """Return the judge that the environment names, after a look at its rules.

    Raises:
        ValueError: as `judge_settings` and `judge_question`.
    """
    judge_question()
    return judge_settings()
