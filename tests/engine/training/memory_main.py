"""One rank of a training whose memory is watched: `python memory_main.py RANK WORLD_SIZE FOLDER`.

FOLDER holds watched.json (the job, and a limit of memory or null) and benchmark.pickle, written by the test itself.
It takes the meeting file of the process group and, from each rank, memory-RANK.json: MiB above what it held before.

What counts is anonymous memory, from /proc/self/status: weight files are mapped, and their pages, which the kernel may
drop, count as resident too.
"""

from __future__ import annotations

import json
import pickle
import resource
import sys
import threading
from pathlib import Path

from tests.support.rank_process import rank_process
from unlearn_sweep.engine.training import worker
from unlearn_sweep.engine.training.assembly import Loaded, assemble
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.engine.zero.session import import_deepspeed

EVERY_S = 0.002
MIB = 1024


def status(name: str) -> float:
    """A size in MiB from the kernel's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name)) / MIB


class Watch:
    """The highest anonymous memory until now, by phase."""

    def __init__(self) -> None:
        self.base = status("RssAnon:")
        self.phase = "loading"
        self.peaks: dict[str, float] = {}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def stop(self) -> dict[str, float]:
        self.ended.set()
        self.thread.join()
        return self.peaks

    def _look(self) -> None:
        while not self.ended.wait(EVERY_S):
            self.peaks[self.phase] = max(self.peaks.get(self.phase, 0.0), status("RssAnon:") - self.base)


def limit_memory(mib: float) -> None:
    """Have the kernel refuse this process more than `mib` MiB of address space beyond what it has now.

    Mapped weight files and stacks of threads count too.
    """
    most = int((status("VmSize:") + mib) * MIB * 1024)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(rank: int, world_size: int, folder: Path) -> None:
    with rank_process(rank, world_size, folder):
        watch_training(rank, folder)


def watch_training(rank: int, folder: Path) -> None:
    task = json.loads((folder / "watched.json").read_text())
    benchmark = pickle.loads((folder / "benchmark.pickle").read_bytes())
    import_deepspeed()
    import transformers.models.llama.modeling_llama  # noqa: F401 -- what imports take is not counted

    watch = Watch()
    if task["limit_mib"] is not None:
        limit_memory(task["limit_mib"])

    def watched(*args: object, **options: object) -> Loaded:
        loaded = assemble(*args, **options)  # type: ignore[arg-type]
        watch.phase = "training"
        return loaded

    worker.assemble = watched  # the border between two phases, for the watch alone
    outcome = run_worker(task["job"], benchmark=benchmark)
    (folder / f"memory-{rank}.json").write_text(json.dumps({"peaks": watch.stop(), "outcome": outcome}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
