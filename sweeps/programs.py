"""How to call this program and its neighbours from the user's shell, whether or not the environment is activated."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def program(name: str) -> str:
    """Return the command that starts a program of this environment, quoted for a shell.

    The bare name if the shell finds it, else its path beside this Python: relative if it is below the current folder.
    If neither exists, the bare name.
    """
    if shutil.which(name) is not None:
        return name
    path = Path(sys.executable).parent / name
    if not path.is_file():
        return name
    here = Path.cwd()
    if not path.is_relative_to(here):
        return shlex.quote(str(path))
    inside = str(path.relative_to(here))
    return shlex.quote(inside if "/" in inside else f"./{inside}")
