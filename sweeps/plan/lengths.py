"""Count rows that are too long for the tokenizer before a sweep starts.

Loading the tokenizer takes seconds. It is loaded only if a quick check by bytes finds rows that may be too long.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages.recipes import recipe_of
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.limits import Losses, cut_rows, doubtful_rows

SHOWN = 5
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def losses_of(job: SweepJob, benchmark: Benchmark) -> Losses | str:
    """Return what is lost by truncating rows, or why that is unknown; "" if no row can be too long."""
    folder = model_place(job)
    context = context_of(folder) if folder is not None else None
    doubtful = doubtful_rows(benchmark, context)
    if not doubtful:
        return ""
    tokenizer = Path(job.original.tokenizer).expanduser() if job.original.tokenizer else folder
    if tokenizer is None or not any((tokenizer / name).is_file() for name in TOKENIZER_FILES):
        return f"{doubtful} rows may be longer than benchmark.max_tokens: the tokenizer is not here yet, so not counted"
    from unlearn_sweep.engine.models.loading import load_tokenizer

    return cut_rows(benchmark, load_tokenizer(str(tokenizer), model=str(folder or tokenizer)), context)


def too_long(losses: Losses | str) -> list[str]:
    """Return problems for rows whose question leaves no room for an answer, with what to do."""
    if isinstance(losses, str):
        return []
    found = []
    for split, cut in losses.splits.items():
        if cut.unaskable:
            more = f" and {len(cut.unaskable) - SHOWN} more" if len(cut.unaskable) > SHOWN else ""
            found.append(
                f"{len(cut.unaskable)} rows {split}: the question alone fills benchmark.max_tokens or the model's "
                f"context: {', '.join(cut.unaskable[:SHOWN])}{more}; raise max_tokens, shorten them or leave them out"
            )
    return found


def model_place(job: SweepJob) -> Path | None:
    """Return the local folder of the model or of the base it is trained from; None if there is none."""
    named = job.original.path or (job.original.recipe or {}).get("base")
    folder = Path(named).expanduser() if named else None
    return folder if folder is not None and folder.is_dir() else None


def context_of(folder: Path) -> int | None:
    """Return the context length in the `config.json` of a model folder; None if missing. Uses no model library."""
    return _in_configuration(folder, "max_position_embeddings")


def layers_of(job: SweepJob, benchmark: Benchmark) -> int | None:
    """Return the layers of the sweep's models: of the local folder, or of the recipe; None if that is not known yet."""
    folder = model_place(job)
    if folder is not None:
        return _in_configuration(folder, "num_hidden_layers")
    recipe = recipe_of(job, "original", benchmark.recipe) if job.original.path is None else None
    found = (recipe or {}).get("config", {}).get("num_hidden_layers") if (recipe or {}).get("base") is None else None
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None


def _in_configuration(folder: Path, name: str) -> int | None:
    """Return a positive whole number of the `config.json` of a model folder; None if missing."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    for part in (config.get("text_config"), config):
        found = part.get(name) if isinstance(part, dict) else None
        if isinstance(found, int) and found > 0:
            return found
    return None
