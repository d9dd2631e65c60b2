"""MLflow against real sqlite stores. Oracle: the records that were written; for idempotency, the database itself."""

from __future__ import annotations

import io
import json
import math
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.support.mlflow_store import artifact, client_of, contents, runs_of, sink_of
from tests.support.outcomes import trained
from tests.support.sweep_folder import front_of, relearn, trial, write_front, write_sweep, write_trial
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import Objective, SeedScore
from unlearn_sweep.engine.tracking.fields import PARAM_CHARS
from unlearn_sweep.engine.tracking.runs import default_tracking_uri
from unlearn_sweep.engine.tracking.sink import MlflowSink

LONG = "x" * 7000


def test_a_run_for_the_sweep_and_one_for_each_settled_trial(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(n) for n in range(3)])
    write_trial(folder, trial(3, state="running"))
    assert sink_of(folder).catch_up() == 3
    (parent,) = runs_of(folder, "sweep")
    children = runs_of(folder)
    assert [run.info.run_name for run in children] == ["000 npo", "001 npo", "002 npo"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert children[1].info.start_time == round(trial(1).started * 1000)
    assert children[1].info.end_time == round(trial(1).finished * 1000)


def test_a_finalist_has_mean_and_deviation_over_its_seeds(storage: Path) -> None:
    """Oracle: the standard library's statistics over the trial's own value and those of its seeds."""
    own = trial(1, ue=0.5, ut=0.9, rob=0.4)
    fields = {"state": "complete", "ut": 0.8, "rob": 0.3, "started": 1.0, "finished": 2.0}
    scores = [SeedScore(seed=8, key="a", ue=0.6, **fields), SeedScore(seed=9, key="b", ue=0.7, **fields)]
    lost = SeedScore(seed=10, key="c", state="failed", started=1.0, finished=2.0, reason="no memory")
    folder = write_sweep(storage / "demo", [trial(0), own.model_copy(update={"seeds": [scores[0]]})])
    sink_of(folder).catch_up()
    write_trial(folder, own.model_copy(update={"seeds": [*scores, lost]}))
    assert sink_of(folder).catch_up() == 1
    before, run = runs_of(folder)
    assert run.data.metrics["seeds.ue.mean"] == pytest.approx(statistics.mean([0.5, 0.6, 0.7]))
    assert run.data.metrics["seeds.ue.deviation"] == pytest.approx(statistics.stdev([0.5, 0.6, 0.7]))
    assert run.data.metrics["seeds.rob.mean"] == pytest.approx(statistics.mean([0.4, 0.3, 0.3]))
    assert (run.data.metrics["seeds.runs"], run.data.metrics["seeds.complete"]) == (4, 3)
    assert run.data.tags["seeds.lost"] == "seed 10 failed: no memory"
    assert run.data.metrics["ue"] == 0.5
    assert not [name for name in before.data.metrics if name.startswith("seeds.")]


def test_params_metrics_and_tags_of_a_trial(storage: Path) -> None:
    record = trial(2, rob_is_bound=True, reused_stages=["evaluate"])
    folder = write_sweep(storage / "demo", [record])
    sink_of(folder).catch_up()
    (run,) = runs_of(folder)
    assert run.data.params == {
        "method": "npo",
        "seed": "7",
        "npo.beta": "0.1",
        "npo.number": "2",
        "learning_rate": "1e-05",
        "retain": "kl",
    }
    metrics = run.data.metrics
    assert metrics["ue"] == record.ue
    assert metrics["unseen.rob"] == record.report_rob
    assert metrics["ue.probability"] == pytest.approx(0.52)
    assert metrics["value.forget.probability"] == 0.25
    assert metrics["ut.retain.rouge_l"] == pytest.approx(0.88)
    assert metrics["rob.relearn"] == 0.4
    assert metrics["rob.relearn.utility"] == 0.8
    assert metrics["seconds.unlearn"] == 3.5
    assert metrics["seconds.attack.relearn"] == 1.25
    assert metrics["seconds.stages"] == 4.75
    assert metrics["search.log10_learning_rate"] == pytest.approx(-5)
    tags = run.data.tags
    expected = {
        "method": "npo",
        "benchmark": "authors",
        "seed": "7",
        "state": "complete",
        "trial_key": record.key,
        "trial_number": "2",
        "on_front": "yes",
        "rob_is_bound": "yes",
        "reused_stages": "evaluate",
    }
    assert expected.items() <= tags.items()
    assert "reason" not in tags


def test_curves_have_a_point_for_each_step(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(0)])
    sink_of(folder).catch_up()
    (run,), (parent,) = runs_of(folder), runs_of(folder, "sweep")

    def history(run_id: str, name: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in client_of(folder).get_metric_history(run_id, name)]

    assert history(run.info.run_id, "train/forget") == [(0, 2.0), (10, 1.5), (20, 1.0)]
    attack = history(run.info.run_id, "strength/relearn/still_forgotten")
    assert [step for step, _ in attack] == [5, 20, 100]
    assert attack[2][1] == pytest.approx(0.4)
    assert history(parent.info.run_id, "hypervolume") == [(1, 0.1)]


def test_the_sweeps_run_holds_front_controls_spec_and_report(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(n) for n in range(2)])
    (folder / "report").mkdir()
    (folder / "report" / "index.html").write_text("<html>front</html>")
    sink_of(folder).catch_up()
    (parent,) = runs_of(folder, "sweep")
    table = artifact(folder, parent, "front.json")
    assert table["columns"][:4] == ["trial", "key", "method", "seed"]
    assert [line[0] for line in table["data"]] == [0]
    assert artifact(folder, parent, "report/index.html") == "<html>front</html>"
    assert "torch" in artifact(folder, parent, "spec.lock.yaml")
    assert parent.data.metrics["control.gold.ue"] == 1.0
    assert parent.data.tags["trials.complete"] == "2"
    (first, _) = runs_of(folder)
    # What makes MLflow show an artifact as a table, and how it reads one.
    assert json.loads(first.data.tags["mlflow.loggedArtifacts"]) == [{"path": "attack_curves.json", "type": "table"}]
    attacks = pd.read_json(io.StringIO(json.dumps(artifact(folder, first, "attack_curves.json"))), orient="split")
    assert list(attacks["strength"]) == [5.0, 20.0, 100.0]


def test_twice_changes_nothing(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(n) for n in range(3)])
    sink_of(folder).catch_up()
    before, noted = contents(folder), (folder / "mlflow.json").stat().st_mtime_ns
    sink = sink_of(folder)
    assert (sink.catch_up(), sink.catch_up()) == (0, 0)
    assert contents(folder) == before
    assert (folder / "mlflow.json").stat().st_mtime_ns == noted


def test_runs_are_found_again_without_the_id_file_and_from_another_place(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(0)])
    sink_of(folder).catch_up()
    before = contents(folder)
    (folder / "mlflow.json").unlink()
    assert sink_of(folder).catch_up() == 0
    (folder / "mlflow.json").write_text("{torn")
    assert sink_of(folder).catch_up() == 0
    moved = shutil.copytree(folder, storage / "elsewhere" / "demo", ignore=shutil.ignore_patterns("mlflow.json"))
    assert MlflowSink(moved, default_tracking_uri(storage), "demo").catch_up() == 0
    assert contents(folder) == before


def count_calls(monkeypatch: pytest.MonkeyPatch, fail_at: int | None = None) -> list[str]:
    """Count writes that reach the store, and raise instead of one of them."""
    calls: list[str] = []

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == fail_at:
                raise MlflowException("the connection is gone")
            return real(*args, **kwargs)

        return call

    for name in ("create_run", "log_batch", "log_dict", "log_text", "set_terminated"):
        monkeypatch.setattr(MlflowClient, name, wrap(name, getattr(MlflowClient, name)))
    return calls


def described(folder: Path) -> list[tuple[Any, ...]]:
    """What the runs say, leaving out the sweep's name and ids."""
    skip = ("mlflow.parentRunId", "mlflow.runName", "sweep", "sweep_id", "sweep_digest")
    return [
        (
            run.info.status,
            sorted(run.data.params.items()),
            sorted(run.data.metrics.items()),
            sorted((name, value) for name, value in run.data.tags.items() if name not in skip),
        )
        for kind in ("sweep", "trial")
        for run in runs_of(folder, kind)
    ]


def test_interrupted_at_every_single_write_and_completed_without_duplicates(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def points(folder: Path) -> int:
        mine = {run.info.run_id for kind in ("sweep", "trial") for run in runs_of(folder, kind)}
        return sum(bool(mine & set(row)) for row in contents(folder)["metrics"])

    trials = [trial(0)]
    folder = write_sweep(storage / "whole", trials)
    with monkeypatch.context() as patch:
        writes = count_calls(patch)
        sink_of(folder).catch_up()
    whole, all_points = described(folder), points(folder)
    assert len(writes) > 15
    for fail_at in range(1, len(writes) + 1):
        folder = write_sweep(storage / f"at{fail_at}", trials)
        sink = sink_of(folder)
        with monkeypatch.context() as patch:
            count_calls(patch, fail_at)
            with pytest.raises(MlflowException, match="connection is gone"):
                sink.catch_up()
        if fail_at % 2:  # the same process goes on, or a new one does
            sink = sink_of(folder)
        sink.catch_up()
        assert described(folder) == whole, f"stopped at write {fail_at}: {writes[fail_at - 1]}"
        assert points(folder) == all_points


def test_front_membership_follows_the_front(storage: Path) -> None:
    trials = [trial(n) for n in range(3)]
    folder = write_sweep(storage / "demo", trials[:2], state=None)
    sink = sink_of(folder)
    sink.catch_up()
    assert runs_of(folder, "sweep")[0].info.status == "RUNNING"
    write_trial(folder, trials[2])
    write_front(folder, front_of(trials, trials[1:], wanted=3))
    EventLog(folder / "events.jsonl").append("sweep_finished")
    assert sink.catch_up() == 1
    assert [run.data.tags["on_front"] for run in runs_of(folder)] == ["no", "yes", "yes"]
    (parent,) = runs_of(folder, "sweep")
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["hypervolume"] == pytest.approx(0.3)
    assert len(client_of(folder).get_metric_history(parent.info.run_id, "hypervolume")) == 3


def test_a_tag_that_changes_and_changes_back(storage: Path) -> None:
    """One process writes all three: what it remembers of a run must not hide the second change."""
    folder = write_sweep(storage / "demo", [trial(0, stage_keys={"unlearn": "aa"})])
    sink = sink_of(folder)
    for attempts in (1, 2, 1):
        write_trial(folder, trial(0, stage_keys={"unlearn": "aa"}, attempts=attempts))
        sink.catch_up()
        (run,) = runs_of(folder)
        assert run.data.tags["attempts"] == str(attempts)
        assert run.info.status == "FINISHED"


def test_an_extended_sweep_runs_again(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(0)])
    sink_of(folder).catch_up()
    EventLog(folder / "events.jsonl").append("sweep_resumed")
    sink_of(folder).catch_up()
    assert runs_of(folder, "sweep")[0].info.status == "RUNNING"


def test_missing_and_non_finite_numbers_are_tags_with_a_reason(storage: Path) -> None:
    record = trial(
        0,
        state="collapsed",
        reason="loss above its cap",
        rob=None,
        report_rob=None,
        ut_detail=Objective(value=None, reason="no utility rows"),
        ut=None,
        attacks=[relearn(0.4).model_copy(update={"value": None, "reason": "dominated", "skipped": True, "curve": ()})],
        training=trained(curve=[{"step": 0, "forget": math.inf}, {"step": 1, "forget": 2.0}]),
    )
    folder = write_sweep(storage / "demo", [record])
    sink_of(folder).catch_up()
    (run,) = runs_of(folder)
    assert not {"ut", "rob", "rob.relearn", "train/terms", "train/relative_change"} & set(run.data.metrics)
    assert all(math.isfinite(value) and abs(value) < 1e300 for value in run.data.metrics.values())
    assert run.data.metrics["train/forget"] == 2.0
    tags = run.data.tags
    assert tags["state"] == "collapsed"
    assert tags["no_value.ut"] == "no utility rows"
    assert tags["no_value.rob"] == "loss above its cap"
    assert tags["no_value.rob.relearn"] == "dominated"
    assert tags["no_value.train/forget"].startswith("1 of 2")


def test_failed_and_duplicate_trials(storage: Path) -> None:
    nothing = {"ue": None, "ut": None, "rob": None}
    failed = trial(0, state="failed", reason="OutOfMemoryError: 80 GiB", failed_stage="unlearn", **nothing)
    twin = trial(2, key=trial(1).key, state="duplicate", duplicate_of=1)
    folder = write_sweep(storage / "demo", [failed, trial(1), twin])
    write_front(folder, front_of([trial(1)], [trial(1)], wanted=3))
    sink_of(folder).catch_up()
    first, second, third = runs_of(folder)
    assert first.info.status == "FAILED"
    assert first.data.tags["failed_stage"] == "unlearn"
    assert first.data.tags["reason"] == "OutOfMemoryError: 80 GiB"
    assert (second.data.tags["on_front"], third.data.tags["on_front"]) == ("yes", "no")
    assert third.data.tags["duplicate_of"] == "1"


def test_long_and_odd_names_and_values(storage: Path) -> None:
    params = {"note": LONG, "layers": "7,8", "a=b[c]": 1, "a+b": 2, "a-with-b": 3, "../up": 4}
    record = trial(0, method="dpo>idk_ap", params=params, reason=LONG)
    folder = write_sweep(storage / "demo", [record])
    sink_of(folder).catch_up()
    (run,) = runs_of(folder)
    stored = run.data.params
    assert len(stored["dpo-then-idk_ap.note"]) == PARAM_CHARS
    assert "sha256:" in stored["dpo-then-idk_ap.note"]
    assert artifact(folder, run, "long_params.json") == {"dpo-then-idk_ap.note": LONG}
    assert stored["dpo-then-idk_ap.layers"] == "7,8"
    assert stored["dpo-then-idk_ap.a_b_c_"] == "1"
    assert {stored["dpo-then-idk_ap.a-with-b"], stored["dpo-then-idk_ap.a-with-b_2"]} == {"2", "3"}
    assert "4" in stored.values()
    assert len(run.data.tags["reason"]) == 5000


def test_a_changed_record_replaces_its_run_where_mlflow_cannot_change_it(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(0), trial(1)])
    sink = sink_of(folder)
    sink.catch_up()
    before = [run.info.run_id for run in runs_of(folder)]
    write_trial(folder, trial(0, report_ue=0.75, finished=trial(0).finished + 5))
    write_trial(folder, trial(1, key="f" * 16, params={"beta": 0.9}))
    assert sink.catch_up() == 2
    first, second = runs_of(folder)
    assert first.info.run_id == before[0]
    assert first.data.metrics["unseen.ue"] == 0.75
    assert second.info.run_id != before[1]
    assert second.data.params["npo.beta"] == "0.9"


def test_a_deleted_experiment_or_run_comes_back(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(0), trial(1)])
    sink = sink_of(folder)
    sink.catch_up()
    client = client_of(folder)
    client.delete_run(runs_of(folder)[0].info.run_id)
    assert sink_of(folder).catch_up() == 1
    experiment = client.get_experiment_by_name("demo")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    sink_of(folder).catch_up()
    assert len(runs_of(folder)) == 2


def test_a_broken_record_is_named_and_does_not_stop_the_others(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(0)])
    (folder / "trials" / "1.json").write_text('{"number": 1}')
    sink = sink_of(folder)
    assert sink.catch_up() == 1
    assert list(sink.unreadable) == ["trials/1.json"]


def test_secrets_of_the_environment_are_not_logged(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "correct-horse-battery"
    monkeypatch.setenv("JUDGE_API_KEY", secret)
    folder = write_sweep(storage / "demo", [trial(0, reason=f"401 for {secret}", params={"header": f"key {secret}"})])
    (folder / "spec.lock.yaml").write_text(f"name: demo\njudge: {{key: {secret}}}\n")
    sink_of(folder).catch_up()
    files = [path for path in storage.rglob("*") if path.is_file() and not path.is_relative_to(folder)]
    assert files
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
    assert runs_of(folder)[0].data.tags["reason"] == "401 for [JUDGE_API_KEY]"
