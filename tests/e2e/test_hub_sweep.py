"""Models and data by hub id and revision, from the file to the report, over a server that speaks the hub's protocol.

Oracles: the digests of the folders that the server gives out, and the bytes of every file that is left behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.evaluators.benchmarks.test_hub import ONLINE, as_sets
from tests.support.hub_server import Hub, serving
from tests.support.published_data import WRITERS
from tests.support.tiny_authors import OPTIONS, make_ready, tiny_job
from unlearn_sweep.engine.models.loading import model_digest

TOKEN = "hf_plantedPlantedPlanted0f7c9b1e5a"
SWEEP = f"""
name: hub
benchmark: {{name: authors, {", ".join(f"{name}: {value}" for name, value in OPTIONS.items())}}}
model: {{path: lab/original@v1}}
gold: {{path: lab/gold@v1}}
methods: {{graddiff: {{learning_rate: 1e-3}}}}
training: {{max_steps: 3, global_batch_size: 8, backend: torch, workers: 0}}
evaluators: {{ue: [probability], ut: [probability]}}
attacks: [{{quantize: {{bits: 8}}}}]
search: {{sampler: random, trials: 1}}
storage: runs
"""
OFFLINE_S = 60.0
"""Far below the minutes that the hub's client would try again; a loaded machine needs some of it to start Python."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclass(frozen=True)
class Place:
    """A folder with the sweep file, a home for the hub's cache, and the server."""

    folder: Path
    hub: Hub
    digests: Mapping[str, str]

    def call(self, *arguments: str, home: str = "home", **environment: str) -> tuple[int, str]:
        """Status and what was printed of one command in a process of its own."""
        own = {"HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.folder / home), **environment}
        inherited = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
        done = subprocess.run(
            [sys.executable, "-m", "unlearn_sweep.sweeps.cli", *arguments],
            cwd=self.folder, capture_output=True, text=True, timeout=900, check=False,
            env={**inherited, **ONLINE, **own},
        )  # fmt: skip
        printed = done.stdout + done.stderr
        assert "Traceback" not in printed, printed
        assert TOKEN not in printed
        return done.returncode, " ".join(printed.split())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    _, prepared, _ = make_ready(tiny_job(tmp_path_factory.mktemp("made"), "made", []))
    made = {name: Path(prepared.paths[name]) for name in ("original", "gold")}
    (folder / "sweep.yaml").write_text(SWEEP)
    rows = tmp_path_factory.mktemp("rows")
    WRITERS["wmdp"](rows)
    sets = {name: {"v1": revisions["main"]} for name, revisions in as_sets("wmdp", rows).items()}
    models = {f"lab/{name}": {"main": made["gold"], "v1": path} for name, path in made.items()}
    gated = frozenset({"lab/original", "cais/wmdp"})
    digests = {name: model_digest(str(path)) for name, path in made.items()}
    with serving(sets, models=models, gated=gated, token=TOKEN) as hub:
        yield Place(folder, hub, digests)


def test_a_gated_model_is_refused_without_a_token(place: Place) -> None:
    for command in (("validate", "sweep.yaml"), ("run", "sweep.yaml", "--plain"), AUDIT):
        status, printed = place.call(*command)
        assert status == 2, printed
        assert "lab/original@v1 is gated: request access on its page" in printed
        assert "hf auth login, or HF_TOKEN" in printed
    assert not (place.folder / "runs").exists()


def test_a_sweep_and_an_audit_of_models_on_the_hub(place: Place) -> None:
    for command in (("validate", "sweep.yaml"), ("plan", "sweep.yaml")):
        status, printed = place.call(*command, HF_TOKEN=TOKEN)
        assert status == 0, printed
    assert not any("/resolve/" in path for path in place.hub.paths), "nothing is downloaded before a run"
    status, printed = place.call("run", "sweep.yaml", "--plain", HF_TOKEN=TOKEN)
    assert status == 0, printed
    record = json.loads((place.folder / "runs" / "hub" / "trials" / "0.json").read_text())
    assert record["state"] == "complete"
    downloaded = {name: model_digest(str(snapshot(place.folder / "home", name))) for name in place.digests}
    assert downloaded == dict(place.digests), "revision v1, and not the newest"
    status, printed = place.call(*AUDIT, HF_TOKEN=TOKEN)
    assert status == 0, printed


def test_an_audit_on_gated_data_by_revision(place: Place) -> None:
    data = [f"{name}=v1" for name in ("revision", "corpora_revision", "mmlu_revision")]
    options = [part for text in ("topic=cyber", "mmlu_rows=4", *data) for part in ("--set", text)]
    command = (
        "audit", "--model", "lab/gold@v1", "--benchmark", "wmdp", "--gold", "chance",
        "--attack", "{quantize: {bits: 8}}", "--original", "lab/gold@v1", "--plain", *options,
    )  # fmt: skip
    status, printed = place.call(*command)
    assert status == 2, printed
    assert "cais/wmdp@v1 is gated: request access on its page (https://huggingface.co/datasets/cais/wmdp)" in printed
    status, printed = place.call(*command, HF_TOKEN=TOKEN)
    assert status == 0, printed
    assert any("/cais/wmdp/resolve/" in path for path in place.hub.paths)


def test_a_finished_sweep_needs_no_network(place: Place) -> None:
    status, printed = place.call("run", "sweep.yaml", "--plain", HF_HUB_OFFLINE="1")
    assert status == 0, printed


def test_without_a_network_a_new_sweep_says_within_seconds_what_to_fetch(place: Place) -> None:
    fetch = "hf download lab/original --revision v1"
    for switched in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        for command, wanted in (("validate", 0), ("plan", 0), ("run", 2)):
            began = time.monotonic()
            status, printed = place.call(command, "sweep.yaml", home="empty", **switched)
            assert time.monotonic() - began < OFFLINE_S
            assert (status, fetch in printed) == (wanted, True), printed


def test_what_the_hub_does_not_have_is_refused_with_the_nearest_name(place: Place) -> None:
    for wrong, words in (
        ("lab/orignal@v1", "the hub has no such model, or it is private and needs a login; did you mean lab/original?"),
        ("lab/original@v2", "has no revision v2; it has main, v1"),
        ("./modls", "no such path"),
        ("owner-without-name", "neither a folder nor a hub id"),
    ):
        (place.folder / "wrong.yaml").write_text(SWEEP.replace("lab/original@v1", wrong))
        for command in ("validate", "run"):
            status, printed = place.call(command, "wrong.yaml", HF_TOKEN=TOKEN)
            assert status == 2
            assert words in printed


def test_the_token_is_in_no_file(place: Place) -> None:
    files = [path for path in place.folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files), "MLflow's database is among them"
    assert any(path.name == "events.jsonl" for path in files)
    assert [str(path) for path in files if TOKEN.encode() in path.read_bytes()] == []


AUDIT = (
    "audit", "--model", "lab/gold@v1", "--original", "lab/original@v1", "--gold", "lab/gold@v1",
    "--benchmark", "authors",
    *[part for name, value in OPTIONS.items() for part in ("--set", f"{name}={value}")],
    "--attack", "{quantize: {bits: 8}}", "--plain",
)  # fmt: skip


def snapshot(home: Path, name: str) -> Path:
    (found,) = (home / "hub" / f"models--lab--{name}" / "snapshots").iterdir()
    return found
