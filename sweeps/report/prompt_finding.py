"""The prompt format of a sweep or an audit, and what the probe found about it, from the files of its folder."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from unlearn_sweep.engine.stages.prompt_probe import FormatScore, ProbeResult, settings_in
from unlearn_sweep.evaluators.benchmarks.prompt_format import described
from unlearn_sweep.sweeps.prompt_words import RUNNING_TEXT, SWITCHED_OFF, TRAINED_HERE
from unlearn_sweep.sweeps.report.records import SweepData

PROBE_FILE = "prompt.json"


class PromptFinding(BaseModel):
    """How questions were put to the models.

    Attributes:
        format: The format in words.
        probe: What the probe did, or why it did nothing; None if the sweep has not come to it.
        configured: Score of the original's trained rows in this format; None if there was no probe.
        others: Scores in other formats, best first.
        warning: Another format is clearly better: which, by how much, what to do. None if none is.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, ser_json_inf_nan="null")

    format: str
    probe: str | None = None
    configured: FormatScore | None = None
    others: list[FormatScore] = []
    warning: str | None = None

    def sentence(self) -> str:
        """Return format and probe in one line."""
        return f"Prompt format: {self.format}" + (f"; {self.probe}" if self.probe else "") + "."


def prompt_finding(data: SweepData) -> PromptFinding | None:
    """Return the finding of a sweep; None if its job cannot be read."""
    params, name = data.spec_value("benchmark", "params"), data.benchmark
    if not isinstance(params, dict) or name is None:
        return None
    try:
        words = described(settings_in(params), name)
    except ValidationError:
        return None  # written by another version
    try:
        text = (data.directory / PROBE_FILE).read_text(encoding="utf-8")
        return _probed(words, ProbeResult.model_validate_json(text))
    except FileNotFoundError:
        return PromptFinding(format=words, probe=_not_probed(data))
    except (OSError, ValidationError) as error:
        return PromptFinding(format=words, probe=f"{PROBE_FILE} cannot be read ({type(error).__name__})")


def _probed(words: str, result: ProbeResult) -> PromptFinding:
    if result.configured is None:
        return PromptFinding(format=words, probe=RUNNING_TEXT)
    best = f", at best {result.others[0].logp:.2f} in another" if result.others else ""
    return PromptFinding(
        format=words,
        probe=f"mean log-probability of {result.rows} trained rows {result.configured.logp:.2f} per token{best}",
        configured=result.configured,
        others=result.others,
        warning=result.sentence() or None,
    )


def _not_probed(data: SweepData) -> str | None:
    if data.spec_value("prompt_probe") is False:
        return SWITCHED_OFF
    return TRAINED_HERE if data.spec_value("original", "path") is None else None
