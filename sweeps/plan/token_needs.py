"""Find attacks whose need depends on how rows are tokenised: answers to open, thoughts to make room for.

Loading a tokenizer takes seconds. It is loaded only where the rows alone leave it open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages.recipes import recipe_of
from unlearn_sweep.evaluators.attacks.catalog import validate
from unlearn_sweep.evaluators.attacks.prefill_params import PrefillParams
from unlearn_sweep.evaluators.attacks.think_params import ThinkParams
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.evaluators.halves import search_halves
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.evaluators.thought_marks import ANSWER_ROOM
from unlearn_sweep.sweeps.plan.attack_needs import AttackObstacle, Need, as_obstacle, links_of
from unlearn_sweep.sweeps.plan.lengths import TOKENIZER_FILES, context_of, model_place

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SURE_WORDS = 4
"""An answer of so many words for each token has more tokens than that, whatever the tokenizer."""
PROMPT_ROOM = 2048
"""Where so much of the context is left for a prompt, thoughts are taken to fit without counting its tokens."""


@dataclass(frozen=True)
class Measured:
    """The forget rows that metrics of UE read, and how long their answers are.

    Attributes:
        job: The sweep.
        benchmark: Its rows.
        hub: Whether a tokenizer on the hub may be downloaded.
    """

    job: SweepJob
    benchmark: Benchmark
    hub: bool = False

    @cached_property
    def rows(self) -> dict[str, list[Row]]:
        """The rows of each half: both are scored, one for the search and one for the report."""
        forget = self.benchmark.evaluation["forget"]
        kinds = {kind for name in self.job.ue_metrics for kind in METRICS[name].kinds}
        found = search_halves([(row.group_id, row.stratum) for row in forget])
        read = [row for row in forget if row.kind in kinds]
        sides = {"search": found.search, "report": found.report}
        return {name: [row for row in read if row.group_id in side] for name, side in sides.items()}

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The tokenizer of the sweep; None where it is on the hub and may not be downloaded, or cannot be read.

        One that cannot be read is no fault of an attack: loading the model says so, before anything is trained.
        """
        try:
            return tokenizer_of(self.job, self.benchmark, hub=self.hub)
        except (OSError, ValueError):
            return None

    @cached_property
    def longest(self) -> dict[str, int]:
        """The most answer tokens in each half, without what closes a turn; an upper bound without a tokenizer."""
        if self.tokenizer is None:
            return {
                half: max((len(row.answer.encode()) + 1 for row in rows), default=0) for half, rows in self.rows.items()
            }
        from unlearn_sweep.evaluators.attacks.answer_likelihood import encode_rows

        template = self.benchmark.template
        return {
            half: max((len(one.content_ids) for one in encode_rows(self.tokenizer, rows, template)), default=0)
            for half, rows in self.rows.items()
        }

    def surely_longer(self, tokens: int) -> bool:
        """Whether each half has an answer of more than `tokens` tokens, by its words alone.

        A tokenizer that the sweep trains itself never joins two words in one token.
        """
        words = (tokens + 1) * (1 if trains_tokenizer(self.job, self.benchmark) else SURE_WORDS)
        return all(any(len(row.answer.split()) >= words for row in rows) for rows in self.rows.values())


def token_obstacles(job: SweepJob, benchmark: Benchmark, *, hub: bool = False) -> Iterator[AttackObstacle]:
    """Yield why attacks of a job cannot run on these rows as its tokenizer reads them, in the order of the file.

    With `hub`, a tokenizer may be downloaded. Without, only what is certain for every tokenizer is found where the
    sweep's own is on the hub.
    """
    measured = Measured(job, benchmark, hub)
    for attack in job.attacks:
        for name, given in links_of(attack):
            params = validate(name, given)
            if isinstance(params, PrefillParams):
                needs = _answers_to_open(params, measured)
            elif isinstance(params, ThinkParams):
                needs = _room_to_think(params, measured)
            else:
                continue
            yield from (as_obstacle(attack, need) for need in needs)


def tokenizer_of(job: SweepJob, benchmark: Benchmark, *, hub: bool = False) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer of a job's models: the original's, its base's, or the one trained on the benchmark's texts.

    None if it is on the hub and `hub` is false. The tokenizer of a start model is trained here as its stage does.
    """
    named, recipe = _named_tokenizer(job, benchmark)
    if named is not None:
        from unlearn_sweep.engine.models.loading import load_tokenizer

        folder = Path(named).expanduser()
        local = folder.is_dir() and any((folder / name).is_file() for name in TOKENIZER_FILES)
        return load_tokenizer(named) if local or hub else None
    if recipe is None or not recipe.get("config"):
        return None
    from unlearn_sweep.engine.models.start_model import train_tokenizer

    return train_tokenizer(benchmark.tokenizer_texts, vocab_size=int(recipe["vocab_size"]))


def trains_tokenizer(job: SweepJob, benchmark: Benchmark) -> bool:
    """Whether the stage of the start model trains the tokenizer, on the benchmark's texts."""
    named, recipe = _named_tokenizer(job, benchmark)
    return named is None and recipe is not None and bool(recipe.get("config"))


def _named_tokenizer(job: SweepJob, benchmark: Benchmark) -> tuple[str | None, Mapping[str, Any] | None]:
    """Return folder or hub name of the tokenizer, None if no file names one, and the original's recipe, if any."""
    original = job.original
    recipe = recipe_of(job, "original", benchmark.recipe) if original.path is None else None
    return original.tokenizer or original.path or (recipe or {}).get("base"), recipe


def _answers_to_open(params: PrefillParams, measured: Measured) -> Iterator[Need]:
    """Yield a need of answers that are longer than what is given away, in both halves."""
    counted = [tokens for tokens in params.curve if tokens > 0]
    if params.text is not None or not counted or measured.surely_longer(counted[0]):
        return
    half = min(measured.longest, key=lambda name: measured.longest[name])
    longest = measured.longest[half]
    if longest > counted[0]:
        return
    known = "has" if measured.tokenizer is not None else "has at most"
    most = longest - 1
    yield Need(
        f" puts the first {counted[0]} tokens of each answer into the prompt, and the longest forget answer of the "
        f"{half} half of {measured.benchmark.name} {known} {longest}: nothing is left to score",
        given=f"tokens: {counted[0] if len(counted) == 1 else list(params.curve)}",
        allowed=f"from 1 to {most}" if most > 0 else 'text: "Sure, the answer is", or another attack',
        advice=f"lower tokens to {most}" if most > 0 else "write text in place of tokens, or leave the attack out",
    )


def _room_to_think(params: ThinkParams, measured: Measured) -> Iterator[Need]:
    """Yield a need of rows that are asked in a chat, and of room for thoughts in the model's context."""
    template = measured.benchmark.template
    forget = [row.template or template for row in measured.benchmark.evaluation["forget"]]
    if not any(found.chat or found.auto for found in forget):
        yield Need(
            f" asks through the chat template, and {measured.benchmark.name} asks no forget row so",
            advice="leave the attack out",
        )
        return
    folder = model_place(measured.job)
    context = context_of(folder) if folder is not None else None
    tokens = max(params.curve) if params.thought is None else 0
    if context is None or not tokens:
        return
    prompt = _longest_prompt(params, measured) if tokens + ANSWER_ROOM + PROMPT_ROOM > context else 0
    most = context - ANSWER_ROOM - prompt
    if tokens > most:
        yield Need(
            f" lets the model think for {tokens} tokens, which do not fit into its context of {context} behind a "
            f"prompt of {prompt} and before {ANSWER_ROOM} tokens of answer",
            given=f"tokens: {tokens}",
            allowed=f"at most {max(0, most)}",
            advice=f"lower tokens to {most}" if most > 0 else "leave the attack out",
        )


def _longest_prompt(params: ThinkParams, measured: Measured) -> int:
    """Return the tokens of the longest prompt behind which a thought is written; 1 without a tokenizer or a chat."""
    if measured.tokenizer is None:
        return 1
    from unlearn_sweep.evaluators.attacks.think import opened_prompts, rows_in_chat

    rows = rows_in_chat(measured.tokenizer, measured.benchmark)
    found = opened_prompts(params, measured.tokenizer, measured.benchmark, rows)
    return max((len(prompt) for prompt, _ in found), default=1)
