"""How far a small model's sweep orders settings as a larger model's does, measured by two real sweeps.

    python bench/transfer.py --storage DIR     # some minutes of one core; stop and start it as you like

Runs bench/transfer_small.yaml (two layers), then bench/transfer_large.yaml (six layers), whose first trials are the
small sweep's front (`warm_start`). Both go on with the points of the same Sobol sequences, so that most settings are
measured on both models. Real trials, one after the other, in this process. Prints what the report says of the transfer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from unlearn_sweep.engine.job import SweepJob

HERE = Path(__file__).parent
SMALL, LARGE = "transfer_small", "transfer_large"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", type=Path, required=True, help="where the sweeps are kept")
    storage = parser.parse_args().storage.resolve()
    run(job_of(SMALL, storage, ""))
    folder = run(job_of(LARGE, storage, str(storage / "transfer-small")))
    print_transfer(folder)


def job_of(name: str, storage: Path, small: str) -> SweepJob:
    """Return the sweep of a file, its `warm_start` at the folder of the small sweep."""
    from unlearn_sweep.sweeps.file.spec import parse_spec
    from unlearn_sweep.sweeps.resolve import Overrides, resolve

    text = (HERE / f"{name}.yaml").read_text().replace("../runs/transfer-small", small)
    return resolve(parse_spec(text, folder=HERE), Overrides(storage=str(storage)))


def run(job: SweepJob) -> Path:
    """Run a sweep, or what is left of it. Return its folder."""
    import torch

    from unlearn_sweep.engine.driver.sweep import Driver
    from unlearn_sweep.engine.stages.attack_order import base_costs
    from unlearn_sweep.engine.stages.controls import write_controls
    from unlearn_sweep.engine.stages.in_process import InProcessExecutor
    from unlearn_sweep.engine.stages.prepare import Preparation
    from unlearn_sweep.engine.stages.runner import StageRunner
    from unlearn_sweep.engine.stages.trial import run_trial

    torch.set_num_threads(1)
    driver, executor = Driver(job), InProcessExecutor()
    driver.open()
    prepared = Preparation(job, StageRunner(driver.store, driver.events), [executor], in_turn=True).run()
    write_controls(job, prepared, driver.store)
    driver.attack_costs = base_costs(job.attacks, prepared, driver.store, timed=True)
    driver._open_broker(prepared)
    while (task := driver.next_task()) is not None:
        driver.settle(task, run_trial(task, job, prepared, executor))
    return job.directory


def print_transfer(folder: Path) -> None:
    from unlearn_sweep.sweeps.report.build import load_report

    report = load_report(folder)
    print(f"{len(report.trials)} trials, {len(report.front)} on the front, hypervolume {report.hypervolume:.3f}")
    for sweep in report.transfer:
        print(sweep.model_dump_json(indent=1))


if __name__ == "__main__":
    main()
