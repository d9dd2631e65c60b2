"""Copy the plugins of a sweep into its folder, where every machine can read them and later edits have no effect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from unlearn_sweep.engine.store import durable
from unlearn_sweep.plugins import PluginError, PluginFile, plugin_file

FOLDER = "plugins"


def keep_plugins(files: Iterable[PluginFile], directory: Path) -> tuple[PluginFile, ...]:
    """Copy the plugins below `directory`, named by stem and content digest, and return the copies.

    Raises:
        PluginError: a file is missing, or its content changed since it was checked.
    """
    return tuple(_keep(file, directory / FOLDER) for file in files)


def _keep(file: PluginFile, folder: Path) -> PluginFile:
    place = folder / f"{file.name}-{file.digest}.py"
    if not place.is_file() or plugin_file(place).digest != file.digest:
        source = Path(file.path)
        if plugin_file(source).digest != file.digest:
            raise PluginError(f"{file.path}: the file changed after the sweep read it; rerun the same command")
        folder.mkdir(parents=True, exist_ok=True)
        durable.write_bytes(place, source.read_bytes())
    return replace(file, path=str(place))
