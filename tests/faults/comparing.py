"""What two runs of one sweep must have in common, whatever was killed in between."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

# Times, attempts and where things lie differ between runs; everything else is a result.
OF_ONE_RUN = ("started", "finished", "stage_seconds", "reused_stages", "attempts", "model_path", "training", "seal")


def results(sweep: Path) -> dict[int, dict[str, Any]]:
    """The records of a sweep's trials by number, without what belongs to one run only."""
    found = {}
    for path in (sweep / "trials").glob("*.json"):
        record = json.loads(path.read_bytes())
        found[record["number"]] = _lasting(record) | {"seeds": [_lasting(seed) for seed in record["seeds"]]}
    return found


def differences(mine: Path, theirs: Path) -> list[str]:
    """Which fields of which trials differ between two sweeps, with both values; empty where none does."""
    ours, others = results(mine), results(theirs)
    found = [f"trial {number} is in one only" for number in sorted(ours.keys() ^ others.keys())]
    for number in sorted(ours.keys() & others.keys()):
        one, other = ours[number], others[number]
        found += [
            f"trial {number}: {name}: {one.get(name)} / {other.get(name)}"
            for name in sorted(one.keys() | other.keys())
            if one.get(name) != other.get(name)
        ]
    return found


def finished_stages(sweep: Path) -> Counter[str]:
    """How often each stage was finished, by key."""
    return Counter(event["stage_key"] for event in events(sweep) if event["event"] == "stage_finished")


def reused_stages(sweep: Path) -> set[str]:
    """Keys of the stages that were found finished."""
    return {event["stage_key"] for event in events(sweep) if event["event"] == "stage_reused"}


def events(sweep: Path) -> list[dict[str, Any]]:
    """Whole lines of the event log; a line torn by a kill is passed over."""
    path, found = sweep / "events.jsonl", []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def left_behind(sweep: Path, storage: Path) -> list[str]:
    """What a finished sweep should not leave: models in use, stages without a result, scratch of killed processes."""
    in_use = [f"in_use/{path.name}" for path in (sweep / "in_use").glob("*") if not path.name.startswith(".")]
    stages = {path.name for path in (storage / "store" / "stages").iterdir() if not path.name.startswith(".")}
    broken = [key for key in stages if not (storage / "store" / "stages" / key / "stage.json").exists()]
    scratch = [path.name for kind in ("stages", "models") for path in (storage / "store" / kind).glob(".*")]
    return in_use + broken + scratch


def _lasting(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in OF_ONE_RUN}
