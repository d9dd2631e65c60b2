"""A headless Chromium over the DevTools protocol: open a page, ask it, use it, and take pictures of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
AXE = find_spec("axe_core_python")
MARGIN = 12
GONE = "navigated or closed"
FRONT_IS_DRAWN = "document.querySelectorAll('#plot-ut-rob .point').length > 0"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--remote-debugging-port=0",
    "--window-size=1400,1000",
)  # fmt: skip


class PageGoneError(Exception):
    """The page was left while it was asked."""


class Tab:
    """One tab over the DevTools protocol, with every event it sent."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._count = 0
        self.events: list[dict[str, Any]] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come in between are kept."""
        self._count += 1
        await self._socket.send_json({"id": self._count, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json(timeout=60)
            if message.get("id") == self._count:
                if GONE in str(message.get("error")):
                    raise PageGoneError(message["error"])
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    async def value(self, expression: str) -> Any:
        """The value of a JavaScript expression; an error in it fails the test."""
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true. The page may load itself again meanwhile."""
        for _ in range(300):
            with contextlib.suppress(PageGoneError):
                if await self.value(expression):
                    return
            await asyncio.sleep(0.1)
        raise AssertionError(f"never true: {expression}")

    async def click(self, x: float, y: float) -> None:
        """Press and release the mouse at a place in the window."""
        await self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def screen(self, width: int, *, scheme: str = "light", height: int = 900) -> None:
        """Set the size of the window in pixels, and the colour scheme."""
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setEmulatedMedia", features=media)
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        await self.call("Emulation.setScrollbarsHidden", hidden=True)  # they would cover the edge of a picture

    async def picture(self, path: Path, part: str | None = None) -> None:
        """Save a PNG of the window, or of the element that the CSS selector `part` finds."""
        clip: dict[str, Any] = {}
        if part is not None:
            box = (
                f"(() => {{ const box = document.querySelector({part!r}).getBoundingClientRect(); "
                "return [box.left + scrollX, box.top + scrollY, box.width, box.height]; })()"
            )
            x, y, width, height = await self.value(box)
            left, top = max(0, x - MARGIN), max(0, y - MARGIN)
            area = {"x": left, "y": top, "width": width + 2 * MARGIN, "height": height + 2 * MARGIN, "scale": 1}
            clip = {"clip": area, "captureBeyondViewport": True}
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot", **clip))["data"]))

    async def violations(self) -> list[Any]:
        """What axe-core finds in the page: a pair of rule and elements for each violation."""
        await self.value(f"{files('axe_core_python').joinpath('axe.min.js').read_text()}; 0")
        found = "axe.run().then((found) => found.violations.map((one) => [one.id, one.nodes.map((node) => node.html)]))"
        return await self.value(found)

    def of(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") == method]


@asynccontextmanager
async def opened(page: Path | str, profile: Path, *, drawn: str = FRONT_IS_DRAWN) -> AsyncIterator[Tab]:
    """A browser with the page open and drawn. Ended, with its children, at the end of the block.

    `drawn` is the JavaScript expression that is true when it is.
    """
    assert BROWSER is not None
    process = subprocess.Popen(
        [BROWSER, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.DEVNULL
    )
    try:
        port = _port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as reply:
                target = next(entry for entry in await reply.json() if entry["type"] == "page")
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                for domain in ("Network", "Runtime", "Log", "Page"):
                    await tab.call(f"{domain}.enable")
                await tab.call("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
                await tab.until(drawn)
                yield tab
    finally:
        process.terminate()
        process.wait(timeout=30)


def _port(path: Path) -> int:
    for _ in range(300):
        if path.exists() and (lines := path.read_text().splitlines()):
            return int(lines[0])
        time.sleep(0.1)
    raise AssertionError("the browser did not open its debugging port")
