"""The doctor on this machine, and each check against a machine that is made ill for it."""

from __future__ import annotations

import io
import json
import resource
import sqlite3
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from rich.console import Console

from unlearn_sweep.sweeps.doctor import doctor
from unlearn_sweep.sweeps.doctor.finding import Finding
from unlearn_sweep.sweeps.doctor.libraries import check_vector_units, judge_torch, probe
from unlearn_sweep.sweeps.doctor.machine import (
    check_compiler,
    check_database,
    check_disk,
    check_memory,
    check_open_files,
    check_shared_memory,
    check_stale_builds,
)
from unlearn_sweep.sweeps.doctor.packages import check_packages, check_python, check_requirement, required

TORCH = {
    "version": "2.13.0",
    "built_for": None,
    "cuda": False,
    "names": [],
    "capability": "AVX2",
    "threads": 2,
    "bf16": False,
}


def test_this_machine_is_fit_and_everything_was_looked_at(tmp_path: Path) -> None:
    said: list[str] = []
    findings = doctor.examine(tmp_path / "runs", tell=said.append)
    assert len(said) == 3
    assert "Ray" in said[1]
    assert [item for item in findings if doctor.is_failure(item)] == []
    names = {item.name for item in findings}
    assert {"Python", "torch", "ray", "torch runs", "DeepSpeed runs", "Ray dashboard", "memory", "storage"} <= names
    assert len(names) == len(findings)
    assert not (tmp_path / "runs").exists()
    assert json.loads(json.dumps([doctor.as_json(item) for item in findings]))


def test_what_is_wrong_is_shown_with_what_to_do() -> None:
    findings = [
        Finding(name="a", status="ok", detail="1.0", group="packages"),
        Finding(name="b", status="fail", detail="not installed", advice="install it", group="packages"),
        Finding(name="c", status="ok", detail="2.0", group="packages"),
    ]
    screen = io.StringIO()
    Console(width=100, file=screen).print(doctor.render(findings))
    text = screen.getvalue()
    assert "packages  a 1.0, c 2.0" in text
    assert "fail: b: install it" in text
    assert text.splitlines()[-1].startswith("1 of 3 must be fixed")


@pytest.mark.parametrize(
    ("version", "status"), [((3, 10), "fail"), ((3, 12), "ok"), ((3, 13), "warn"), ((3, 14), "fail")]
)
def test_python_versions(version: tuple[int, int], status: str) -> None:
    assert check_python(version).status == status


def test_packages_out_of_range_absent_or_without_their_extra() -> None:
    assert check_requirement(Requirement("pytest>=1")).status == "ok"
    old = check_requirement(Requirement("pytest>=999"))
    assert (old.status, "needs pytest>=999" in old.detail) == ("fail", True)
    assert check_requirement(Requirement("no-such-distribution")).detail.startswith("not installed")
    # pandas[excel] needs writers of a format nothing here uses.
    bare = check_requirement(Requirement("pandas[excel]"))
    assert bare.status == "fail"
    assert "xlsxwriter" in bare.detail.lower()
    assert "pandas[excel]" in (bare.advice or "")


def test_only_requirements_that_hold_here_are_checked() -> None:
    declared = ["a>=1", 'b; extra == "gpu"', 'c; python_version < "3"', 'd; python_version >= "3" and extra == "gpu"']
    assert [item.name for item in required(declared)] == ["a"]
    assert [item.name for item in required(declared, "gpu")] == ["b", "d"]
    assert "flash-attn" not in {finding.name for finding in check_packages()}


def test_a_library_that_crashes_hangs_or_is_broken_is_a_sentence() -> None:
    assert probe('print("noise"); print("{\\"a\\": 1}")') == {"a": 1}
    assert probe("import no_such_module") == "ModuleNotFoundError: No module named 'no_such_module'"
    assert probe("import os; os.abort()") == "ended with status -6"
    assert probe("import time; time.sleep(60)", timeout_s=1.0) == "no answer within 1 s"


def test_torch_that_does_not_see_the_gpus() -> None:
    assert judge_torch(TORCH, gpus=0).status == "ok"
    plain = judge_torch(TORCH, gpus=2)
    assert (plain.status, plain.advice) == ("warn", "install a CUDA build of the same torch version")
    driver = judge_torch({**TORCH, "built_for": "12.8"}, gpus=2)
    assert (driver.status, "driver" in (driver.advice or "")) == ("warn", True)
    fine = judge_torch({**TORCH, "built_for": "12.8", "cuda": True, "names": ["H100"], "bf16": True}, gpus=1)
    assert (fine.status, "H100; bfloat16" in fine.detail) == ("ok", True)


def test_slow_bfloat16_is_said() -> None:
    assert "float32" in check_vector_units(frozenset({"avx2"})).detail
    assert "float32" not in check_vector_units(frozenset({"avx2", "avx512f", "avx512_bf16"})).detail


def test_little_memory_files_and_shared_memory() -> None:
    assert [check_memory(gib).status for gib in (1.0, 4.0, 16.0)] == ["fail", "warn", "ok"]
    assert [check_open_files(limit).status for limit in (1024, 65536, resource.RLIM_INFINITY)] == ["warn", "ok", "ok"]
    assert check_shared_memory(Path("/nonexistent")).status == "ok"


def test_the_disk_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    finding = check_disk(tmp_path / "not" / "yet")
    assert finding.detail.endswith(f"free at {tmp_path}")
    assert finding.status in ("ok", "warn")


def test_no_compiler_means_no_deepspeed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = check_compiler()
    assert (finding.status, finding.detail.startswith("a C++ compiler")) == ("warn", True)
    assert "backend: torch" in (finding.advice or "")


def test_a_stale_build_lock_is_found(tmp_path: Path) -> None:
    assert check_stale_builds(tmp_path / "none").status == "ok"
    lock = tmp_path / "py311_cpu" / "deepspeed_shm_comm" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    finding = check_stale_builds(tmp_path)
    assert (finding.status, f"rm {lock}" in (finding.advice or "")) == ("warn", True)


def test_the_mlflow_database_locked_broken_or_absent(tmp_path: Path) -> None:
    assert "does not exist yet" in check_database(tmp_path).detail
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as holder:
        holder.execute("create table a (b)")
        holder.commit()
        assert check_database(tmp_path).status == "ok"
        holder.execute("begin exclusive")
        assert "locked" in check_database(tmp_path).detail
        holder.rollback()
    holder.close()
    path.write_bytes(b"this is no database, but it is long enough to look like a header" * 4)
    assert (check_database(tmp_path).status, "not a database" in check_database(tmp_path).detail) == ("warn", True)
