"""One rank of a training in which rank 1 alone runs out of memory: `python hungry_main.py RANK WORLD_SIZE FOLDER`.

FOLDER holds hungry.json (job, most rows in one pass, passes that fit in any case) and benchmark.pickle, written by the
test itself. It takes the meeting file of the process group and, from each rank, outcome-RANK.json.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist

from unlearn_sweep.engine.training.first_rows import smallest_everywhere
from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.methods.catalog import build
from unlearn_sweep.methods.interface import Method, Needs, Step, Term


@dataclass(frozen=True)
class Hungry:
    """A method whose terms take more memory than there is for more than `rows` rows, after `spared` passes."""

    base: Method
    rows: int
    spared: int
    seen: list[int] = field(default_factory=list)

    def needs(self) -> Needs:
        return self.base.needs()

    def terms(self, step: Step) -> Sequence[Term]:
        terms = self.base.terms(step)
        self.seen.append(step.forward("forget").sequences)
        if self.seen[-1] > self.rows and len(self.seen) > self.spared:
            torch.empty(2**52)
        return terms


def main(rank: int, world_size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=world_size)
    task = json.loads((folder / "hungry.json").read_text())
    benchmark = pickle.loads((folder / "benchmark.pickle").read_bytes())
    plain = build(task["job"]["method"]["name"], task["job"]["method"]["params"])
    method = Hungry(plain, task["rows"], task["spared"]) if rank == 1 else plain
    outcome = run_worker(task["job"], benchmark=benchmark, method=method)
    ranks = Ranks.current()
    smallest = [smallest_everywhere(4 if rank else None, ranks), smallest_everywhere(None, ranks)]
    (folder / f"outcome-{rank}.json").write_text(json.dumps({"outcome": outcome, "smallest": smallest}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
