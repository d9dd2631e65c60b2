"""What to say about Ray's dashboard: its address, and where the token is that it asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def dashboard_text(url: str, environment: Mapping[str, str] = os.environ, home: Path | None = None) -> str:
    """Return the line with the dashboard's address. Ray asks for a token unless `RAY_AUTH_MODE` is "disabled".

    The token itself is a password and is not printed, only the command that prints it. `home` is the user's folder.
    """
    if environment.get("RAY_AUTH_MODE") == "disabled":
        return f"Ray dashboard: {url}"
    if environment.get("RAY_AUTH_TOKEN"):
        return f"Ray dashboard: {url} (if it asks for a token: echo $RAY_AUTH_TOKEN)"
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else (home or Path.home()) / ".ray" / "auth_token"
    return f"Ray dashboard: {url}" + (f" (if it asks for a token: cat {path})" if path.is_file() else "")
