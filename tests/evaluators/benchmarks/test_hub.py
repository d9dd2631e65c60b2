"""Rows from a hub. Oracle: the same rows read from a local folder; the hub is a real server on loopback.

`datasets` reads the hub's address when it is imported, so each reading is a process of its own, as a user's is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_server import Hub, serving
from tests.support.published_data import WRITERS
from unlearn_sweep.evaluators.benchmarks.blur import HUB as BLUR_HUB
from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS, load_benchmark
from unlearn_sweep.evaluators.benchmarks.lume import HUB as LUME_HUB

READ = """
import json, sys
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
name, options = json.loads(sys.argv[1])
try:
    print("READ " + load_benchmark(name, options).digest())
except ValueError as error:
    print("REFUSED " + str(error).replace(chr(10), " "))
"""
SETS: Mapping[str, str] = {
    "wmdp-cyber": "cais/wmdp",
    "all": "cais/mmlu",
    "cyber-forget-corpus": "cais/wmdp-corpora",
    "cyber-retain-corpus": "cais/wmdp-corpora",
}
OWNERS = {"muse": "muse-bench/MUSE-News", "rwku": "jinzhuoran/RWKU", "lume": LUME_HUB}
ONLINE = {name: "0" for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")}
"""Other tests are kept off the network; these have a network of their own."""
LATER = {"question": "Asked later?", "answer": "Later"}


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def as_sets(name: str, folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """A folder of made rows as the hub's data sets, at revision "main"."""
    sets: dict[str, dict[str, dict[str, Any]]] = {}
    for file in sorted(folder.rglob("*.jsonl")):
        if name == "blur":  # a configuration a file
            repo, config, split = BLUR_HUB, file.stem, "train"
        elif file.parent == folder and name in OWNERS:  # splits of a data set without configurations
            repo, config, split = OWNERS[name], "default", file.stem
        elif file.parent == folder:  # a data set of its own, without configurations
            repo, config, split = f"nmndeep/{file.stem}", "default", "train"
        else:
            config, split = file.parent.name, file.stem
            repo = SETS.get(config) or OWNERS[name]
        configs = sets.setdefault(repo, {}).setdefault("main", {})
        configs.setdefault(config, {})[split] = rows_of(file)
    return sets


def read(hub: Hub, home: Path, name: str, options: Mapping[str, Any], **environment: str) -> str:
    """What a process says that loads the benchmark from this hub."""
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps([name, {**options, "path": None}])],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        env={**os.environ, **ONLINE, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), **environment},
    )
    assert done.returncode == 0, done.stderr
    return next(line for line in done.stdout.splitlines() if line.startswith(("READ ", "REFUSED ")))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "wmdp" else pytest.mark.slow) for name in WRITERS]
)
def test_rows_of_the_hub_are_those_of_a_folder_and_stay_when_it_is_gone(name: str, tmp_path: Path) -> None:
    folder, home = tmp_path / "rows", tmp_path / "home"
    options = WRITERS[name](folder)
    local = f"READ {load_benchmark(name, options).digest()}"
    with serving(as_sets(name, folder)) as hub:
        assert read(hub, home, name, options) == local
    assert BENCHMARKS[name].remote({**options, "path": None})
    assert read(hub, home, name, options, HF_HUB_OFFLINE="1") == local, "from what was fetched before, with no network"


def test_what_was_downloaded_as_a_whole_is_read_without_a_network(tmp_path: Path) -> None:
    """The command that `validate` and `plan` print: hf download NAME --repo-type dataset."""
    folder, home = tmp_path / "rows", tmp_path / "home"
    options = WRITERS["wmdp"](folder)
    command = [str(Path(sys.executable).parent / "hf"), "download", "--repo-type", "dataset"]
    with serving(as_sets("wmdp", folder)) as hub:
        environment = {**os.environ, **ONLINE, "HF_ENDPOINT": hub.url, "HF_HOME": str(home)}
        for name in hub.sets:
            subprocess.run([*command, name], check=True, capture_output=True, timeout=60, env=environment)
    local = f"READ {load_benchmark('wmdp', options).digest()}"
    assert read(hub, home, "wmdp", options, HF_HUB_OFFLINE="1") == local
    assert read(hub, tmp_path / "empty", "wmdp", options, HF_HUB_OFFLINE="1").startswith("REFUSED data set cais/wmdp")


@pytest.mark.slow
def test_a_revision_is_the_one_that_is_asked_for(tmp_path: Path) -> None:
    options = WRITERS["muse"](tmp_path / "rows")
    sets = as_sets("muse", tmp_path / "rows")
    (repo,) = sets
    before = {config: dict(splits) for config, splits in sets[repo]["main"].items()}
    sets[repo]["v1"] = before
    sets[repo]["main"] = {**before, "knowmem": {**before["knowmem"], "forget_qa": [LATER, LATER]}}
    local = f"READ {load_benchmark('muse', options).digest()}"
    with serving(sets) as hub:
        newest = read(hub, tmp_path / "home", "muse", options)
        pinned = read(hub, tmp_path / "home", "muse", {**options, "revision": "v1"})
        by_commit = read(hub, tmp_path / "home", "muse", {**options, "revision": hub.commit(repo, "v1")})
        absent = read(hub, tmp_path / "home", "muse", {**options, "revision": "v9"})
    assert pinned == by_commit == local
    assert newest != local
    assert "REFUSED" in absent
    assert "Revision 'v9' doesn't exist" in absent


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path) -> None:
    with serving({}) as hub:
        pass
    said = read(hub, tmp_path, "rwku", {"subjects": ["Orla Beck"]}, HF_HUB_OFFLINE="1")
    assert said.startswith("REFUSED data set jinzhuoran/RWKU")
    assert "point benchmark.path at a folder with the files" in said


def test_what_is_unpinned_is_told_until_it_is_pinned() -> None:
    card = BENCHMARKS["wmdp"]
    assert card.unpinned({"path": None}) == ("revision", "corpora_revision", "mmlu_revision")
    assert card.unpinned({"path": None, "revision": "a", "mmlu_revision": "b"}) == ("corpora_revision",)
    assert card.unpinned({"path": "/there"}) == ()
    assert all(card.unpinned({card.local_option: None}) for card in BENCHMARKS.values() if card.hub)
