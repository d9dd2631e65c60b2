"""A mirror over the S3 protocol, against moto's server on the loopback interface. Oracle: the trees on both sides.

Skipped where moto or s3fs is not installed: pip install moto s3fs flask flask-cors
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.recorded_sweep import job_of
from tests.support.mirrors import finished_sweep, open_mirror, pulled, push, tree
from unlearn_sweep.engine.mirror.address import MirrorError
from unlearn_sweep.engine.mirror.background import mirrored
from unlearn_sweep.engine.mirror.pull import fetch_model
from unlearn_sweep.engine.stages.prepare import model_stages
from unlearn_sweep.engine.store.stages import StageStore

pytest.importorskip("s3fs", reason="s3:// needs s3fs, which is not installed")
boto3: Any = pytest.importorskip("boto3", reason="moto's server is set up through boto3, which is not installed")
moto_server: Any = pytest.importorskip("moto.server", reason="the S3 server is moto, which is not installed")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 server; the address's driver finds it through the environment, as a user's would."""
    served = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    served.start()
    host, port = served.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key-id-of-a-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-a-test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield served
    served.stop()


@pytest.fixture
def uri(server: Any, tmp_path: Path) -> str:
    """Below a new bucket: what moto's servers hold lasts as long as the process."""
    bucket = tmp_path.name.replace("_", "-")
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/mirror"


def test_a_sweep_goes_over_s3_and_comes_back(uri: str, tmp_path: Path) -> None:
    # Larger than a part of s3fs's multipart uploads (50 MiB), so that those are gone through as well.
    here = finished_sweep(tmp_path / "runs", model_bytes=60_000_000)
    push(here, uri)
    there, (line,) = pulled(tmp_path / "other", uri)
    assert "fetching the sweep with 3 settled trials" in line
    assert tree(there.directory / "trials") == tree(here.directory / "trials")
    assert tree(there.storage / "store/stages") == tree(here.storage / "store/stages")
    store = StageStore(there.storage)
    for request in model_stages(here):
        assert tree(store.model_folder(request.key)) == tree(StageStore(here.storage).model_folder(request.key))
    listing = open_mirror(uri).listing("store/models")
    member = next(key for key in {name.split("/")[2] for name in listing} if not store.model_folder(key).exists())
    assert fetch_model(open_mirror(uri), store, member) > 0
    assert tree(store.model_folder(member)) == tree(StageStore(here.storage).model_folder(member))


def test_a_model_is_removed_and_a_mark_taken_away_over_s3(uri: str, tmp_path: Path) -> None:
    here = finished_sweep(tmp_path / "runs")
    with mirrored(here.model_copy(update={"mirror": uri}), lambda _: None):
        assert "sweep/driver.json" in open_mirror(uri).listing("sweep")
        other = job_of(tmp_path / "other").model_copy(update={"mirror": uri})
        with pytest.raises(MirrorError, match="is being run by process"), mirrored(other, lambda _: None):
            pass
    mirror = open_mirror(uri)
    assert "sweep/driver.json" not in mirror.listing("sweep")
    assert mirror.sweeps() == ["sweep"]
    key = model_stages(here)[0].key
    mirror.remove_model(key)
    assert mirror.listing(f"store/models/{key}") == {}


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_refused_and_a_server_that_dies_harms_nothing(
    server: Any, uri: str, tmp_path: Path
) -> None:
    here, said = finished_sweep(tmp_path / "runs"), []
    absent = here.model_copy(update={"mirror": "s3://no-such-bucket/runs"})
    with (
        pytest.raises(MirrorError, match=r"cannot write to the mirror .*FileNotFoundError"),
        mirrored(absent, said.append),
    ):
        pass
    with mirrored(here.model_copy(update={"mirror": uri}), said.append):
        server.stop()
    assert "The sweep continues without it" in said[0]
    assert "3 records, 5 models" in said[-1]
    assert "a-secret-of-a-test" not in "".join(said)
