"""A small valid sweep file for tests, and a machine to hold it against."""

from __future__ import annotations

from unlearn_sweep.sweeps.machine import Machine

TWO_CPUS = Machine(cpus=2, gpus=0, memory_gib=16.0, flash_attention=False)

TOP = {
    "name": "name: small",
    "benchmark": "benchmark: {name: authors}",
    "methods": "methods: {npo: {learning_rate: {log: [1e-4, 1e-3]}}, graddiff: published}",
    "attacks": "attacks: [{relearn: {steps: [5]}}]",
    "search": "search: {trials: 4}",
}


def sweep_text(**parts: str) -> str:
    """The valid file with some of its lines replaced or added, a top-level key a line; an empty part is left out."""
    return "\n".join(line for line in {**TOP, **parts}.values() if line) + "\n"
