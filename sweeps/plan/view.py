"""Render the plan of a sweep for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from unlearn_sweep.sweeps.file.problems import count_of
from unlearn_sweep.sweeps.plan.plan import SweepPlan
from unlearn_sweep.sweeps.plan.stages import StagePlan


def render(plan: SweepPlan) -> RenderableType:
    """Render trials, stages, time, disk, notes and obstacles."""
    parts: list[RenderableType] = [Text.from_markup(_head(plan))]
    if plan.methods:
        parts += [_methods(plan), *([_stages(plan)] if plan.stages else []), Text.from_markup("\n".join(_sums(plan)))]
    parts += [Text(f"note: {note}") for note in plan.notes]
    parts += [Text(f"cannot run: {obstacle}", style="red") for obstacle in plan.obstacles]
    return Group(*parts)


def _head(plan: SweepPlan) -> str:
    done = f", {plan.settled} settled before, {plan.left} left" if plan.settled else ""
    return f"[bold]{escape(plan.name)}[/]: {count_of(plan.trials, 'trial')}{done} -> {escape(plan.directory)}"


def _methods(plan: SweepPlan) -> Table:
    table = Table("method", "trials", "searched", "one trial", title="methods", title_justify="left")
    for method in plan.methods:
        searched = ", ".join(method.searched) or "nothing: one setting"
        table.add_row(method.method, str(method.trials), searched, duration(method.trial_seconds))
    return table


def _stages(plan: SweepPlan) -> Table:
    table = Table("stage", "times", "each", "from", "in the store", title="stages", title_justify="left")
    for stage in plan.stages:
        table.add_row(_name(stage), str(stage.count), duration(stage.seconds), stage.source, _cached(stage))
    return table


def _name(stage: StagePlan) -> str:
    if stage.settings > 1:
        return f"{stage.name} ({stage.settings} settings)"
    return f"{stage.name} ({stage.method})" if stage.method else stage.name


def _cached(stage: StagePlan) -> str:
    if stage.per == "trial":
        return ""
    return {True: "yes", False: "no", None: "known when the model is read"}[stage.cached]


def _sums(plan: SweepPlan) -> list[str]:
    lines = [f"at once: {_at_once(plan)}", f"prompt: {escape(plan.prompt)}"]
    if plan.parameters is not None:
        lines.append(f"model: {plan.parameters / 1e6:,.1f} M parameters")
    if plan.total_seconds is not None:
        parts = f"models and controls {duration(plan.prepare_seconds)}, search {duration(plan.search_seconds)}"
        lines.append(
            f"time: about {duration(plan.total_seconds)} ({parts}; give or take a factor of {plan.uncertainty:g})"
        )
    if plan.gpu_hours:
        cost = "" if plan.dollars is None else f", about ${plan.dollars:,.2f}"
        lines.append(f"GPU hours: about {plan.gpu_hours:.1f}{cost}")
    if plan.measuring is not None and (plan.gpu is not None or plan.measuring.processes > 1):
        lines.append(f"measuring: {plan.measuring.words()}")
    if plan.gpu is not None:
        parts = ", ".join(f"{name} {gib:.1f}" for name, gib in plan.gpu.parts().items() if gib >= 0.05)
        lines.append(f"one GPU: about {plan.gpu.total:.0f} GiB in its largest stage, {plan.gpu.stage} ({parts})")
    if plan.disk_bytes is not None:
        lines.append(f"disk: about {size(plan.disk_bytes)} of {size(plan.disk_free_bytes)} free")
    lines += [f"assumed: {escape(assumption)}" for assumption in plan.assumptions if _modelled(plan)]
    return lines


def _at_once(plan: SweepPlan) -> str:
    if plan.at_once is None:
        return "as many trials as fit the cluster"
    need = ", ".join(f"{amount:g} {kind}" for kind, amount in plan.per_trial.items())
    return f"{count_of(plan.at_once, 'trial')} (bound by {plan.bound_by}; one trial holds {need})"


def _modelled(plan: SweepPlan) -> bool:
    return any(stage.source == "modelled" for stage in plan.stages)


def duration(seconds: float | None) -> str:
    """Format seconds: 0.4 s, 12 s, 3 min, 2.5 h; "unknown" for None."""
    if seconds is None:
        return "unknown"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Format bytes with a binary unit from B to TiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
