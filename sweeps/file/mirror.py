"""Check the address of a mirror without connecting to it. `run` connects before it starts the sweep.

fsspec is imported only if the file has a mirror. The packages of its protocols are not imported.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, near_miss, shown
from unlearn_sweep.sweeps.file.yaml_lines import KeyPath

COMMON = ("s3", "gs", "az", "abfs", "sftp", "file")
# Unsuitable protocols: wrappers of other protocols, read-only ones, and those that lose data when the process exits.
WRAPPERS = "async_wrapper asyncwrapper asynclocal blockcache cached dask dir dvc filecache generic simplecache"
READ_ONLY = "arrow_hdfs data gist git github hf http https jlab libarchive reference root tar wandb zip"
UNFIT = frozenset(f"{WRAPPERS} {READ_ONLY} local memory pyscript".split())
NEEDS = {"sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol", "hdfs": "pyarrow"}
# For these protocols, the part before @ is a user or container name, which is not secret.
NAMED_USER = frozenset({"sftp", "ssh", "smb", "abfs", "az"})


def check_mirror(text: str | None, path: KeyPath, storage: Path, collector: ProblemCollector) -> None:
    """Check that `text` is an fsspec address without secrets and outside the storage, whose package is installed."""
    if text is None or not collector.is_valid(path):
        return
    protocol, parts = text.partition("://")[0], _split(text)
    if parts is None or "://" not in text or not text.isprintable():
        advice = f"write file://{text}" if text.startswith("/") else None
        _report(collector, path, "no address", given=shown(text), advice=advice)
    elif parts.password or (parts.username and protocol not in NAMED_USER) or parts.query or parts.fragment:
        message = "a login or a query inside an address would end up in records"
        advice = "remove it; credentials come from the environment (AWS_..., GOOGLE_..., AZURE_..., FSSPEC_...)"
        _report(collector, path, message, given=f"{protocol}://...", advice=advice)
    elif _is_protocol(protocol, path, collector):
        _check_place(text, protocol, parts, path, storage, collector)


def _is_protocol(protocol: str, path: KeyPath, collector: ProblemCollector) -> bool:
    """Return whether fsspec has the protocol, it can store data and its package is installed. Report it if not."""
    from fsspec.registry import known_implementations

    fit = sorted(known_implementations.keys() - UNFIT)
    if protocol not in fit:
        nearest = near_miss(protocol, fit)
        message = "cannot hold a copy" if protocol in UNFIT else "no protocol that fsspec knows"
        advice = f"write {nearest}://" if nearest else None
        _report(collector, path, message, given=shown(protocol), nearest=nearest, advice=advice)
        return False
    module = str(known_implementations[protocol]["class"]).partition(".")[0]
    package = NEEDS.get(protocol) or module
    if importlib.util.find_spec(package) is not None:
        return True
    message = f"{protocol}:// needs the package {package}, which is not installed"
    _report(collector, path, message, given=shown(protocol), advice=f"pip install {package}")
    return False


def _check_place(
    text: str, protocol: str, parts: SplitResult, path: KeyPath, storage: Path, collector: ProblemCollector
) -> None:
    """Check that the address has a bucket, a host or an absolute path. A local folder must not overlap the storage."""
    if protocol != "file":
        if not parts.netloc:
            _report(collector, path, "no bucket or host", given=shown(text))
        return
    place = Path(parts.path)
    if parts.netloc or not place.is_absolute():
        advice = f"write file:///{parts.netloc}{parts.path}"
        _report(collector, path, "a file address holds a whole path", given=shown(text), advice=advice)
    elif place.resolve().is_relative_to(storage) or storage.is_relative_to(place.resolve()):
        allowed = "a folder outside the storage, on another disk"
        _report(collector, path, "the storage itself, or a part of it", given=shown(text), allowed=allowed)


def _report(collector: ProblemCollector, path: KeyPath, message: str, **parts: str | None) -> None:
    allowed = f"an fsspec address without a login: {listing(f'{name}://' for name in COMMON)}, ..."
    collector.add(path, message, **{"allowed": allowed, **parts})


def _split(text: str) -> SplitResult | None:
    try:
        return urlsplit(text)
    except ValueError:
        return None
