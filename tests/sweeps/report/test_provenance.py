"""Where the numbers come from. Oracle: what the sweep was written with, and device hours worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests.support.answered_sweep import benchmark, write_answered_sweep
from tests.sweeps.report.written_sweep import special, trial, write_sweep
from unlearn_sweep.engine.store.calibration import MetricTrust
from unlearn_sweep.engine.store.origin import Origin
from unlearn_sweep.engine.store.starts import Start
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.report.build import build_report, load_report
from unlearn_sweep.sweeps.report.provenance import Prices

ORIGIN = Origin(
    command="unlearn-sweep run <my>.yaml",
    commit="0123abc+changes",
    host="box",
    system="Linux 6, Python 3.12.1",
    cpu="Some CPU",
    cpus=16,
    memory_gib=128.0,
    gpus=["NVIDIA H100", "NVIDIA H100"],
)


def with_origin(folder: Path) -> Path:
    lock = yaml.safe_load((folder / "spec.lock.yaml").read_text())
    lock["starts"] = [Start(date="2026-01-31", versions={"torch": "2.13.0"}, code="c", origin=ORIGIN).model_dump()]
    (folder / "spec.lock.yaml").write_text(yaml.safe_dump(lock))
    return folder


def test_the_page_has_command_commit_machine_seed_and_versions(tmp_path: Path) -> None:
    page = build_report(with_origin(write_sweep(tmp_path / "demo", [trial(0)]))).page.read_text()
    for text in (
        "<td>seed</td><td>7</td>",
        "<td>unlearn-sweep run &lt;my&gt;.yaml</td>",
        "<td>0123abc+changes</td>",
        "box: 16 CPUs of Some CPU, 128 GiB, 2 x NVIDIA H100; Linux 6, Python 3.12.1",
        "<td>torch</td><td>2.13.0</td>",
    ):
        assert text in page


def test_older_sweeps_say_what_was_not_recorded(tmp_path: Path) -> None:
    page = build_report(write_sweep(tmp_path / "demo", [trial(0)])).page.read_text()
    assert "<td>command</td><td>not recorded</td>" in page
    assert "<td>digest of the benchmark&#x27;s content</td><td>not recorded</td>" in page


def test_data_and_models_are_named_by_content(tmp_path: Path) -> None:
    found = load_report(write_answered_sweep(tmp_path / "runs" / "demo")).provenance
    assert found.data_digest == benchmark().digest()
    assert found.models == {"original": "original", "gold": "gold"}
    assert len(found.hosts) == 1


def test_revisions_that_are_not_pinned_are_said(tmp_path: Path) -> None:
    params = {"hub": "owner/data", "revision": None, "forget": "forget10", "path": None, "evaluation_rows": 3}
    spec = {"benchmark": {"name": "tofu", "params": params}}
    found = load_report(write_sweep(tmp_path / "demo", [trial(0)], spec=spec)).provenance
    assert found.data == {"hub": "owner/data", "forget": "forget10", "revision": "newest (not pinned)"}


def test_measured_weights_come_with_what_was_measured(tmp_path: Path) -> None:
    one = MetricTrust(metric="rouge", auc=0.75, low=0.5, high=0.9, robustness=0.25, unlearned=7, weight=0.3333)
    spec = {"ue_weights": {"rouge": 0.3333}, "ue_trust": [one.model_dump(mode="json")]}
    folder = write_sweep(tmp_path / "demo", [trial(0)], spec=spec)
    assert load_report(folder).provenance.ue_trust == [one]
    page = build_report(folder).page.read_text()
    assert "<td>rouge</td><td>0.750</td><td>0.500 to 0.900</td>" in page
    assert "<td>0.250</td>" in page
    printed = CliRunner().invoke(app, ["report", str(folder), "--json"])
    assert json.loads(printed.stdout)["provenance"]["ue_trust"][0]["robustness"] == 0.25


def spent(tmp_path: Path, spec: dict[str, Any], prices: Prices) -> tuple[dict[str, float], float | None, float]:
    """Device hours and dollars of one trial with an hour of training and half an hour of measuring."""
    seconds = {"unlearn": 3600.0, "evaluate": 1800.0}
    record = trial(0).model_copy(update={"stage_seconds": seconds, "attacks": []})
    folder = write_sweep(tmp_path / "demo", [record], spec=spec)
    found = load_report(folder, prices).provenance
    return found.device_hours, found.dollars, 6 * 9.0 / 3600


def test_device_hours_are_what_stages_held(tmp_path: Path) -> None:
    spec = {
        "training": {"workers": 4, "resources_per_worker": {"CPU": 2.0, "GPU": 1.0}},
        "evaluation_resources": {"CPU": 1.0, "GPU": 0.5},
    }
    hours, dollars, _ = spent(tmp_path, spec, Prices(gpu_hour=2.0))
    # Preparation of written sweeps: start (measuring resources), original, gold (training), three measurements.
    trained, measured = 1 + 2 * 9 / 3600, 0.5 + 4 * 9 / 3600
    assert hours["GPU"] == pytest.approx(4 * trained + 0.5 * measured)
    assert hours["CPU"] == pytest.approx(8 * trained + 1.0 * measured)
    assert dollars == pytest.approx(2.0 * hours["GPU"])


def test_without_workers_a_training_holds_what_measuring_holds(tmp_path: Path) -> None:
    spec = {"training": {"workers": 0}, "evaluation_resources": {"CPU": 2.0}}
    hours, dollars, preparation = spent(tmp_path, spec, Prices())
    assert hours == {"CPU": pytest.approx(2 * (1.5 + preparation))}
    assert dollars is None


def test_prices_are_options_of_the_command(tmp_path: Path) -> None:
    spec = {"evaluation_resources": {"CPU": 1.0}}
    folder = write_sweep(tmp_path / "demo", [trial(0)], spec=spec)
    done = CliRunner().invoke(app, ["report", str(folder), "--cpu-hour-price", "1000"])
    assert done.exit_code == 0, done.output
    hours = load_report(folder).provenance.device_hours["CPU"]
    assert f"<td>cost</td><td>${1000 * hours:.2f}</td>" in (folder / "report" / "index.html").read_text()


def test_a_failed_stage_held_its_devices_too(tmp_path: Path) -> None:
    record = special(0, "failed").model_copy(update={"stage_seconds": {"unlearn": 3600.0}})
    folder = write_sweep(tmp_path / "demo", [record], spec={"evaluation_resources": {"CPU": 1.0}})
    assert load_report(folder).provenance.device_hours == {"CPU": pytest.approx(1 + 6 * 9 / 3600)}
