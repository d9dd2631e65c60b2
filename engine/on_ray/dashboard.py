"""Ray's dashboard: its address, and the token that it asks for. Grafana's dashboard: where its file is."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearn_sweep.engine.on_ray.cluster import ClusterView


def open_dashboard(
    view: ClusterView,
    announce: Callable[[str], None],
    *,
    failed: Callable[[str], object],
    hold: Callable[[], None] | None = None,
) -> None:
    """Announce the dashboard's address. Start that of a private Ray first, and announce it once it is up.

    Returns at once; a thread calls `announce`, or `failed` with the reason why there is no dashboard. The dashboard of
    a private Ray takes no CPU before `hold` returns.
    """
    from unlearn_sweep.engine.on_ray.late_dashboard import start_dashboard

    def ready(url: str) -> None:
        with contextlib.suppress(OSError, SystemExit):  # the console is a closed pipe
            announce(dashboard_text(url, own_terminal=not view.joined and sys.stdout.isatty()))

    if not view.joined:
        start_dashboard(ready, failed, hold=hold)
    elif view.dashboard_url:
        ready(view.dashboard_url)


def dashboard_text(
    url: str, environment: Mapping[str, str] = os.environ, home: Path | None = None, *, own_terminal: bool = False
) -> str:
    """Return the line with the dashboard's address. Ray asks for a token unless `RAY_AUTH_MODE` is "disabled".

    The token is a password: it is printed only on a terminal, for a Ray of this machine alone (`own_terminal`).
    Elsewhere, where the line may end in a log, the command that prints it is given. `home` is the user's folder.
    """
    if environment.get("RAY_AUTH_MODE") == "disabled":
        return f"Ray dashboard: {url}"
    if environment.get("RAY_AUTH_TOKEN"):
        return f"Ray dashboard: {url} (if it asks for a token: echo $RAY_AUTH_TOKEN)"
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else (home or Path.home()) / ".ray" / "auth_token"
    if not path.is_file():
        return f"Ray dashboard: {url}"
    if own_terminal:
        return f"Ray dashboard: {url}\n  paste this where it asks for a token: {path.read_text().strip()}"
    return f"Ray dashboard: {url} (if it asks for a token: cat {path})"


def grafana_file() -> Path:
    """Return the dashboard to import into Grafana, over the metrics of `engine.on_ray.metrics`."""
    return Path(__file__).with_name("grafana_dashboard.json")
