"""Make Ray's workers import installed packages only, not modules from the driver's working directory."""

from __future__ import annotations

from typing import Any

from ray.job_config import JobConfig


class InstalledPackagesOnly(JobConfig):
    """A job configuration that sends no `sys.path` folders of the driver to the workers.

    Ray (2.60, `ray._private.worker.connect`) prepends the driver's working directory and its script's folder to the
    `sys.path` of every worker. A user's `datasets/` or `torch.py` then shadows the library of that name in the workers
    but not in the driver. Ray appends to the list after the configuration is created and has no option against it, so
    this property returns a new empty list at each access. `PYTHONPATH` and a job's `working_dir` still work.
    """

    @property
    def _py_driver_sys_path(self) -> list[str]:
        return []

    @_py_driver_sys_path.setter
    def _py_driver_sys_path(self, folders: Any) -> None:
        """Ignore the value that Ray's constructor sets."""
