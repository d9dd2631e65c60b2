"""What lies in the folder a sweep is started in must not reach its workers. Oracle: `sys.path` on a real Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DRIVER = """
import json, sys
import ray
from unlearn_sweep.engine.on_ray.cluster import cluster

with cluster(address=None, environment={"RAY_AUTH_MODE": "disabled"}):
    @ray.remote
    def look():
        import datasets, platform
        return {"path": sys.path, "datasets": datasets.__file__, "platform": platform.__file__}
    print("FOUND", json.dumps(ray.get(look.remote())))
"""


def test_workers_import_the_library_and_not_a_folder_of_its_name(tmp_path: Path) -> None:
    """An empty `datasets/` beside the sweep file, and a `platform.py` that raises."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").touch()
    (tmp_path / "platform.py").write_text("raise RuntimeError('imported from the folder of the user')\n")
    done = subprocess.run(
        [sys.executable, "-P", "-c", DRIVER],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    found = json.loads(line.removeprefix("FOUND "))
    assert str(tmp_path) not in found["path"]
    assert "site-packages" in found["datasets"]
    assert not found["platform"].startswith(str(tmp_path))
