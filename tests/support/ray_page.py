"""Ray's dashboard as a person opens it: the page asks for the token that the run has printed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.chromium import Tab, opened

ASKED = "document.querySelector('input[type=password]')"
TEXT = "(document.body?.innerText ?? '')"
SUBMIT = "[...document.querySelectorAll('button')].find((one) => /submit/i.test(one.innerText)).click()"
TITLED = "[...document.querySelectorAll('h4')].find((one) => one.innerText === 'Task Table')"
ROWS = "[...document.querySelectorAll('tbody tr')].map((row) => row.cells[1]?.innerText ?? '')"
FILTER = "[...document.querySelectorAll('label')].find((one) => one.innerText === 'Name')"


@asynccontextmanager
async def signed_in(url: str, token: str, profile: Path) -> AsyncIterator[Tab]:
    """A tab at the driver's page of Ray's dashboard, after the token was given. Events from before it are dropped."""
    async with opened(f"{url}/#/jobs/01000000", profile, drawn=f"{ASKED} !== null") as tab:
        await tab.screen(1400)
        await tab.value(f"{ASKED}.focus()")
        await tab.call("Input.insertText", text=token)
        tab.events.clear()  # what was asked without a token is refused, as it should be
        await tab.value(SUBMIT)
        await tab.until(f"{TEXT}.includes('Task Table') && {ASKED} === null")
        yield tab


async def show_tasks(tab: Tab, name: str) -> None:
    """Unfold the table of tasks and keep those whose name contains `name`."""
    await tab.value(f"{TITLED}.click()")
    await tab.until(f"{ROWS}.length > 0")
    await tab.value(f"document.getElementById({FILTER}.htmlFor).focus()")
    await tab.call("Input.insertText", text=name)
    await tab.until(f"{ROWS}.length > 0 && {ROWS}.every((row) => row === '' || row.includes({name!r}))")
