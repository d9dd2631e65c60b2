"""Oracle: a real socket that listens or does not, and the kernel's own limit on a socket's path."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from unlearn_sweep.engine.on_ray.obstacles import BELOW, address_obstacle, folder_obstacle


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_dead_address_is_told_in_seconds_and_a_live_one_passes() -> None:
    port, began = _free_port(), time.monotonic()
    found = address_obstacle(f"127.0.0.1:{port}", {}, tries_s=0.6)
    assert found == f"no Ray cluster answers at 127.0.0.1:{port}: nothing listens there"
    assert time.monotonic() - began < 10
    with socket.create_server(("127.0.0.1", port)):
        assert address_obstacle(f"127.0.0.1:{port}", {}) is None


def test_auto_means_the_address_of_the_environment() -> None:
    dead = f"127.0.0.1:{_free_port()}"
    assert dead in (address_obstacle("auto", {"RAY_ADDRESS": dead}, tries_s=0.0) or "")
    assert address_obstacle("auto", {}) is None
    assert address_obstacle(None, {"RAY_ADDRESS": dead}) is None


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_temporary_folder_is_refused_from_the_first_byte_too_many(tmp_path: Path, name: str) -> None:
    below = BELOW.format(pid=12345)
    longest = 107 - len(below)
    assert folder_obstacle({name: "/" + "x" * (longest - 1)}, pid=12345) is None
    found = folder_obstacle({name: "/" + "x" * longest}, pid=12345)
    assert found is not None
    assert name in found
    assert f"at most {longest} bytes" in found


def test_the_kernel_has_that_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bind refuses a path of 108 bytes and takes one of 107."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("x" * 107)
    with socket.socket(socket.AF_UNIX) as listener, pytest.raises(OSError, match="too long"):
        listener.bind("x" * 108)
