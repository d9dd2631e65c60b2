"""The address of a mirror in a sweep file. Oracle: what each mistake must say, and what `validate` must not import."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import SweepSpec, parse_spec
from unlearn_sweep.sweeps.resolve import Overrides, resolve


def spec_of(address: str, folder: Path, storage: str = "storage: runs") -> SweepSpec:
    return parse_spec(sweep_text(mirror=f"mirror: {address}", storage=storage), folder=folder)


def mistakes(address: str, folder: Path, storage: str = "storage: runs") -> str:
    with pytest.raises(SpecError) as caught:
        spec_of(address, folder, storage)
    (problem,) = caught.value.problems
    assert problem.path == "mirror"
    assert problem.line is not None
    return problem.text("x")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/mnt/copy", ["no address", "file:///mnt/copy", "s3://"]),
        ("copy", ["no address", "s3://, gs://"]),
        ("s3n://bucket/runs", ["no protocol that fsspec knows", "nearest: s3", "write s3"]),
        ("GS://bucket/runs", ["no protocol that fsspec knows", "write gs://"]),
        ("sfpt://host/runs", ["no protocol that fsspec knows", "sftp"]),
        ("memory://runs", ["cannot hold a copy"]),
        ("https://host/runs", ["cannot hold a copy"]),
        ("simplecache::s3://bucket/runs", ["no protocol that fsspec knows"]),
        ("s3:///runs", ["no bucket or host"]),
        ("file://runs/copy", ["whole path", "file:///runs/copy"]),
        ("file:///", ["the storage itself"]),
        ('"http://[x"', ["no address"]),
    ],
)
def test_a_mistake_says_what_to_write(address: str, words: list[str], tmp_path: Path) -> None:
    if address.startswith("s3:///") and importlib.util.find_spec("s3fs") is None:
        words = ["s3fs"]
    said = mistakes(address, tmp_path)
    assert [word for word in words if word not in said] == [], said


@pytest.mark.parametrize(
    "address",
    [
        "s3://a-key:correct-horse@bucket/runs",
        "s3://a-key@bucket/runs",
        "sftp://me:correct-horse@host/runs",
        "az://container/runs?sig=correct-horse",
        "gs://bucket/runs#correct-horse",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(address: str, tmp_path: Path) -> None:
    said = mistakes(f'"{address}"', tmp_path)
    assert "would end up in records" in said
    assert "from the environment" in said
    assert "correct-horse" not in said
    assert "a-key" not in said


@pytest.mark.parametrize(
    ("address", "package"),
    [
        ("s3://bucket/runs", "s3fs"),
        ("gs://bucket/runs", "gcsfs"),
        ("az://container/runs", "adlfs"),
        ("abfs://container@account.dfs.core.windows.net/runs", "adlfs"),
        ("sftp://me@host/runs", "paramiko"),
    ],
)
def test_a_package_that_is_not_installed_is_named(address: str, package: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(package) is not None:
        assert resolve(spec_of(address, tmp_path)).mirror == address
    else:
        assert f"pip install {package}" in mistakes(address, tmp_path)


@pytest.mark.parametrize("place", ["runs", "runs/copy", "."])
def test_the_storage_is_no_mirror_of_itself(place: str, tmp_path: Path) -> None:
    assert "the storage itself, or a part of it" in mistakes(f"file://{tmp_path}/{place}", tmp_path)
    spec = spec_of(f"file://{tmp_path}/copy", tmp_path)
    with pytest.raises(SpecError, match="1 mistake"):
        resolve(spec, Overrides(storage="copy/runs"))


def test_the_commands_word_goes_before_the_files(tmp_path: Path) -> None:
    spec = spec_of(f"file://{tmp_path}/copy", tmp_path)
    assert resolve(spec).mirror == f"file://{tmp_path}/copy"
    assert resolve(spec, Overrides(mirror=f"file://{tmp_path}/other")).mirror == f"file://{tmp_path}/other"
    with pytest.raises(SpecError) as caught:
        resolve(spec, Overrides(mirror="s4://bucket"))
    assert caught.value.problems[0].path == "--mirror"
    assert resolve(parse_spec(sweep_text(), folder=tmp_path)).mirror is None


def test_a_mirror_is_no_part_of_what_a_sweep_is(tmp_path: Path) -> None:
    without = resolve(parse_spec(sweep_text(), folder=tmp_path))
    with_one = resolve(spec_of(f"file://{tmp_path}/copy", tmp_path))
    assert with_one.digest() == without.digest()
    assert with_one.model_dump(mode="json")["mirror"] == f"file://{tmp_path}/copy"


def test_an_object_store_as_storage_is_told_of_the_mirror(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(sweep_text(storage="storage: s3://bucket/runs"), folder=tmp_path)
    said = caught.value.problems[0].text("x")
    assert "an address, not a folder" in said
    assert "mirror: s3://bucket/runs" in said


def test_a_file_with_a_mirror_is_checked_without_its_drivers(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(sweep_text(mirror=f"mirror: file://{tmp_path}/copy"))
    code = (
        "import sys, pathlib\nfrom unlearn_sweep.sweeps.file.spec import load_spec\n"
        f"load_spec(pathlib.Path({str(tmp_path / 'sweep.yaml')!r}))\n"
        "print(sorted({'s3fs', 'botocore', 'gcsfs', 'adlfs', 'aiohttp', 'torch', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
    assert not (tmp_path / "copy").exists()


def test_the_example_of_the_documentation_is_what_a_file_may_say(tmp_path: Path) -> None:
    page = Path("docs/cluster.md").read_text().partition("## A mirror")[2]
    block = page.split("```yaml\n")[1].split("```")[0]
    parts = {line.partition(":")[0]: line for line in block.splitlines()}
    if importlib.util.find_spec("s3fs") is None:
        with pytest.raises(SpecError) as caught:
            parse_spec(sweep_text(**parts), folder=tmp_path)
        (problem,) = caught.value.problems
        assert problem.advice == "pip install s3fs"
    else:
        assert parse_spec(sweep_text(**parts), folder=tmp_path).file.mirror == "s3://bucket/runs"
