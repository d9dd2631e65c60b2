"""The screenshots of the documentation, from real runs: `make screenshots`.

    python -m tests.support.screenshots runs/quickstart docs/images

takes the parts of the report of a finished sweep, then starts the same sweep file in a temporary storage, waits until a
trial trains, and takes the live page and the list of sweeps. Sizes and colour scheme are fixed.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from tests.support.chromium import BROWSER, Tab, opened
from unlearn_sweep.sweeps.report.build import build_report
from unlearn_sweep.sweeps.serve.server import make_server

WIDTH = 1240
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "report_answer.png": "#answer",
        "report_front.png": "#front",
        "report_attacks.png": "#attacks",
        "report_answers.png": "#answers",
        "report_settings.png": "#settings",
        "report_progress.png": "#time .three",
        "report_training.png": "#training",
    }
)
DRAW_ALL = "dispatchEvent(new Event('beforeprint')); dispatchEvent(new Event('afterprint'))"
TRAINING = "(document.getElementById('live-stages') || { textContent: '' }).textContent.includes('step ')"
WAIT_S = 900


async def report_pictures(page: Path, out: Path) -> None:
    """Take each part of a report."""
    with tempfile.TemporaryDirectory() as profile:
        async with opened(page, Path(profile) / "profile") as tab:
            await tab.screen(WIDTH)
            await tab.value(DRAW_ALL)
            await asyncio.sleep(1)
            for name, part in PARTS.items():
                await _picture(tab, out / name, part)


async def live_pictures(storage: Path, out: Path) -> None:
    """Take the live part of the page of the sweep that runs in `storage`, and the list of sweeps."""
    with tempfile.TemporaryDirectory() as profile, _served(storage) as address:
        listed = "document.querySelectorAll('tbody a').length > 0"
        async with opened(address, Path(profile) / "profile", drawn=listed) as tab:
            await tab.screen(WIDTH)
            await _picture(tab, out / "serve_list.png", "table")
            await tab.value("document.querySelector('tbody a').click()")
            await _wait(tab, TRAINING)
            await tab.value("document.querySelector('#live details').open = true")
            await _picture(tab, out / "serve_live.png", "#live")


async def _picture(tab: Tab, path: Path, part: str) -> None:
    await tab.picture(path, part)
    print(path)


async def _wait(tab: Tab, expression: str) -> None:
    """Wait until an expression is true; the page may load itself again in between.

    Raises:
        TimeoutError: it never was.
    """
    for _ in range(WAIT_S):
        if await tab.value(expression):
            return
        await asyncio.sleep(1)
    raise TimeoutError(f"never true: {expression}")


@contextmanager
def _served(storage: Path) -> Iterator[str]:
    server, address = make_server(storage, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _running(file: Path, storage: Path) -> Iterator[None]:
    """Run a sweep file in `storage` until the block ends; then stop it as Ctrl-C does."""
    command = [sys.executable, "-m", "unlearn_sweep.sweeps.cli", "run", str(file), "--storage", str(storage), "--plain"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=120)


async def _live(file: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, _running(file, Path(folder)):
        for _ in range(WAIT_S):
            if any(Path(folder).glob("*/events.jsonl")):
                break
            await asyncio.sleep(1)
        await live_pictures(Path(folder), out)


def main() -> None:
    """Take all pictures of the sweep in the first argument, into the folder of the second."""
    if BROWSER is None:
        raise SystemExit("no chromium on this machine: apt-get install chromium")
    sweep, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    asyncio.run(report_pictures(build_report(sweep).page, out))
    asyncio.run(_live(Path("sweeps/quickstart.yaml"), out))


if __name__ == "__main__":
    main()
