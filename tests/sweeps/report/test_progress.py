"""Oracle: the lines that a log written while the view runs must give."""

from __future__ import annotations

import errno
import io
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tests.sweeps.report.written_sweep import append_line, event_line, events_of, special, trial, write_sweep
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.store.training_progress import TrainingProgress
from unlearn_sweep.engine.study.front import front_of
from unlearn_sweep.sweeps.report.progress import LiveProgress


def _console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=140, color_system=None)


def _out(console: Console) -> str:
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def _wait(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("the view did not follow")


def _without_clock(text: str) -> list[str]:
    return [line[9:] for line in text.splitlines()]


def test_one_line_a_state_change_in_order(tmp_path: Path) -> None:
    console, record = _console(), trial(0)
    with LiveProgress(tmp_path, 3, console=console):
        for event in events_of([record], wanted=3):
            append_line(tmp_path / "events.jsonl", event_line(event))
    lines = _without_clock(_out(console))
    assert lines[0] == f"{tmp_path.name}: 0 of 3 trials settled"
    assert lines[1] == "prepare:start started"
    assert lines[2] == "prepare:start finished in 9.0 s"
    own = [line for line in lines if line.startswith("trial 0")]
    assert own[0] == "trial 0 (graddiff) started"
    assert own[1].startswith("trial 0 (graddiff): unlearn finished in")
    assert own[-1].startswith(
        f"trial 0 (graddiff) complete  UE {record.ue:.3f}  UT {record.ut:.3f}  Rob {record.rob:.3f}"
    )
    assert "[1/3, about" in own[-1]
    assert lines[-1].startswith("sweep finished in")


def test_the_passes_of_an_evaluation_are_told(tmp_path: Path) -> None:
    console = _console()
    with LiveProgress(tmp_path, 1, console=console):
        for event in events_of([trial(0)], wanted=1):
            if (event.event, event.stage) == ("stage_finished", "evaluate"):
                event = event.model_copy(update={"data": {"forward_passes": 7}})
            append_line(tmp_path / "events.jsonl", event_line(event))
    (line,) = [line for line in _without_clock(_out(console)) if "evaluate finished" in line and "trial 0" in line]
    assert line.endswith(", 7 forward passes")


def test_a_training_under_way_is_told_with_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearn_sweep.sweeps.report.progress.TRAINING_LINE_S", 0.0)
    sweep, console = tmp_path / "sweep", _console()
    sweep.mkdir()
    log = EventLog(sweep / "events.jsonl")
    with LiveProgress(sweep, 1, console=console) as live:
        log.append("sweep_started")
        log.append("stage_started", stage="prepare:gold", stage_key="0123456789abcdef")
        _wait(lambda: "prepare:gold started" in _out(console))
        said = TrainingProgress(
            step=3, steps=9, left_s=90.0, loss_name="train_cross_entropy", loss=0.5, time=time.time() + 1
        )
        said.write(StageStore(tmp_path).partial_folder("0123456789abcdef"))
        text = "step 3 of 9, train cross entropy 0.500, about 1 min 30 s left"
        _wait(lambda: f"prepare:gold: {text}" in _out(console))
        screen = _console()
        screen.print(live.view())
        assert text in _out(screen)


def test_lines_appear_while_the_sweep_runs(tmp_path: Path) -> None:
    console, log = _console(), EventLog(tmp_path / "events.jsonl")
    with LiveProgress(tmp_path, 1, console=console):
        log.append("sweep_started")
        log.append("stage_started", stage="prepare:gold", stage_key="g")
        _wait(lambda: "prepare:gold started" in _out(console))
        log.append("stage_failed", stage="prepare:gold", stage_key="g", seconds=2.0, reason="disk\nfull")
        _wait(lambda: "prepare:gold failed in 2.0 s: disk full" in _out(console))


def test_a_line_written_in_two_pieces_is_shown_once_and_whole(tmp_path: Path) -> None:
    console = _console()
    line = event_line(events_of([trial(0)], wanted=1)[1])
    with LiveProgress(tmp_path, 1, console=console):
        append_line(tmp_path / "events.jsonl", line[:15])
        time.sleep(0.6)
        append_line(tmp_path / "events.jsonl", line[15:])
        _wait(lambda: "prepare:start started" in _out(console))
    assert _out(console).count("prepare:start started") == 1


def test_a_resumed_sweep_starts_from_what_is_settled_and_repeats_no_line(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", [trial(0), trial(1), special(2, "duplicate")], ended=None, wanted=5)
    console = _console()
    with LiveProgress(folder, 5, console=console):
        EventLog(folder / "events.jsonl").append("trial_started", trial=3, attempt=2, data={"method": "npo"})
    assert _without_clock(_out(console)) == ["demo: 2 of 5 trials settled", "trial 3 (npo) started (attempt 2)"]


def test_skipped_and_reused_stages_say_so(tmp_path: Path) -> None:
    console, log = _console(), EventLog(tmp_path / "events.jsonl")
    with LiveProgress(tmp_path, 1, console=console):
        log.append("stage_reused", trial=4, stage="unlearn", seconds=0.0)
        log.append("attack_skipped", trial=4, stage="attack:relearn", reason="beaten")
    text = _out(console)
    assert "trial 4: unlearn reused" in text
    assert "trial 4: attack:relearn skipped: beaten" in text


def test_the_live_view_shows_bar_running_trials_and_front(tmp_path: Path) -> None:
    trials = [trial(number) for number in range(4)]
    folder = write_sweep(tmp_path / "demo", trials, running=1, ended=None, wanted=8)
    console = _console(terminal=True)
    with LiveProgress(folder, 8, console=console) as view:
        assert view.settled == 4
    text = _out(console)
    assert "4/8 trials" in text
    assert "about" in text
    assert "trial 4" in text
    assert "unlearn" in text
    best = next(record for record in trials if record.key in front_of(trials, wanted=8).front)
    assert f"{best.ue:.3f}" in text


def test_the_live_view_shows_the_preparation_before_the_first_trial(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", [], ended=None, front=False, wanted=3)
    log = EventLog(folder / "events.jsonl")
    log.append("stage_started", stage="prepare:late", stage_key="l")
    log.append("stage_reused", stage="prepare:known", stage_key="k", seconds=0.0)
    console = _console()
    with LiveProgress(folder, 3, console=console, plain=False):
        pass
    text = _out(console)
    assert re.search(r"prepare:original +finished in 9\.0 s", text)
    assert re.search(r"prepare:late +running for", text)
    assert re.search(r"prepare:known +reused", text)


def test_texts_are_never_markup_and_secrets_are_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", "correct-horse-battery")
    console, log = _console(), EventLog(tmp_path / "events.jsonl")
    with LiveProgress(tmp_path, 1, console=console):
        log.append("stage_failed", trial=0, stage="[bold]unlearn", reason="[red]401 for correct-horse-battery")
    text = _out(console)
    assert "[bold]unlearn failed: [red]401 for [HUB_TOKEN]" in text


def test_a_terminal_that_is_gone_ends_the_view_and_not_the_sweep(tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            if "started" in text:
                raise OSError(errno.EIO, "the terminal was closed")
            return super().write(text)

    log = EventLog(tmp_path / "events.jsonl")
    with LiveProgress(tmp_path, 1, console=Console(file=Gone(), width=100)) as view:
        log.append("stage_started", stage="prepare:gold", stage_key="g")
        _wait(lambda: not view._thread.is_alive())


def test_a_closed_pipe_ends_the_view_and_not_the_sweep(tmp_path: Path) -> None:
    """As in `unlearn-sweep run FILE | head -1`."""
    program = f"""
import sys, time
from pathlib import Path
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.sweeps.report.progress import LiveProgress
folder = Path({str(tmp_path)!r})
with LiveProgress(folder, 9):
    sys.stdin.readline()
    for number in range(3):
        EventLog(folder / "events.jsonl").append("stage_started", stage=f"prepare:{{number}}")
        time.sleep(0.6)
(folder / "done").write_text("the sweep went on")
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert "0 of 9 trials settled" in process.stdout.readline()
    process.stdout.close()
    process.stdin.write("go on\n")
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "done").exists()


def test_an_error_inside_the_block_goes_through(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="inner"), LiveProgress(tmp_path, 1, console=_console()):
        raise KeyError("inner")


def test_following_a_long_log_reads_only_what_is_new(tmp_path: Path) -> None:
    """Five hundred settled trials: a step without news takes far less than the interval between steps."""
    folder = write_sweep(tmp_path / "demo", [trial(number) for number in range(500)], ended=None, front=False)
    view = LiveProgress(folder, 1000, console=_console())
    assert len(view._new_events()) > 5000
    began = time.process_time()
    for _ in range(100):
        assert view._new_events() == []
    assert time.process_time() - began < 1.0
