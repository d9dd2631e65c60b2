"""SmolLM2-135M-Instruct forgets TOFU rows, on the real weights and rows. Oracle: what original and gold must score."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.real_model import SWEEPS, Setting, prepare, report, run_sweep
from unlearn_sweep.sweeps.report.records import read_sweep

DATA = Path(os.environ.get("UNLEARN_SWEEP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "tofu"


@pytest.mark.nightly
@pytest.mark.timeout(3 * 3600)
@pytest.mark.skipif(not DATA.is_dir(), reason="TOFU's files are not here: set UNLEARN_SWEEP_DATA")
def test_a_real_pretrained_model_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="reads the model's file: pip install -c constraints.txt gguf")
    setting = Setting(work=tmp_path, data=DATA)
    prepare(setting)
    for name in SWEEPS:
        run_sweep(setting, name)
        data = read_sweep(tmp_path / "runs" / name)
        assert data.state == "finished"
        assert data.controls is not None
        assert (data.controls.original.ue, data.controls.original.ut) == (0.0, 1.0)
        assert data.controls.gold.ue is not None
        assert data.controls.gold.ue >= 0.95
        assert {trial.state for trial in data.trials} <= {"complete", "collapsed"}
        assert any(trial.ue is not None and trial.ue > 0.5 for trial in data.trials)
    text = "\n".join(report(setting))
    assert "`plan` said" in text
    print(text)
