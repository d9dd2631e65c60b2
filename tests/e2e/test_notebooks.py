"""The notebooks of examples/ in a real Jupyter kernel. Oracle: the sweep's folder, and no cell that fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import unlearn_sweep as us

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
NOTEBOOK = Path("examples/sweep_to_front.ipynb")


def test_a_notebook_runs_a_sweep_to_a_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path("src").resolve()))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    folder = tmp_path / "examples"
    folder.mkdir()
    (tmp_path / "sweeps").mkdir()
    shutil.copy("sweeps/quickstart.yaml", tmp_path / "sweeps")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(folder)}})
    client.execute()  # a cell that fails raises
    done = us.open(folder / "runs" / "quickstart")
    assert len(done.trials) >= 6
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = [set(output.get("data", {})) for output in shown]
    assert sum("application/vnd.plotly.v1+json" in kind or "text/html" in kind for kind in kinds) >= 5
    tables = "".join(output["data"]["text/html"] for output in shown if "text/html" in output.get("data", {}))
    assert "finished, 6 of 6 trials settled" in tables
    assert all(f"{value:.6f}" in tables for value in done.front["ue"])
    scored = next(output for output in shown if "generation" in str(output.get("data", {}).get("text/html", "")))
    assert "probability" in scored["data"]["text/html"]


def test_the_front_takes_ten_lines() -> None:
    """Up to the first figure of the front."""
    cells = [cell["source"] for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell["cell_type"] == "code"]
    first = next(place for place, source in enumerate(cells) if "plot_front" in source)
    lines = [line for source in cells[: first + 1] for line in source.splitlines() if line.strip()]
    assert len(lines) <= 10


def test_notebooks_are_kept_without_outputs() -> None:
    for path in Path("examples").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
