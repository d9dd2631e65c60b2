"""Where a published benchmark's rows are: on the hub, or in a local folder laid out like it.

Locally, split S of configuration C is `<folder>/C/S.json` (or .jsonl, .csv, .parquet); a data set of its own that has
no configurations is `<folder>/<its name>.json`. So a folder that `datasets` or a browser filled works as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn_sweep.evaluators.benchmarks.tables import Kind, check_rows, find_table, hub_table, read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One data set: hub id, revision (None: the newest), and the local folder in its stead (None: the hub)."""

    hub: str
    folder: Path | None
    revision: str | None = None

    @classmethod
    def of(cls, hub: str, path: str | None, revision: str | None = None) -> Place:
        """Raises ValueError where a local folder is named and is none."""
        folder = None if path is None else Path(path).expanduser()
        if folder is not None and not folder.is_dir():
            raise ValueError(f"benchmark.path: no folder {folder}; it should hold the files of {hub}")
        return cls(hub=hub, folder=folder, revision=revision)

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else " (revision not pinned)"
        return f"{self.hub}{at}" if self.folder is None else str(self.folder)

    def rows(self, config: str, split: str, kind: type[Kind]) -> list[Kind]:
        """Checked rows of one split of one configuration; ValueError names file, row and column."""
        if self.folder is not None:
            return local_rows(find_table(self.folder, f"{config}/{split}"), kind)
        return check_rows(
            f"{self.hub} {config} {split}", hub_table(self.hub, config, split, revision=self.revision), kind
        )

    def whole(self, split: str, kind: type[Kind]) -> list[Kind]:
        """Checked rows of one split of a data set without configurations: `<folder>/<split>.json`, or on the hub."""
        if self.folder is not None:
            return local_rows(find_table(self.folder, split), kind)
        return check_rows(f"{self.hub} {split}", hub_table(self.hub, None, split, revision=self.revision), kind)

    def file(self, name: str, kind: type[Kind]) -> list[Kind]:
        """Checked rows of a file of its own, `<folder>/<name>.json`; on the hub it is a configuration of that name."""
        if self.folder is not None:
            return local_rows(find_table(self.folder, name), kind)
        return check_rows(f"{self.hub} {name}", hub_table(self.hub, name, "train", revision=self.revision), kind)

    def alone(self, name: str, kind: type[Kind], *, split: str = "train") -> list[Kind]:
        """Checked rows of a data set without configurations, `<owner>/<name>` beside `hub`."""
        if self.folder is not None:
            return local_rows(find_table(self.folder, name), kind)
        hub = f"{self.hub.partition('/')[0]}/{name}"
        return check_rows(hub, hub_table(hub, None, split, revision=self.revision), kind)


def local_rows(file: Path, kind: type[Kind]) -> list[Kind]:
    """Checked rows of one file."""
    return check_rows(str(file), read_table(file), kind)
