"""The live page in a real browser: it shows what runs, follows the sweep, and stops it by its button."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.chromium import AXE, BROWSER, opened
from tests.sweeps.report.written_sweep import append_line, event_line, mixed_trials, trial, write_sweep
from tests.sweeps.serve.test_server import driver, served
from unlearn_sweep.engine.search_space import LogUniform, MethodSpace
from unlearn_sweep.engine.store.records import Event
from unlearn_sweep.engine.store.training_progress import TrainingProgress
from unlearn_sweep.engine.study.enqueued import read_setting, waiting_files

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


def test_a_setting_is_enqueued_and_its_mistakes_are_shown(tmp_path: Path) -> None:
    space = MethodSpace(method="npo", params={"beta": LogUniform(low=0.05, high=1.0)})
    spec = {"spaces": [space.to_json()], "search": {"trials": 30}}
    folder = write_sweep(tmp_path / "runs" / "demo", mixed_trials(6), wanted=30, running=1, ended=None, spec=spec)
    said = "document.getElementById('live-enqueued').textContent"
    send = "(() => {{ byId('live-setting').value = {!r}; byId('live-send').click(); }})()"

    async def session() -> None:
        with served(folder) as (address, token), driver(folder):
            async with opened(f"{address}?token={token}", tmp_path / "profile") as tab:
                await tab.until("!document.getElementById('live-enqueue').hidden")
                await tab.value(send.format("{npo: {beta: 7}}"))
                await tab.until(f"{said}.includes('outside the search space')")
                assert waiting_files(folder) == []
                await tab.value(send.format("{npo: {beta: 0.25}}"))
                await tab.until(f"{said}.startsWith('Enqueued') || {said}.startsWith('Waiting')")
                (path,) = waiting_files(folder)
                assert read_setting(path, [space]).setting.params == {"beta": 0.25}
                await tab.until(f"{said} === 'Waiting: npo beta=0.25'")
                await tab.value("select(TRIALS.find((trial) => trial.method === 'npo').number)")
                assert (await tab.value("byId('live-setting').value")).startswith('{"npo": {')
                assert tab.of("Runtime.exceptionThrown") == []
                if AXE is not None:
                    assert await tab.violations() == []
            async with opened(address, tmp_path / "other") as tab:  # without the token
                await tab.until(f"{HEAD}.includes('trials settled')")
                assert await tab.value("document.getElementById('live-enqueue').hidden")
                assert await tab.value("document.getElementById('live-stop').hidden")

    asyncio.run(session())


@pytest.mark.skipif(AXE is None, reason="axe-core-python is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_the_list_of_sweeps_has_no_violation_and_leads_to_each(tmp_path: Path, scheme: str, width: int) -> None:
    storage = tmp_path / "runs"
    for name in ("first", "second"):
        write_sweep(storage / name, mixed_trials(3))

    async def session() -> None:
        with served(storage) as (address, token):
            listed = "document.querySelectorAll('tbody a').length === 2"
            async with opened(f"{address}?token={token}", tmp_path / "profile", drawn=listed) as tab:
                await tab.screen(width, scheme=scheme)
                assert await tab.violations() == []
                assert await tab.value("document.documentElement.scrollWidth") <= width
                await tab.value("document.querySelector('tbody a').click()")
                await tab.until("typeof TRIALS !== 'undefined' && TRIALS.length === 8")
                assert await tab.value("[sessionStorage.getItem('token'), location.search]") == [token, ""]
                assert tab.of("Runtime.exceptionThrown") == []

    asyncio.run(session())
