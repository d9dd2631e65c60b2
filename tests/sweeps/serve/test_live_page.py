"""The live page in a real browser: it shows what runs, follows the sweep, and stops it by its button."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.chromium import BROWSER, opened
from tests.sweeps.report.written_sweep import append_line, event_line, mixed_trials, trial, write_sweep
from tests.sweeps.serve.test_server import driver, served
from unlearn_sweep.engine.store.records import Event
from unlearn_sweep.engine.store.training_progress import TrainingProgress

pytestmark = [pytest.mark.browser, pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine")]
HEAD = "document.getElementById('live-head').textContent"
CELLS = "[...document.querySelectorAll('#live-stages tbody td')].map((cell) => cell.textContent)"


def test_it_shows_what_runs_follows_the_sweep_and_stops_it(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "runs" / "demo", mixed_trials(3), running=1, ended=None)
    progress = TrainingProgress(step=12, steps=45, left_s=30.0, loss_name="loss", loss=0.812, time=4_000_000_000.0)
    progress.write(tmp_path / "runs" / "store" / "partial" / "u")

    async def session() -> None:
        with served(folder) as (address, token), driver(folder) as process:
            async with opened(f"{address}?token={token}", tmp_path / "profile") as tab:
                await tab.until(f"{HEAD}.includes('7 of 8 trials settled')")
                assert await tab.value("location.search") == ""
                trial_cell, method, stage, _, doing = await tab.value(CELLS)
                assert (trial_cell, method, stage) == ("8", "npo", "unlearn")
                assert doing.startswith("step 12 of 45, loss 0.812, about 30 s left")
                record = trial(8)
                (folder / "trials" / "8.json").write_text(record.model_dump_json())
                settled = Event(time=record.finished, event="trial_settled", trial=8)
                append_line(folder / "events.jsonl", event_line(settled))
                await tab.until("typeof BY_NUMBER !== 'undefined' && BY_NUMBER.has(8) && BY_NUMBER.get(8).ue !== null")
                await tab.until("!document.getElementById('live-stop').hidden")
                await tab.value("document.getElementById('live-stop').click()")
                await tab.until("document.getElementById('live-note').textContent.startsWith('Stopping')")
                assert process.wait(timeout=20) != 0
                assert tab.of("Runtime.exceptionThrown") == []

    asyncio.run(session())
