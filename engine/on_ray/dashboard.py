"""Ray's dashboard: its address, and the token that it asks for. Grafana's dashboard: where its file is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


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
