"""Say in one line how questions are put to models, and whether that is probed on the original."""

from __future__ import annotations

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages.prompt_probe import settings_in, trained_questions
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.prompt_format import described

RUNNING_TEXT = "not probed: what is trained on is running text, which is the same in every format"
TRAINED_HERE = "not probed: the original is trained here, in this format"
SWITCHED_OFF = "not probed (probe: off)"
PROBED = "probed on the original before the controls"


def prompt_words(job: SweepJob, benchmark: Benchmark | None = None) -> str:
    """Return the prompt format of a job and what becomes of the probe. Without rows, only a certain reason is given."""
    words = described(settings_in(job.benchmark.params), job.benchmark.name)
    probed = probe_words(job, benchmark)
    return f"{words}; {probed}" if probed else words


def probe_words(job: SweepJob, benchmark: Benchmark | None) -> str:
    """Return whether the format is probed, or why not; empty if only the rows can say and there are none."""
    if not job.prompt_probe:
        return SWITCHED_OFF
    if job.original.path is None:
        return TRAINED_HERE
    if benchmark is None:
        return ""
    asked = any(trained_questions(benchmark, view) for view in ("forget", "retain"))
    return PROBED if asked else RUNNING_TEXT
