"""The examples of docs/cluster.md. Oracles: Ray's own schema, the pinned version, and the command line itself."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from typer.testing import CliRunner

from unlearn_sweep.sweeps.cli import app

EXAMPLES = Path(__file__).parent.parent / "docs" / "cluster"


def _read(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / name).read_text())


def test_the_ray_up_example_is_what_ray_reads() -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(_read("ray_up.yaml"), schema)


def test_the_kuberay_example_has_the_parts_of_a_ray_job() -> None:
    job = _read("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    pinned = next(
        line for line in (EXAMPLES.parents[1] / "constraints.txt").read_text().splitlines() if line[:5] == "ray=="
    )
    assert pinned == f"ray=={cluster['rayVersion']}"
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    head = cluster["headGroupSpec"]["rayStartParams"]
    # KubeRay puts parameters on a command line as they are, so the quotes of the shell are part of the value.
    assert json.loads(json.loads(head["resources"])) == {"trial_driver": 10000}


@pytest.mark.parametrize("command", [_read("rayjob.yaml")["spec"]["entrypoint"]])
def test_the_command_is_one_that_there_is(command: str, tmp_path: Path) -> None:
    words = shlex.split(command)
    assert words[0] == "unlearn-sweep"
    missing = tmp_path / "no-such-file.yaml"
    done = CliRunner().invoke(app, [words[1], str(missing), *words[3:]])
    assert "no such option" not in done.output.lower()
    assert str(missing) in f"{done.output}{done.exception}"
