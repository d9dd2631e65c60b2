"""One rank of a training over several processes: `python rank_main.py RANK WORLD_SIZE FOLDER`.

FOLDER holds jobs.json (name to job) and benchmark.pickle, both written by the test itself. It takes the meeting file
of the process group and, from each rank, outcomes-RANK.json.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from unlearn_sweep.engine.training.any_training import run_any_worker


def main(rank: int, world_size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=world_size)
    jobs = json.loads((folder / "jobs.json").read_text())
    benchmark = pickle.loads((folder / "benchmark.pickle").read_bytes())
    outcomes = {name: run_any_worker(job, benchmark=benchmark) for name, job in jobs.items()}
    (folder / f"outcomes-{rank}.json").write_text(json.dumps(outcomes))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
