"""`unlearn-sweep rescore`, as docs/search.md has it. Oracle: the records of both sweeps and the new sweep's log."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import SweepRun, write_sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_finished_sweep_is_scored_by_other_attacks_without_training(storage: Path) -> None:
    first = write_sweep(storage, "kept", trials=4, training="workers: 0", at_once=2)
    first.run()
    anew = SweepRun(file=storage / "anew.yaml", directory=storage / "anew", storage=storage)
    text = first.file.read_text().replace("name: kept", "name: anew")
    assert "quantize: {bits: 4}" in text
    anew.file.write_text(text.replace("quantize: {bits: 4}", "quantize: {bits: 8}"))
    command = anew.command("rescore", str(first.directory), "--with", str(anew.file), "--plain")
    done = subprocess.run(command, capture_output=True, text=True, timeout=420, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    old, new = first.trials(), anew.trials()
    assert new
    for record in new.values():
        same = next(
            one for one in old.values() if (one["method"], one["params"]) == (record["method"], record["params"])
        )
        assert record["ue"] == pytest.approx(same["ue"])
        assert "attack:quantize-8bit" in record["stage_keys"]
    finished = [event["stage"] for event in anew.events() if event["event"] == "stage_finished"]
    assert "unlearn" not in finished
    assert "attack:quantize-8bit" in finished
