"""The checks of a GPU need no Ray, DeepSpeed, MLflow or Optuna. Oracle: an interpreter that does not have them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parent.parent
ABSENT = ("ray", "deepspeed", "mlflow", "optuna", "datasets")


def packages_without(absent: tuple[str, ...], folder: Path) -> Path:
    """A folder of links to the installed packages, but for those that are absent and what they say of themselves."""
    folder.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        name = entry.name.partition("-")[0].lower()
        if name not in absent and not entry.name.endswith(".pth"):
            (folder / entry.name).symlink_to(entry)
    return folder


def test_they_run_with_torch_and_transformers_alone(tmp_path: Path) -> None:
    packages = packages_without(ABSENT, tmp_path / "packages")
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{packages}"}
    arguments = ["--size", "tiny", "--json", str(tmp_path / "found.json")]
    done = subprocess.run(
        [sys.executable, "-S", "bench/gpu_checks.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    bounded = {check["name"]: check["passed"] for check in found["checks"] if check["bound"] is not None}
    assert len(bounded) >= 6
    assert set(bounded.values()) == {True}
    speeds = {check["name"]: check["ratio"] for check in found["checks"] if check["unit"] == "tokens/s"}
    assert set(speeds) == {"training, graddiff with KL", "scoring answers", "greedy generation"}
    assert all(ratio > 0 for ratio in speeds.values())
    assert "| check | ours |" in done.stdout
