"""`unlearn-sweep audit`: check the options of the command, run the audit and write its report.

The options are converted to a sweep document without a search. Benchmark, attacks and metrics are therefore checked by
the rules for sweep files. All mistakes are reported together, each under the name of its option.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from unlearn_sweep.engine.job import ModelSource, SweepJob
from unlearn_sweep.engine.models.headers import ModelFolder
from unlearn_sweep.engine.models.hub import HubId, unavailable
from unlearn_sweep.engine.models.loadable import misfits
from unlearn_sweep.engine.search_settings import SearchSettings
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.sweeps.file.architecture import check_class
from unlearn_sweep.sweeps.file.paths import absolute, is_local
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import Problem, SpecError
from unlearn_sweep.sweeps.file.spec import SweepSpec, check_document
from unlearn_sweep.sweeps.file.tokenizers import Given, check_given
from unlearn_sweep.sweeps.file.yaml_lines import parse_document
from unlearn_sweep.sweeps.plan.hub_check import known_models, missing_data
from unlearn_sweep.sweeps.plan.thinking_check import template_refusals
from unlearn_sweep.sweeps.resolve import resolve
from unlearn_sweep.user_error import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK

if TYPE_CHECKING:
    from rich.console import Console

    from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark

COMMAND = "audit"
CHANCE = "chance"
"""Value of --gold if no gold model can exist: every metric at its chance value stands in for the model."""
BATTERY: tuple[Any, ...] = (
    {"prefill": {"tokens": [1]}},
    "few_shot",
    "paraphrase",
    {"quantize": {"bits": [8, 4]}},
    "logit_lens",
    {"relearn": {"steps": [5, 20, 100]}},
)
"""Attacks to run if no --attack is given: one of each kind that needs only the data of the benchmark."""

_OPTIONS = {
    "name": "--name",
    "seed": "--seed",
    "prompt": "--prompt",
    "storage": "--storage",
    "benchmark.name": "--benchmark",
    "benchmark": "--set",
    "model.dtype": "--dtype",
    "model.attention": "--attention",
    "evaluation.resources.CPU": "--threads",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRequest:
    """Options of the command.

    Attributes:
        model: Folder or hub id of the model to audit.
        benchmark: Name of the benchmark.
        gold: Folder or hub id of the gold model, or "chance".
        original: Folder or hub id of the model before unlearning.
        settings: Benchmark options as KEY=VALUE; each value is YAML text.
        attacks: Attacks as YAML text; empty for `BATTERY`.
        prompt: Prompt section as YAML text.
        name: Folder of the audit below `storage`; None to derive one from the request.
        storage: Folder of all results.
        seed: Seed for drawing rows and demonstrations.
        tokenizer: Tokenizer of every model. None for the tokenizer of the original, or of the audited model if no
            original is given.
        dtype: As `model.dtype` in a sweep file.
        attention: As `model.attention` in a sweep file.
        ue: Metrics of unlearning effectiveness; empty for those of the benchmark.
        ut: Metrics of utility retention; empty for those of the benchmark.
        threads: CPU threads of one process.
        plugins: Files with benchmarks, metrics or attacks that the options name.
        folder: Folder that relative paths start from.
    """

    model: str
    benchmark: str
    gold: str | None = None
    original: str | None = None
    settings: Sequence[str] = ()
    attacks: Sequence[str] = ()
    prompt: str | None = None
    name: str | None = None
    storage: str = "runs"
    seed: int = 0
    tokenizer: str | None = None
    dtype: str = "auto"
    attention: str = "auto"
    ue: Sequence[str] = ()
    ut: Sequence[str] = ()
    threads: int = 1
    plugins: Sequence[str] = ()
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedAudit:
    """A checked audit, ready to run.

    Attributes:
        job: Sweep job of one trial without a search.
        model: Folder (absolute) or hub id of the audited model.
        controls: Controls that will be measured: "original", "gold", both or neither.
        notes: Remarks of the check, including which scores cannot be normalised.
    """

    job: SweepJob
    model: str
    controls: tuple[str, ...]
    notes: tuple[str, ...]


def check(request: AuditRequest) -> CheckedAudit:
    """Check a request without starting or writing anything.

    Raises:
        SpecError: the request has mistakes; the error lists all of them.
    """
    document = parse_document(_text(request), COMMAND)
    options = ProblemCollector(document)
    _check_models(request, options)
    _check_hub(request, options)
    models = {which: _model(request, which, options) for which in ("model", "gold", "original")}
    _check_fit(models, options)
    tokenizer = _place(request.tokenizer, request.folder) if options.is_valid(("--tokenizer",)) else None
    problems, spec = list(options.problems), None
    try:
        reference = tokenizer or models["original"] or models["model"]
        spec = check_document(document, folder=request.folder, machine=None, model=reference)
    except SpecError as error:
        problems += error.problems
    if spec is not None:
        problems += _of_class(spec, models)
    benchmark = None if spec is None else _load(spec, problems)
    job = None if spec is None else _job(spec, models, tokenizer)
    if job is not None and benchmark is not None:
        problems += _in_the_way(job, benchmark, tokenizer or models["original"] or models["model"])
        used = tokenizer or models["original"] or models["model"]
        refusals = {} if used is None else template_refusals(job, used)
        problems += [Problem(path=_path(key), message=words) for key, words in refusals.items()]
    if problems or spec is None or job is None or benchmark is None or models["model"] is None:
        raise SpecError(COMMAND, [_of_option(problem) for problem in dict.fromkeys(problems)])
    own = benchmark.recipe is not None
    controls = tuple(which for which in ("original", "gold") if models[which] is not None or own)
    return CheckedAudit(
        job=job, model=models["model"], controls=controls, notes=(*options.notes, *_notes(controls, spec))
    )


def _check_hub(request: AuditRequest, options: ProblemCollector) -> None:
    """Report hub ids (models and tokenizer) that cannot be downloaded."""
    named = {which: getattr(request, which) for which in ("model", "original", "gold", "tokenizer")}
    named_options = {
        f"--{which}": text for which, text in named.items() if options.is_valid((f"--{which}",)) and text != CHANCE
    }
    hub = {
        name: HubId.of(text)
        for name, text in named_options.items()
        if text and not is_local(text, absolute(text, request.folder))
    }
    for name, reason in unavailable(hub, known_models()).items():
        options.add((name,), reason.words)


def _check_fit(models: dict[str, str | None], options: ProblemCollector) -> None:
    """Report models on this machine that cannot be loaded: class, names and shapes of the weights."""
    given = {f"--{which}": model for which, model in models.items() if model != CHANCE}
    for name, reason in misfits(given).items():
        options.add((name,), reason)


def _of_class(spec: SweepSpec, models: dict[str, str | None]) -> list[Problem]:
    """Return settings and attacks that the class of a given model folder does not support."""
    collector = ProblemCollector(spec.document)
    places = dict.fromkeys(Path(model) for model in models.values() if model is not None and model != CHANCE)
    for place in places:
        if place.is_dir():
            check_class(ModelFolder(place), spec.file, spec.attacks, collector)
    return collector.problems


def _text(request: AuditRequest) -> str:
    """Return the options as the text of a sweep file. The method in it is required by the format and never run."""
    attacks = [_parsed(text) for text in request.attacks] or list(BATTERY)
    return yaml.safe_dump(
        {
            "name": request.name or _name(request),
            "seed": request.seed,
            "benchmark": {"name": request.benchmark, **_settings(request)},
            "model": {"dtype": request.dtype, "attention": request.attention},
            "methods": {"graddiff": "published"},
            "evaluators": {name: metrics for name in ("ue", "ut") if (metrics := list(getattr(request, name)))},
            "evaluation": {"resources": {"CPU": float(request.threads)}},
            "attacks": attacks,
            **({} if request.prompt is None else {"prompt": _parsed(request.prompt)}),
            "storage": request.storage,
            **({"plugins": list(request.plugins)} if request.plugins else {}),
        },
        sort_keys=False,
        allow_unicode=True,
    )


def _name(request: AuditRequest) -> str:
    """Return the folder name: model name and hash of the request, so that different audits use different folders."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(request.model).name).strip("-.")[:40] or "model"
    choices = [request.model, request.benchmark, request.gold, request.original, request.seed]
    choices += [request.tokenizer, request.dtype, request.attention, list(request.ue), list(request.ut)]
    choices += [list(request.settings), list(request.attacks), request.prompt]
    return f"audit-{stem}-{digest(choices)[:8]}"


def _settings(request: AuditRequest) -> dict[str, Any]:
    pairs = (text.partition("=") for text in request.settings)
    return {key.strip(): _parsed(value) for key, _, value in pairs}


def _parsed(text: str) -> Any:
    """Parse a YAML value. Invalid YAML is returned as text, and the later check reports what is expected."""
    try:
        return parse_document(text, COMMAND).data
    except SpecError:
        return text


def _model(request: AuditRequest, which: str, options: ProblemCollector) -> str | None:
    """Return a model's folder (absolute), hub id or "chance"; None if the option is missing or invalid."""
    text = getattr(request, which)
    if text is None or (which == "gold" and text == CHANCE):
        return text
    return _place(text, request.folder) if options.is_valid((f"--{which}",)) else None


def _place(text: str | None, folder: Path) -> str | None:
    """Return a folder as an absolute path, a hub id unchanged."""
    place = None if text is None else absolute(text, folder)
    return str(place) if text is not None and place is not None and is_local(text, place) else text


def _check_models(request: AuditRequest, options: ProblemCollector) -> None:
    """Check every model with its tokenizer: the named one, else the original's, else the audited model's own."""
    named = {which: getattr(request, which) for which in ("original", "model", "gold")}
    given = [
        Given(model=text, path=(f"--{which}",), tokenizer=request.tokenizer, tokenizer_path=("--tokenizer",))
        for which, text in named.items()
        if text is not None and not (which == "gold" and text == CHANCE)
    ]
    rest = [replace(other, tokenizer=None) for other in given[1:]]
    check_given(given[0], rest, request.folder, options)


def _load(spec: SweepSpec, problems: list[Problem]) -> Benchmark | None:
    """Load the benchmark. If that fails, append to `problems` and return None."""
    from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark

    reason = missing_data(spec.benchmark.card.name, spec.benchmark.params)
    if reason is not None:
        problems.append(Problem(path="benchmark.name", message=reason.words))
        return None
    try:
        return load_benchmark(spec.benchmark.card.name, spec.benchmark.params)
    except (ValidationError, OSError, ValueError) as error:
        problems.append(Problem(path="benchmark.name", message=f"cannot be loaded: {error}"))
        return None


def _in_the_way(job: SweepJob, benchmark: Benchmark, tokenizer: str | None) -> list[Problem]:
    """Return problems of the job with the benchmark's rows, as `tokenizer` (a folder or hub id) reads them.

    A missing control is a note, not a problem.
    """
    from unlearn_sweep.sweeps.plan.obstacles import obstacles_of

    given = ModelSource(path="given")
    gold = job.gold if job.gold.floor is not None else given
    original = ModelSource(path="given", tokenizer=tokenizer)
    with_originals = job.model_copy(update={"original": original, "gold": gold})
    return [Problem(path="benchmark.name", message=text) for text in obstacles_of(with_originals, benchmark)]


def _job(spec: SweepSpec, models: dict[str, str | None], tokenizer: str | None) -> SweepJob:
    """Return the job with the given models and without a search."""
    return resolve(spec, model=tokenizer or models["original"] or models["model"]).model_copy(
        update={
            "original": ModelSource(path=models["original"], tokenizer=tokenizer),
            "gold": ModelSource(floor=CHANCE) if models["gold"] == CHANCE else ModelSource(path=models["gold"]),
            "spaces": [],
            "search": SearchSettings(trials=1, prune=False),
            "mlflow": "off",
            "concurrent_trials": 1,
        }
    )


def _notes(controls: tuple[str, ...], spec: SweepSpec) -> tuple[str, ...]:
    missing = [which for which in ("original", "gold") if which not in controls]
    if not missing:
        return ()
    models, options = " and no ".join(missing), " and ".join(f"--{which} PATH" for which in missing)
    lost = "UE, UT and Rob" if "original" in missing else "UE and Rob"
    return (
        f"{spec.benchmark.card.name} has no training recipe and no {models} model is given: {lost} cannot be "
        f"normalised and will have no value. The raw metrics are still reported. Pass {options} to get {lost}.",
    )


def _path(key: str) -> str:
    """Return a key such as attacks.0 as the path of a problem."""
    return re.sub(r"\.(\d+)", r"[\1]", key)


def _of_option(problem: Problem) -> Problem:
    """Return the problem with its path replaced by the name of the option it came from."""
    path = problem.path
    if path.startswith("attacks["):
        name = "--attack " + re.sub(r"^attacks\[\d+\]\.?", "", path)
    elif (metric := re.match(r"evaluators\.(ue|ut)\b", path)) is not None:
        name = f"--{metric[1]}"
    elif path.startswith("prompt."):
        name = "--prompt " + path.removeprefix("prompt.")
    elif path.startswith("plugins["):
        name = "--plugin"
    elif path in _OPTIONS:
        name = _OPTIONS[path]
    else:
        name = path.replace("benchmark.", "--set ", 1) if path.startswith("benchmark.") else path
    return replace(problem, path=name.strip(), line=None, column=None)


# --- the run ----------------------------------------------------------------------------------------------------------


def audit(checked: CheckedAudit, *, console: Console, plain: bool, quiet: bool = False) -> int:
    """Run or resume an audit, write its report and return the exit status.

    Raises:
        UserError: the audit is refused, or its controls failed.
    """
    from rich.text import Text

    from unlearn_sweep.engine.driver.audit import run_audit
    from unlearn_sweep.engine.privacy.secrets import redact, silence_telemetry
    from unlearn_sweep.engine.stop import StopSignal, reason_of_stop, stop_signals

    def say(text: str) -> None:
        console.print(Text(redact(text)), soft_wrap=True)

    silence_telemetry()
    for note in checked.notes:
        say(note)
    try:
        with stop_signals():
            record = run_audit(
                checked.job,
                checked.model,
                controls=checked.controls,
                watch=None if quiet else lambda folder, wanted: _progress(folder, wanted, console, plain),
                announce=say,
            )
    except KeyboardInterrupt as error:
        say(f"{reason_of_stop(error)}; finished work is kept: rerun the same command to resume")
        return error.status if isinstance(error, StopSignal) else EXIT_INTERRUPTED
    return _finish(checked, record.state == "failed", console, quiet)


def _progress(folder: Path, wanted: int, console: Console, plain: bool) -> Any:
    from unlearn_sweep.sweeps.report.progress import LiveProgress

    return LiveProgress(folder, wanted, console=console, plain=plain or None)


def _finish(checked: CheckedAudit, failed: bool, console: Console, quiet: bool) -> int:
    from unlearn_sweep.sweeps.report.build import build_report
    from unlearn_sweep.sweeps.report.summary import final_table

    build_report(checked.job.directory)
    if not quiet:
        final_table(checked.job.directory, console)
    return EXIT_FAILED if failed else EXIT_OK
