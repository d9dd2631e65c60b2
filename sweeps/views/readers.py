"""What methods and attacks lack of the views they read, and what there is to say of views that is no obstacle."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages.view_reads import Values, attack_reads, attack_view, method_reads
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.written_rows import ReadView
from unlearn_sweep.sweeps.views.state import ViewState, view_states


def write_command(job: SweepJob) -> str:
    """Return the command that writes the views of a sweep."""
    file = "FILE" if job.spec_path is None else os.path.relpath(job.spec_path)
    return f"unlearn-sweep write-views {job.spec_path if file.startswith('..') else file}"


def view_obstacles(job: SweepJob, benchmark: Benchmark, values: Mapping[str, Values]) -> Iterator[str]:
    """Yield a sentence for each method and attack that reads a view which is missing or lacks texts.

    `values` are the values that the parameters of each method may take.
    """
    yield from unwritten_views(job, values)
    states = {(state.view.kind, state.view.of): state for state in view_states(job.views, benchmark)}
    for state in states.values():
        if state.problem is not None:
            yield f"view {state.view.label}: {state.problem}"
    for reader, reads in readers(job, values):
        for read in reads:
            if (lack := states[read.kind, read.of].lacks(read.needed)) is not None:
                yield f"{reader}: {lack}"


def unwritten_views(job: SweepJob, values: Mapping[str, Values]) -> Iterator[str]:
    """Yield a sentence for each method and attack that reads a view without a file. It needs no rows."""
    for reader, reads in readers(job, values):
        for read in reads:
            if not Path(read.path).is_file():
                yield f"{reader} reads view {read.kind} of {read.of}, which is not written: run {write_command(job)}"
    there = {(view.kind, view.of) for view in job.views}
    for attack in job.attacks:
        wanted = attack_view(attack.name, attack.params)
        if wanted is not None and wanted not in there:
            kind, of = wanted
            yield (
                f"attack {attack.label} reads view {kind} of {of}, which is not in the file: add views: [{kind}"
                f"{': {of: judged}' if kind == 'paraphrase' else ''}] and run {write_command(job)}"
            )


def readers(job: SweepJob, values: Mapping[str, Values]) -> Iterator[tuple[str, list[ReadView]]]:
    """Yield each method and attack with the views it reads."""
    for space in job.spaces:
        yield f"method {space.method}", method_reads(job.views, space.method, values[space.method])
    for attack in job.attacks:
        yield f"attack {attack.label}", attack_reads(job.views, attack.name, attack.params)


def view_notes(job: SweepJob, benchmark: Benchmark, values: Mapping[str, Values]) -> list[str]:
    """Return what there is to say of views that is no obstacle: what they hold, what is left out, what nobody reads."""
    reads = list(readers(job, values))
    return [note for state in view_states(job.views, benchmark) for note in _notes(state, reads)]


def _notes(state: ViewState, reads: Sequence[tuple[str, list[ReadView]]]) -> Iterator[str]:
    view, written = state.view, state.written
    who = [(reader, read) for reader, found in reads for read in found if (read.kind, read.of) == (view.kind, view.of)]
    if not who:
        yield f"view {view.label} is read by no method and no attack"
    if written is None:
        return
    texts = sum(len(found) for found in written.texts.values())
    refused = sum(written.refused.values())
    yield f"view {view.label}: {texts} texts for {len(state.rows)} rows, {refused} refused ({view.path})"
    for reader, read in who:
        if count := state.left_out(read.needed):
            yield f"{reader} leaves out {count} of {len(state.rows)} rows, which have fewer than {read.needed} texts"
