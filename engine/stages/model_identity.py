"""Name models and tokenizers given by path after their content, and choose the tokenizer of a model."""

from __future__ import annotations

from unlearn_sweep.engine.job import ModelSource, SweepJob


def tokenizer_of(job: SweepJob, model_path: str, original_path: str | None) -> str | None:
    """Return the path of a model's tokenizer; None to use the one in the model's own folder.

    All models use the original's tokenizer, unless the sweep file names one for the original or for the gold model.
    """
    if job.gold.tokenizer is not None and model_path == job.gold.path:
        return job.gold.tokenizer
    return job.original.tokenizer or original_path


def tokenizer_identity(job: SweepJob, original: str) -> dict[str, str]:
    """Return key inputs for the tokenizers of a measurement: the original's, or those named in the sweep file.

    `original` is a content name, which covers the tokenizer in the original's folder.
    """
    sources = {"tokenizer": job.original.tokenizer, "gold_tokenizer": job.gold.tokenizer}
    named = {name: _tokenizer_digest(path) for name, path in sources.items() if path is not None}
    return ({"tokenizer": original} if original else {}) | named


def _tokenizer_digest(path: str) -> str:
    from unlearn_sweep.engine.models.loading import tokenizer_digest

    return tokenizer_digest(path)


def source_id(source: ModelSource) -> str:
    """Return the content name of a model given by path. A changed folder has another name.

    Raises:
        ValueError: the model has no path.
    """
    from unlearn_sweep.engine.models.loading import model_digest

    if source.path is None:
        raise ValueError("only a model given by path has a content name before it is made")
    return model_digest(source.path)
