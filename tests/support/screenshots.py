"""The screenshots of the documentation, from real runs: `make screenshots`.

    python -m tests.support.screenshots runs/quickstart docs/images

takes the parts of the report of a finished sweep, its page in MLflow and in Optuna's dashboard, then starts the same
sweep file in a temporary storage, waits until a trial trains, and takes the live page, the list of sweeps and Ray's
dashboard. Sizes and colour scheme are fixed, and pictures have at most 256 colours, so that they stay small.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from PIL import Image

from tests.support.chromium import BROWSER, Tab, opened
from tests.support.live_sweep import LiveSweep, live_sweep
from tests.support.mlflow_store import tracking_server
from tests.support.ray_page import TITLED, show_tasks, signed_in
from unlearn_sweep.engine.tracking.sink import noted_page
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
STAGES = "(document.getElementById('live-stages') || { textContent: '' }).textContent"
TRAINING = f"/unlearn.*step /.test({STAGES})"
TEXT = "(document.body?.innerText ?? '')"
WAIT_S = 900
COLOURS = 256


async def report_pictures(page: Path, out: Path) -> None:
    """Take each part of a report."""
    with tempfile.TemporaryDirectory() as profile:
        async with opened(page, Path(profile) / "profile") as tab:
            await tab.screen(WIDTH)
            await tab.value(DRAW_ALL)
            await asyncio.sleep(1)
            for name, part in PARTS.items():
                await _picture(tab, out / name, part)


async def mlflow_picture(sweep: Path, out: Path) -> None:
    """Take the page of runs that the sweep names, on a tracking server over its storage."""
    noted = noted_page(sweep)
    if noted is None:
        raise SystemExit(f"{sweep} has no page in MLflow: unlearn-sweep sync {sweep}")
    with tempfile.TemporaryDirectory() as profile, tracking_server(sweep.parent) as address:
        page = f"{address}/#{urlsplit(noted).fragment}"
        async with opened(page, Path(profile) / "profile", drawn=rf"/\b\d{{3}} [a-z]/.test({TEXT})") as tab:
            await tab.screen(1800, height=760)
            await asyncio.sleep(3)
            await _picture(tab, out / "mlflow_runs.png")


async def optuna_picture(sweep: Path, out: Path) -> None:
    """Take the study in Optuna's dashboard, over a copy of its journal."""
    with tempfile.TemporaryDirectory() as folder, _optuna(sweep, Path(folder)) as address:
        drawn = f"{TEXT}.includes('Hyperparameter Importance')"
        async with opened(f"{address}/dashboard/studies/0", Path(folder) / "profile", drawn=drawn) as tab:
            await tab.screen(WIDTH, height=900)
            await asyncio.sleep(5)
            await _picture(tab, out / "optuna_study.png")


@contextmanager
def _optuna(sweep: Path, folder: Path) -> Iterator[str]:
    journal = shutil.copy(sweep / "study.journal", folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).parent / "optuna-dashboard"
    process = subprocess.Popen([program, str(journal), "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        _listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _listening(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        threading.Event().wait(0.1)
    raise TimeoutError(f"nothing listens on port {port}")


async def ray_picture(live: LiveSweep, out: Path) -> None:
    """Take the tasks of the first trial in Ray's dashboard, opened with the token that the run printed."""
    with tempfile.TemporaryDirectory() as folder:
        async with signed_in(live.dashboard, live.token, Path(folder) / "profile") as tab:
            await show_tasks(tab, "trial 0 ")
            await tab.screen(1500, height=800)
            await tab.value(f"{TITLED}.scrollIntoView({{ block: 'center' }}); scrollBy(0, 260)")
            await asyncio.sleep(2)
            await _picture(tab, out / "ray_tasks.png")


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


async def _picture(tab: Tab, path: Path, part: str | None = None) -> None:
    await tab.picture(path, part)
    with Image.open(path) as whole:
        few = whole.convert("RGB").quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


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


async def _live(file: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, live_sweep(file, Path(folder)) as live:
        await _written(Path(folder), "*/events.jsonl")
        await live_pictures(Path(folder), out)
        await _written(Path(folder), "*/trials/0.json")
        await ray_picture(live, out)


async def _written(storage: Path, pattern: str) -> None:
    """Wait until the sweep has written such a file.

    Raises:
        TimeoutError: it never did.
    """
    for _ in range(WAIT_S):
        if any(storage.glob(pattern)):
            return
        await asyncio.sleep(1)
    raise TimeoutError(f"never written: {pattern}")


def main() -> None:
    """Take all pictures of the sweep in the first argument, into the folder of the second."""
    if BROWSER is None:
        raise SystemExit("no chromium on this machine: apt-get install chromium")
    sweep, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    paths = build_report(sweep)
    shutil.copy(next(path for path in paths.pictures if path.name == "front.png"), out.parent / "quickstart_front.png")
    asyncio.run(report_pictures(paths.page, out))
    asyncio.run(mlflow_picture(sweep, out))
    asyncio.run(optuna_picture(sweep, out))
    asyncio.run(_live(Path("sweeps/quickstart.yaml"), out))


if __name__ == "__main__":
    main()
