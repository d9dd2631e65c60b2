"""One rank of a training over several processes: `python rank_main.py RANK WORLD_SIZE FOLDER`.

FOLDER holds jobs.json (name to job) and benchmark.pickle, both written by the test itself. It takes the meeting file
of the process group and, from each rank, outcomes-RANK.json.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

from tests.support.rank_process import rank_process
from unlearn_sweep.engine.training.any_training import run_any_worker


def main(rank: int, world_size: int, folder: Path) -> None:
    with rank_process(rank, world_size, folder):
        jobs = json.loads((folder / "jobs.json").read_text())
        benchmark = pickle.loads((folder / "benchmark.pickle").read_bytes())
        outcomes = {name: run_any_worker(job, benchmark=benchmark) for name, job in jobs.items()}
        (folder / f"outcomes-{rank}.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
