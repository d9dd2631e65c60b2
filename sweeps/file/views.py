"""Read and check section `views` of a sweep file: texts written for the rows of its benchmark, and where they lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unlearn_sweep.engine.search_space import MethodSpace
from unlearn_sweep.engine.stages.view_reads import names_of
from unlearn_sweep.evaluators.benchmarks.tables import ENDINGS
from unlearn_sweep.evaluators.benchmarks.view_settings import JUDGED, KINDS, QUESTIONS, ViewOptions, WrittenView
from unlearn_sweep.evaluators.benchmarks.written_rows import content_digest
from unlearn_sweep.sweeps.file import pydantic_errors
from unlearn_sweep.sweeps.file.paths import absolute
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, shown
from unlearn_sweep.sweeps.file.yaml_lines import KeyPath

FORM = "a name, or {name: {option: value, ...}}"


def read_views(
    views: Any, spaces: tuple[MethodSpace, ...], folder: Path, collector: ProblemCollector
) -> tuple[WrittenView, ...]:
    """Return every valid view in the file, in file order, with all options. Report mistakes.

    A view without `path` has none yet: `placed_views` gives it one.
    """
    if not isinstance(views, list):
        return ()
    found = [_view(item, ("views", place), folder, collector) for place, item in enumerate(views)]
    kept = [(("views", place), view) for place, view in enumerate(found) if view is not None]
    for place, (path, view) in enumerate(kept):
        _check_once(path, view, [other for _, other in kept[:place]], collector)
        _check_readers(path, view, spaces, collector)
        _check_questions(path, view, [other for _, other in kept], collector)
    return tuple(view for _, view in kept)


def _view(item: Any, path: KeyPath, folder: Path, collector: ProblemCollector) -> WrittenView | None:
    if not collector.is_valid(path):
        return None
    entry = {item: {}} if isinstance(item, str) else item
    if not isinstance(entry, dict) or len(entry) != 1:
        collector.add(path, "not one view", given=shown(item), allowed=f"{FORM}; names: {listing(KINDS)}")
        return None
    name, options = next(iter(entry.items()))
    inner = path if isinstance(item, str) else (*path, name)
    if name not in KINDS:
        collector.add_unknown((*path, name), "unknown view", list(KINDS), listing(KINDS))
        return None
    options = {} if options is None else options
    if not isinstance(options, dict):
        collector.add(inner, "no options", given=shown(options), allowed="keys with values")
        return None
    model = KINDS[name].options
    try:
        checked = model.model_validate(options)
    except ValidationError as error:
        pydantic_errors.report(error, model, options, inner, collector)
        return None
    return _with_path(name, checked, inner, folder, collector)


def _with_path(
    name: str, options: ViewOptions, path: KeyPath, folder: Path, collector: ProblemCollector
) -> WrittenView | None:
    """Return the view, with its file's absolute path if one is given."""
    values = options.model_dump(mode="json")
    given = values.pop("path")
    if given is not None and not given.endswith(ENDINGS):
        collector.add((*path, "path"), "no table", given=given, allowed=f"a file that ends with {listing(ENDINGS)}")
        return None
    if name == "paraphrase" and values["part"] is None:
        values["part"] = "question" if values["of"] == JUDGED else "answer"
    return WrittenView(kind=name, path="" if given is None else str(absolute(given, folder)), **values)  # pyright: ignore[reportArgumentType]


def _check_once(path: KeyPath, view: WrittenView, before: list[WrittenView], collector: ProblemCollector) -> None:
    if any(other.label == view.label for other in before):
        message = f"there is a view {view.label} already"
        collector.add(path, message, allowed="each kind once for the same rows", advice="remove one, or change of")


def _check_readers(
    path: KeyPath, view: WrittenView, spaces: tuple[MethodSpace, ...], collector: ProblemCollector
) -> None:
    known = {name for space in spaces for name in names_of(space.method)}
    for reader in view.readers if known else []:
        if reader not in known:
            collector.add_unknown(
                (*path, view.kind, "readers"), f"no method {reader} in this file", sorted(known), listing(sorted(known))
            )


def _check_questions(path: KeyPath, view: WrittenView, views: list[WrittenView], collector: ProblemCollector) -> None:
    base = view.of.removesuffix(QUESTIONS)
    if view.of.endswith(QUESTIONS) and not any(v.kind == "questions_from_text" and v.of == base for v in views):
        message = f"is about {view.of}, and no view questions_from_text of {base} writes any"
        collector.add(path, message, advice=f"add questions_from_text: {{of: {base}}}")


def placed_views(
    views: tuple[WrittenView, ...], benchmark: str, params: Mapping[str, Any], storage: Path
) -> list[WrittenView]:
    """Return the views with their files and the digest of what these hold.

    The name of a file below the storage is made of benchmark and settings, so that sweeps with the same ones share it.
    """
    found = []
    for view in views:
        source = [other.settings() for other in views if view.of == f"{other.of}{QUESTIONS}"]
        made_of = json.dumps([benchmark, dict(params), view.settings(), source], sort_keys=True, default=str)
        name = f"{benchmark}-{view.kind}-{view.of}-{hashlib.sha256(made_of.encode()).hexdigest()[:8]}.parquet"
        path = view.path or str(storage / "views" / name)
        found.append(view.model_copy(update={"path": path, "digest": content_digest(Path(path))}))
    return found
