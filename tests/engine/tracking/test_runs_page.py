"""Oracle: a real browser on a real tracking server. The link shows every trial with its objectives, in columns."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.chromium import BROWSER, opened
from tests.support.mlflow_store import tracking_server
from tests.support.sweep_folder import trial, write_sweep
from unlearn_sweep.engine.tracking.sink import sync

pytestmark = [pytest.mark.browser, pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine")]
TEXT = "(document.body?.innerText ?? '')"
HEADS = "[...document.querySelectorAll('[role=columnheader]')].map((cell) => cell.innerText.trim())"


@pytest.mark.timeout(400)
def test_the_link_opens_the_trials_with_their_objectives(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "runs" / "demo", [trial(number, rob=0.25 + number / 8) for number in range(3)])

    async def look(page: str, profile: Path) -> None:
        drawn = f"{TEXT}.includes('000 npo') && {TEXT}.includes('002 npo')"
        async with opened(page, profile, drawn=drawn) as tab:
            await tab.screen(2200)
            await tab.until(f"['rob', 'ue', 'ut', 'method', 'on_front'].every((name) => {HEADS}.includes(name))")
            order = f"['002 npo', '001 npo', '000 npo'].map((name) => {TEXT}.indexOf(name))"
            places = await tab.value(order)
            assert places == sorted(places)
            assert await tab.value(f"{TEXT}.includes('0.375')")
            assert not tab.of("Runtime.exceptionThrown")
        async with opened(
            f"{page}&compareRunsMode=CHART", profile / "charts", drawn=rf"/Objectives\s*\(4\)/.test({TEXT})"
        ):
            pass

    with tracking_server(tmp_path) as address:
        page = sync(folder, address).runs_page
        assert page is not None
        assert page.startswith(address)
        asyncio.run(look(page, tmp_path / "profile"))
