"""comparison.html in a real browser. Oracles: axe-core, the network log, and the names of the sweeps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.chromium import AXE, BROWSER, opened
from tests.sweeps.report.written_sweep import mixed_trials, write_sweep
from unlearn_sweep.sweeps.report.build import build_report
from unlearn_sweep.sweeps.report.comparison import build_comparison

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine"),
    pytest.mark.skipif(AXE is None, reason="axe-core-python is not installed"),
]
GROUND = "getComputedStyle(document.body).backgroundColor"
PIXEL = """(() => {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
  pen.drawImage(document.images[0], 0, 0);
  return pen.getImageData(0, 0, 1, 1).data[0];
})()"""
"""How bright the corner of the picture is, from 0 to 255."""
DRAWN = "document.images.length === 1 && document.images[0].complete"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("runs")
    folders = [write_sweep(storage / name, mixed_trials(6, seed)) for seed, name in enumerate(("first", "second"))]
    for folder in folders:
        build_report(folder)
    return build_comparison(folders, storage / "comparison.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_it_opens_without_error_request_or_violation(page: Path, tmp_path: Path, scheme: str, width: int) -> None:
    async def session() -> None:
        async with opened(page, tmp_path / "profile", drawn=DRAWN) as tab:
            await tab.screen(width, scheme=scheme)
            assert await tab.violations() == []
            assert await tab.value("document.documentElement.scrollWidth") <= width
            assert await tab.value("document.images[0].naturalWidth") > 100
            light = scheme == "light"
            assert (await tab.value(GROUND) == "rgb(255, 255, 255)") == light
            assert (await tab.value(PIXEL) > 200) == light
            asked = [event["request"]["url"] for event in tab.of("Network.requestWillBeSent")]
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
            assert tab.of("Runtime.exceptionThrown") == []
            assert [entry for entry in tab.of("Log.entryAdded") if entry["entry"]["level"] == "error"] == []
            await tab.value("[...document.links].find((link) => link.textContent === 'second').click()")
            await tab.until("typeof REPORT !== 'undefined' && REPORT.sweep === 'second'")

    asyncio.run(session())
