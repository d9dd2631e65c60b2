"""Two sweeps over one store. Oracles: which folders are there, and the fronts worked out by hand."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.sweep_folder import trial, write_trial
from unlearn_sweep.engine.store.retention import Keeper, Retention
from unlearn_sweep.engine.store.stages import ADAPTER_FILE, StageStore

BYTES = 1000


def _model(store: StageStore, key: str) -> None:
    folder = store.model_folder(key)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"0" * BYTES)


def _there(store: StageStore) -> set[str]:
    return {path.name for path in (store.root / "models").iterdir()}


def _record(storage: Path, sweep: str, number: int, point: tuple[float, float, float], model: str, **more: Any) -> None:
    ue, ut, rob = point
    record = trial(number, ue=ue, ut=ut, rob=rob, stage_keys={"unlearn": model}, **more)
    write_trial(storage / sweep, record)
    _model(StageStore(storage), model)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Sweep a: m0 beats m1, shared is beaten. Sweep b: shared is alone on the front, m2 pruned. An original beside."""
    _record(tmp_path, "a", 0, (0.9, 0.9, 0.9), "m0")
    _record(tmp_path, "a", 1, (0.5, 0.5, 0.5), "m1")
    _record(tmp_path, "a", 2, (0.4, 0.4, 0.4), "shared")
    _record(tmp_path, "b", 0, (0.4, 0.4, 0.4), "shared")
    _record(tmp_path, "b", 1, (1.0, 1.0, 1.0), "m2", rob_is_bound=True)
    _model(StageStore(tmp_path), "original")
    return tmp_path


def test_a_model_on_another_sweeps_front_stays(storage: Path) -> None:
    store = StageStore(storage)
    assert Retention(store, storage / "a").evict() == ["m1"]
    assert _there(store) == {"m0", "shared", "m2", "original"}  # m2 is for b's driver to remove


def test_without_a_limit_each_sweep_removes_its_own(storage: Path) -> None:
    store = StageStore(storage)
    assert Retention(store, storage / "b").evict() == ["m2"]
    assert _there(store) == {"m0", "m1", "shared", "original"}


def test_a_model_that_a_trial_of_any_sweep_works_on_stays_until_it_is_released(storage: Path) -> None:
    store = StageStore(storage)
    other = Retention(store, storage / "c")  # a sweep that has no record yet
    other.hold("5", "m1")
    assert Retention(store, storage / "a").evict() == []
    other.release("5")
    assert Retention(store, storage / "a").evict() == ["m1"]


def test_a_sweep_that_trains_none_removes_only_what_an_adapter_can_restore(storage: Path) -> None:
    store = StageStore(storage)
    _record(storage, "a", 4, (0.3, 0.3, 0.3), "adapted")
    retention = Retention(store, storage / "a", evicts=False)
    assert retention.evict() == []
    store.stage_folder("adapted").mkdir(parents=True)
    (store.stage_folder("adapted") / ADAPTER_FILE).write_bytes(b"a")
    assert retention.evict() == ["adapted"]
    assert store.has_adapter("adapted")
    assert not store.has_weights("adapted")


def test_a_changed_front_is_seen_at_the_next_look(storage: Path) -> None:
    retention = Retention(StageStore(storage), storage / "a")
    assert retention.evict() == ["m1"]
    _record(storage, "a", 3, (1.0, 1.0, 1.0), "m3")
    assert retention.evict() == ["m0"]


def test_with_a_limit_the_oldest_of_all_sweeps_go_first_and_only_as_many_as_needed(storage: Path) -> None:
    store = StageStore(storage)  # five models; m1 and m2 may go, and m1 (trial 1 of a) was finished no later than m2
    _record(storage, "a", 9, (0.1, 0.1, 0.1), "young")
    retention = Retention(store, storage / "a", limit_bytes=5 * BYTES)
    assert retention.evict() == ["m1"]
    assert retention.evict() == []
    assert retention.evict(reserve_bytes=BYTES) == ["m2"]
    assert _there(store) == {"m0", "shared", "young", "original"}


def test_a_limit_that_front_members_fill_evicts_none_of_them_and_says_why_nothing_fits(storage: Path) -> None:
    store = StageStore(storage)
    retention = Retention(store, storage / "a", limit_bytes=2 * BYTES)
    assert retention.obstacle(0) is None
    retention.evict(reserve_bytes=BYTES)
    assert {"m0", "shared", "original"} == _there(store)
    assert "storage_limit_gib" in (retention.obstacle(BYTES) or "")


def test_a_record_that_cannot_be_read_stops_all_removal(storage: Path) -> None:
    (storage / "b" / "trials" / "7.json").write_text('{"number": 7, "key"')
    assert Retention(StageStore(storage), storage / "a").evict() == []


def test_a_model_let_go_while_the_records_are_read_stays_if_its_record_says_so(storage: Path) -> None:
    """A trial of another sweep ends in the middle of the look: its record, on a front, comes after that was read."""
    store = StageStore(storage)
    other = Retention(store, storage / "0")  # first in order, so that its records are read before those of `a`
    (storage / "0" / "trials").mkdir(parents=True)
    other.hold("0", "m1")

    class Looking(Retention):
        def _keeper(self, path: Path) -> Keeper:
            if (storage / "0" / "in_use" / "0").exists():
                _record(storage, "0", 0, (0.5, 0.5, 0.5), "m1")
                other.release("0")
            return super()._keeper(path)

    assert Looking(store, storage / "a").evict() == []
    assert Retention(store, storage / "a").evict() == []  # and now its record says so


def test_a_file_of_a_model_in_use_may_go_between_listing_and_reading(storage: Path) -> None:
    """A link to nothing is what such a file is: listed, and not there when it is read."""
    (storage / "b" / "in_use").mkdir()
    (storage / "b" / "in_use" / "7").symlink_to(storage / "gone")
    assert Retention(StageStore(storage), storage / "a").evict() == ["m1"]


def test_a_trial_finds_its_model_or_trains_it_however_often_it_is_evicted(storage: Path) -> None:
    """One thread holds, looks and reads; another evicts all the time. The reader must never lose what it found."""
    store, lost, done = StageStore(storage), [], threading.Event()

    def work() -> None:
        mine = Retention(store, storage / "c")
        for _ in range(60):
            mine.hold("0", "m1")
            if not store.model_folder("m1").is_dir():
                _model(store, "m1")
            for _ in range(20):
                if not (store.model_folder("m1") / "model.safetensors").exists():
                    lost.append(1)
            mine.release("0")
        done.set()

    evicted = 0
    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        evicted += len(Retention(store, storage / "a").evict())
    thread.join()
    assert evicted > 0
    assert lost == []


def test_a_share_waits_for_its_trial_and_goes_at_the_end_without_one(storage: Path) -> None:
    """m1 lost its place on the front; w waits for a trial that never runs, and f is on the front of a sweep."""
    store = StageStore(storage)
    for key in ("w", "f"):
        _model(store, key)
    _record(storage, "a", 9, (0.99, 0.99, 0.99), "f")
    mine = Retention(store, storage / "a")
    for key in ("w", "f", "m1"):
        mine.hold_share(key)
    assert "m1" not in mine.evict()
    mine.release_share("m1")
    assert "m1" in mine.evict()
    assert {"w", "f"} <= _there(store)
    mine.drop_shares()
    assert "w" not in _there(store)
    assert "f" in _there(store)
    assert not list((storage / "a" / "in_use").iterdir())
    mine.release_share(None)


def test_a_share_that_a_trial_of_another_sweep_uses_stays(storage: Path) -> None:
    store = StageStore(storage)
    _model(store, "w")
    mine, other = Retention(store, storage / "a"), Retention(store, storage / "c")
    mine.hold_share("w")
    other.hold("5", "w")
    mine.drop_shares()
    assert "w" in _there(store)


def test_shares_stay_while_a_record_cannot_be_read(storage: Path) -> None:
    store = StageStore(storage)
    _model(store, "w")
    mine = Retention(store, storage / "a")
    mine.hold_share("w")
    (storage / "a" / "trials" / "7.json").write_text("{")
    mine.drop_shares()
    assert "w" in _there(store)
