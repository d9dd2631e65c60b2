"""What Ray's workers import: installed packages, not what happens to lie in the folder the driver was started in."""

from __future__ import annotations

from typing import Any

from ray.job_config import JobConfig


class InstalledPackagesOnly(JobConfig):
    """A job configuration that sends no folders of the driver to the workers.

    Ray (2.60, `ray._private.worker.connect`) puts the driver's current folder, and that of its script, first on the
    `sys.path` of every worker: a `datasets/` or `torch.py` of the user then shadows the library of that name, in
    workers and not in the driver. Ray adds to this list after the configuration is made and offers no switch, so the
    list is one that keeps nothing. `PYTHONPATH` and a job's `working_dir` reach the workers as before.
    """

    @property
    def _py_driver_sys_path(self) -> list[str]:
        return []

    @_py_driver_sys_path.setter
    def _py_driver_sys_path(self, folders: Any) -> None:
        """Ray's constructor sets the attribute; what it sets is dropped."""
