"""What goes into a mirror, out of it and comes back. Oracle: listings written by hand, and what must follow."""

from __future__ import annotations

from unlearn_sweep.engine.mirror.plan import (
    bytes_told,
    conflict,
    missing,
    models_to_remove,
    models_worth_keeping,
    records_of,
    sweep_files,
    whole_models,
    whole_stages,
)

THERE = {
    "store/stages/a/stage.json": 10,
    "store/stages/a/rows.parquet": 100,
    "store/stages/half/rows.parquet": 100,
    "store/stages/cut/.stage.json.w.part": 3,
    "store/models/m/config.json": 5,
    "store/models/m/model.safetensors": 1000,
    "store/models/m/.complete": 60,
    "store/models/half/model.safetensors": 1000,
    "store/models/cut/.model.safetensors.w.part": 7,
    "one/spec.lock.yaml": 1,
    "one/driver.json": 1,
    "one/trials/0.json": 50,
    "one/trials/10.json": 51,
    "one/trials/.1.json.w.part": 2,
    "one/report/index.html": 9,
    "one.two/trials/3.json": 50,
}


def test_a_stage_without_its_last_file_is_none() -> None:
    assert whole_stages(THERE) == {"a": {"stage.json": 10, "rows.parquet": 100}}


def test_a_model_without_its_mark_is_none() -> None:
    assert whole_models(THERE) == {"m": {"config.json": 5, "model.safetensors": 1000}}


def test_records_are_those_of_the_sweep_and_written_to_their_end() -> None:
    assert records_of(THERE, "one") == {0: 50, 10: 51}
    assert records_of(THERE, "one.two") == {3: 50}
    assert records_of(THERE, "on.") == {}


def test_a_sweep_is_fetched_without_the_mark_of_its_driver() -> None:
    assert sweep_files(THERE, "one") == ["report/index.html", "spec.lock.yaml", "trials/0.json", "trials/10.json"]


def test_what_is_missing_is_named_once_in_the_order_wanted() -> None:
    assert missing(["c", "a", "b", "c"], {"a"}) == ["c", "b"]


def test_models_that_trials_need_go_before_those_of_the_front() -> None:
    stages = {"u": "unlearn", "o": "prepare:original", "r": "reinforce", "e": "evaluate", "l": "link:quantize"}
    assert models_worth_keeping(stages, ["u", "o"]) == ["o", "r", "u"]


def test_only_own_models_that_nobody_has_on_a_front_are_removed() -> None:
    there = {"original", "mine", "beaten", "shared", "theirs"}
    own = {"mine", "beaten", "shared"}
    assert models_to_remove(there, own, kept={"mine", "original"}, others={"shared"}) == ["beaten"]


def test_records_that_are_not_here_are_not_overwritten() -> None:
    assert conflict({0, 1, 2}, {0, 1}) is None
    assert conflict({0, 1}, {0, 1}) is None
    assert conflict({0}, {0, 1, 2}) == "the mirror has 3 settled trials, here are 1, and not its 1, 2"
    assert conflict({1, 2}, {0}) == "the mirror has 1 settled trial, here are 2, and not its 0"


def test_bytes_as_people_read_them() -> None:
    assert [bytes_told(size) for size in (0, 999, 1500, 12_340_000, 3 * 10**12)] == [
        "0 bytes",
        "999 bytes",
        "1.5 kB",
        "12.3 MB",
        "3.0 TB",
    ]
