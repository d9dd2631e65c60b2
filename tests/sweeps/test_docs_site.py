"""The documentation as a site. Oracle: Sphinx with warnings as errors, and a real browser without a network."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.chromium import AXE, BROWSER, Tab, opened

CHECKED = ("index", "tutorial", "own-data", "commands", "api", "glossary", "search")
"""Every kind of page: lists, code, wide tables, signatures, definitions, the search."""
SHOWN = "document.readyState === 'complete'"
RESULTS = "[...document.querySelectorAll('#search-results li a')].map((link) => link.href)"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make site` builds. A broken link, or a page that no other names, fails here."""
    out = tmp_path_factory.mktemp("site")
    build = ["-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "-b", "html", "docs", str(out)]
    done = subprocess.run([sys.executable, *build], capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    loaded = [
        (page.name, address)
        for page in site.glob("*.html")
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text(encoding="utf-8"))
        for address in re.findall(r'(?:src|href)="(https?://[^"]+)"', tag)
    ]
    assert not loaded
    styles = "".join(file.read_text(encoding="utf-8") for file in site.rglob("*.css"))
    assert not re.findall(r"url\(['\"]?https?:", styles)


@pytest.mark.slow
def test_the_api_page_has_signatures_and_docstrings(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    assert all(f'id="unlearn_sweep.{name}"' in page for name in ("Sweep", "open", "audit", "method_loss", "score_rows"))


@pytest.mark.browser
@pytest.mark.timeout(500)
@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine")
def test_the_site_opens_and_is_searched_without_a_network(site: Path, tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(site / "index.html", tmp_path / "profile", drawn=SHOWN) as tab:
            for scheme in ("light", "dark"):
                for page in CHECKED:
                    await _check(tab, site / f"{page}.html", scheme)
            await tab.call("Page.navigate", url=f"{(site / 'search.html').as_uri()}?q=hypervolume")
            await tab.until(f"{RESULTS}.length > 0")
            assert any("glossary.html" in link for link in await tab.value(RESULTS))
            requests = {event["request"]["url"] for event in tab.of("Network.requestWillBeSent")}
            assert {url.partition(":")[0] for url in requests} <= {"file", "data"}
            assert not tab.of("Runtime.exceptionThrown")
            assert not [event for event in tab.of("Log.entryAdded") if event["entry"]["level"] == "error"]

    asyncio.run(look())


async def _check(tab: Tab, page: Path, scheme: str) -> None:
    """The page is drawn, and axe-core finds nothing."""
    await tab.call("Page.navigate", url=page.as_uri())
    await tab.until(f"{SHOWN} && location.pathname === {page.as_posix()!r}")
    await tab.screen(1400, scheme=scheme)
    if AXE is not None:
        assert await tab.violations() == [], f"{page.name}, {scheme}"
