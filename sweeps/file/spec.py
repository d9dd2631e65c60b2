"""Read and check a sweep file. Report all mistakes at once, each with its line; start and write nothing.

This module imports no model library, so that checking a file takes well under two seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unlearn_sweep.engine.job import AttackSettings
from unlearn_sweep.engine.search_space import MethodSpace
from unlearn_sweep.evaluators.benchmarks.view_settings import WrittenView
from unlearn_sweep.evaluators.tasks.settings import AskedTask
from unlearn_sweep.plugins import PluginFile
from unlearn_sweep.sweeps.file import checks
from unlearn_sweep.sweeps.file.architecture import check_architecture
from unlearn_sweep.sweeps.file.attack_effects import check_effects
from unlearn_sweep.sweeps.file.attacks import read_attacks
from unlearn_sweep.sweeps.file.benchmark import BenchmarkChoice, read_benchmark
from unlearn_sweep.sweeps.file.enqueue import check_enqueue
from unlearn_sweep.sweeps.file.file_schema import SweepFile
from unlearn_sweep.sweeps.file.learn_from import check_learn_from
from unlearn_sweep.sweeps.file.methods import fixed_epochs, read_spaces
from unlearn_sweep.sweeps.file.metrics import check_groups, read_metrics
from unlearn_sweep.sweeps.file.mirror import check_mirror
from unlearn_sweep.sweeps.file.paths import check_storage
from unlearn_sweep.sweeps.file.plugins import read_plugins
from unlearn_sweep.sweeps.file.prior import check_prior
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import SpecError, listing, shown
from unlearn_sweep.sweeps.file.prompt import check_prompt, check_thinking
from unlearn_sweep.sweeps.file.pydantic_errors import report, without
from unlearn_sweep.sweeps.file.recipes import check_recipes
from unlearn_sweep.sweeps.file.requests import check_requests
from unlearn_sweep.sweeps.file.stopping import check_stopping
from unlearn_sweep.sweeps.file.tasks import read_tasks, with_tasks
from unlearn_sweep.sweeps.file.tokenizers import check_tokenizers
from unlearn_sweep.sweeps.file.training import TrainingSpace, check_training_space, read_training_space
from unlearn_sweep.sweeps.file.views import read_views
from unlearn_sweep.sweeps.file.warm_start import check_warm_start
from unlearn_sweep.sweeps.file.weights import check_weights
from unlearn_sweep.sweeps.file.yaml_lines import Document, parse_document, read_document
from unlearn_sweep.sweeps.machine import Machine, this_machine

STAND_INS: dict[str, Any] = {"name": "unnamed", "benchmark": {}, "methods": {"": None}, "attacks": [""]}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSpec:
    """A sweep file without mistakes.

    Attributes:
        folder: Folder that relative paths in the file start from.
        machine: The machine that the file was checked against; None if it was not, for example for a cluster.
        notes: Findings of the check that are not mistakes.
    """

    document: Document
    file: SweepFile
    folder: Path
    machine: Machine | None
    benchmark: BenchmarkChoice
    spaces: tuple[MethodSpace, ...]
    attacks: tuple[AttackSettings, ...]
    ue_metrics: tuple[str, ...]
    ut_metrics: tuple[str, ...]
    tasks: tuple[AskedTask, ...]
    storage: Path
    notes: tuple[str, ...] = ()
    plugins: tuple[PluginFile, ...] = ()
    views: tuple[WrittenView, ...] = ()


CPUS_PER_GPU = 8
"""CPUs assumed beside each GPU of a machine that is planned for."""


def load_spec(
    path: Path,
    *,
    folder: Path | None = None,
    cluster: bool = False,
    cpus: int | None = None,
    gpus: int | None = None,
    gpu_gib: float | None = None,
) -> SweepSpec:
    """Read and check a sweep file.

    Args:
        path: The sweep file.
        folder: Folder that relative paths in the file start from; the current folder by default.
        cluster: Do not check the file against the size of this machine.
        cpus: Check against this number of CPUs instead of this machine's.
        gpus: Check against this number of GPUs instead of this machine's. Without `cpus`, assume enough CPUs for them.
        gpu_gib: Memory of each GPU in GiB, instead of this machine's.

    Raises:
        SpecError: The file cannot be read or has mistakes. The error contains all of them.
    """
    machine = this_machine()
    if cpus is not None or gpus is not None:
        there_gpus = machine.gpus if gpus is None else gpus
        there_cpus = max(machine.cpus, CPUS_PER_GPU * there_gpus) if cpus is None else cpus
        machine = replace(machine, cpus=there_cpus, gpus=there_gpus, load=None)
    elif cluster:
        machine = None
    if machine is not None and gpu_gib is not None:
        machine = replace(machine, gpu_gib=gpu_gib)
    return check_document(read_document(path), folder=folder or Path.cwd(), machine=machine)


def parse_spec(
    text: str, *, file: str = "sweep.yaml", folder: Path | None = None, machine: Machine | None = None
) -> SweepSpec:
    """Like `load_spec`, for the text of a file. Without `machine`, do not check against a machine's size."""
    return check_document(parse_document(text, file), folder=folder or Path.cwd(), machine=machine)


def check_document(document: Document, *, folder: Path, machine: Machine | None, model: str | None = None) -> SweepSpec:
    """Check a document and return its spec.

    `model` is a folder or hub id; it replaces the file's model in the check of the prompt format.

    Raises:
        SpecError: The document has mistakes. The error contains all of them.
    """
    collector = ProblemCollector(document)
    data = document.data
    searched = read_training_space(data.get("training") if isinstance(data, dict) else None, collector)
    file = _structure(document, searched, collector)
    if file is None:
        raise SpecError(document.file, collector.problems)
    checks.check_name(file, collector)
    plugins = read_plugins(file.plugins, folder / Path(document.file).parent, collector)
    benchmark = read_benchmark(data.get("benchmark"), folder, collector)
    own = read_spaces(data.get("methods"), searched.epochs or fixed_epochs(file.training.epochs), collector)
    spaces = searched.added_to(own, file.training)
    attacks = read_attacks(data.get("attacks"), folder, collector, machine)
    views = read_views(data.get("views"), spaces, folder, collector)
    ue = read_metrics("ue", file.evaluators.ue, benchmark, collector)
    check_weights(file.evaluators.ue_weights, ue, collector)
    tasks = read_tasks(file.evaluators, folder, collector)
    ut = with_tasks(read_metrics("ut", file.evaluators.ut, benchmark, collector), tasks, collector)
    check_groups(file.evaluators, tasks, collector)
    storage = check_storage(file.storage, ("storage",), folder, collector)
    check_mirror(file.mirror, ("mirror",), storage, collector)
    _check_together(file, spaces, searched, folder, machine, collector)
    check_architecture(file, attacks, folder, collector)
    check_prompt(file, benchmark, folder, collector, model)
    check_thinking(file, benchmark, attacks, folder, collector, model)
    check_effects(attacks, ue, collector)
    check_requests(file.requests, benchmark, spaces, collector)
    if collector.problems or benchmark is None:
        raise SpecError(document.file, collector.problems)
    return SweepSpec(
        document=document,
        file=file,
        folder=folder,
        machine=machine,
        benchmark=benchmark,
        spaces=spaces,
        attacks=attacks,
        ue_metrics=ue,
        ut_metrics=ut,
        tasks=tasks,
        storage=storage,
        notes=tuple(collector.notes),
        plugins=plugins,
        views=views,
    )


def _check_together(
    file: SweepFile,
    spaces: tuple[MethodSpace, ...],
    searched: TrainingSpace,
    folder: Path,
    machine: Machine | None,
    collector: ProblemCollector,
) -> None:
    """Check the rules between parts of the file."""
    checks.check_models(file, folder, machine, collector)
    check_tokenizers(file, folder, collector)
    check_recipes(file, folder, collector)
    for training in check_training_space(searched, file.training, collector) or [file.training]:
        checks.check_training(training, collector)
    checks.check_evaluation(file, collector)
    checks.check_epochs(file, collector)
    checks.check_search(file.search, spaces, len(file.methods), collector)
    check_enqueue(file.search.enqueue, spaces, collector)
    check_prior(file.search, spaces, collector)
    check_warm_start(file.search.warm_start, spaces, folder, collector)
    check_learn_from(file.search, spaces, folder, collector)
    check_stopping(file, spaces, collector)
    checks.check_tracking(file.tracking.mlflow, collector)
    if machine is not None:
        checks.check_fits(file, machine, collector)


def _structure(document: Document, searched: TrainingSpace, collector: ProblemCollector) -> SweepFile | None:
    """Validate the document against `SweepFile` and report structural mistakes. Searched settings have one value here.

    Leave out wrong values and replace missing required ones by `STAND_INS`, so that the rest can be checked too.
    None if the result is still invalid.
    """
    data = document.data
    if not isinstance(data, dict):
        found = "the file is empty" if data is None else "not a mapping"
        needed = [name for name, field in SweepFile.model_fields.items() if field.is_required()]
        given = None if data is None else shown(data)
        collector.add(
            (),
            found,
            given=given,
            allowed=f"keys with values; needed: {listing(needed)}",
            advice="see docs/sweep_file.md",
        )
        return None
    plain = data | {"training": searched.section} if "training" in data else data
    kept = without(plain, document.lost)
    try:
        return SweepFile.model_validate(kept)
    except ValidationError as error:
        broken = report(error, SweepFile, kept, (), collector)
    try:
        return SweepFile.model_validate({**STAND_INS, **without(kept, broken)})
    except ValidationError:
        return None
