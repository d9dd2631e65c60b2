"""Settings, history and training curves in a real browser. Oracles: the records, and closed forms of the smoothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import accumulate
from math import exp
from pathlib import Path

import pytest

from tests.support.chromium import BROWSER, Tab, opened
from tests.support.outcomes import trained
from tests.sweeps.report.written_sweep import controls, mixed_trials, write_sweep
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.sweeps.report.build import build_report

pytestmark = [pytest.mark.browser, pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine")]
TRAINED = 3
DRAWN = "dispatchEvent(new Event('beforeprint')); dispatchEvent(new Event('afterprint'))"
Look = Callable[[Callable[[Tab], Awaitable[None]]], None]


def trials() -> list[TrialRecord]:
    """Thirty complete trials and one of every other kind; only trial 3 has a longer loss curve."""
    curve = [{"step": float(step), "forget": 2.0 * step, "forget_cross_entropy": 0.5 * step} for step in range(1, 9)]
    found = mixed_trials(30)
    found[TRAINED] = found[TRAINED].model_copy(update={"training": trained(curve=curve)})
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(write_sweep(tmp_path_factory.mktemp("sweeps") / "demo", trials())).page


@pytest.fixture
def look(page: Path, tmp_path: Path) -> Look:
    def run(examine: Callable[[Tab], Awaitable[None]]) -> None:
        async def session() -> None:
            async with opened(page, tmp_path / "profile") as tab:
                await tab.value(DRAWN)
                await examine(tab)
                assert tab.of("Runtime.exceptionThrown") == []

        asyncio.run(session())

    return run


def test_contours_are_weighted_means_and_blank_where_no_trial_is_near(look: Look) -> None:
    async def examine(tab: Tab) -> None:
        corner = "smoothed([{u: 0, v: 0, z: 0.2}, {u: 1, v: 1, z: 0.8}])"
        far = exp(-2 / (2 * (0.5 * 2 ** (-1 / 3)) ** 2))  # the weight of the other trial, at a distance of sqrt(2)
        assert await tab.value(f"{corner}[0][0]") == pytest.approx((0.2 + 0.8 * far) / (1 + far))
        assert await tab.value(f"{corner}[GRID - 1][GRID - 1]") == pytest.approx((0.8 + 0.2 * far) / (1 + far))
        assert await tab.value(f"{corner}[0][GRID - 1]") is None
        dots = "document.getElementById('plot-contour-ue').data[1].customdata"
        method = await tab.value("byId('setting-method').value")
        assert await tab.value(dots) == [
            one.number for one in trials() if one.method == method and one.state != "duplicate" and one.ue is not None
            and one.report_ue is not None
        ]  # fmt: skip
        bound = next(one.number for one in trials() if one.rob_is_bound)
        assert bound not in await tab.value("document.getElementById('plot-contour-rob').data[1].customdata")

    look(examine)


def test_a_box_on_an_axis_keeps_the_lines_that_cross_it(look: Look) -> None:
    place = """(() => {
      const div = document.getElementById("plot-parallel");
      div.scrollIntoView({behavior: "instant", block: "center"});
      const axis = div.layout.xaxis.ticktext.indexOf("UE");
      const box = div.getBoundingClientRect(), size = div._fullLayout._size;
      const {xaxis, yaxis} = div._fullLayout;
      const at = (x, y) => [box.left + size.l + xaxis.l2p(x), box.top + size.t + yaxis.l2p(y)];
      return [...at(axis - 0.1, 1.03), ...at(axis + 0.1, 0.7)];
    })()"""

    async def examine(tab: Tab) -> None:
        left, top, right, bottom = await tab.value(place)
        await tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=left, y=top)
        await tab.call("Input.dispatchMouseEvent", type="mousePressed", x=left, y=top, button="left", clickCount=1)
        for share in (0.3, 0.6, 1.0):
            x, y = left + share * (right - left), top + share * (bottom - top)
            await tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
        await tab.call("Input.dispatchMouseEvent", type="mouseReleased", x=right, y=bottom, button="left")
        await tab.until("STATE.lasso !== null")
        wanted = {one.number for one in trials() if one.state != "duplicate" and (one.report_ue or 0) > 0.7}
        assert set(await tab.value("[...STATE.lasso]")) == wanted
        assert await tab.value("document.querySelectorAll('#table tbody tr').length") == len(wanted)
        await tab.value("byId('parallel-clear').click()")
        assert await tab.value("[STATE.lasso, byId('parallel-clear').hidden]") == [None, True]

    look(examine)


def test_history_has_every_measured_trial_and_the_best_so_far(look: Look) -> None:
    async def examine(tab: Tab) -> None:
        counted = [one for one in trials() if one.state != "duplicate" and one.report_rob is not None]
        plot = "document.getElementById('plot-history-rob').data"
        marks = await tab.value(f"{plot}.slice(1).flatMap((trace) => trace.customdata)")
        assert sorted(marks) == [one.number for one in counted]
        sure = [one for one in counted if not one.rob_is_bound and one.infeasible is None]
        assert await tab.value(f"{plot}[0].x") == [one.number for one in sure]
        assert await tab.value(f"{plot}[0].y") == pytest.approx(
            list(accumulate((one.report_rob or 0 for one in sure), max))
        )

    look(examine)


def test_training_curves_are_the_recorded_losses(look: Look) -> None:
    line = "document.getElementById('plot-training-left').data.find((trace) => trace.customdata[0] === %d)"

    async def examine(tab: Tab) -> None:
        assert await tab.value("byId('training-left').value") == "forget_cross_entropy"
        assert await tab.value(f"({line % TRAINED}).x") == list(range(1, 9))
        assert await tab.value(f"({line % TRAINED}).y") == [0.5 * step for step in range(1, 9)]
        box = "byId('training-left')"
        await tab.value(f"{box}.value = 'loss'; {box}.dispatchEvent(new Event('input'))")
        assert await tab.value(f"({line % 4}).y") == [1.0, 0.5]
        assert await tab.value(f"{line % TRAINED} === undefined")

    look(examine)


def test_attack_curves_follow_the_half(look: Look) -> None:
    line = "document.getElementById('plot-curve').data.find((trace) => trace.customdata[0] === 0).y"

    async def examine(tab: Tab) -> None:
        await tab.value("(() => { const box = byId('curve-attack'); box.value = 'relearn-forget';"
                        " box.dispatchEvent(new Event('input')); })()")  # fmt: skip
        attack = next(one for one in trials()[0].attacks if one.attack == "relearn-forget")
        assert await tab.value(line) == pytest.approx(list(attack.report_left))
        assert "on the rows the search never saw" in await tab.value("byId('curve-note').textContent")
        await tab.value("document.querySelector('input[name=half][value=search]').click()")
        assert await tab.value(line) == pytest.approx([point.still_forgotten for point in attack.curve])

    look(examine)


def test_the_raw_metric_follows_the_half_for_trials_and_controls(look: Look) -> None:
    """What was measured before the attack comes first; for a trial it is recorded on the search half only."""
    trace = "document.getElementById('plot-raw').data.find((trace) => %s).y"
    mine, gold = trace % "trace.customdata && trace.customdata[0] === 0", trace % "trace.marker.symbol === 'star'"

    async def examine(tab: Tab) -> None:
        await tab.value("(() => { const box = byId('curve-attack'); box.value = 'relearn-forget';"
                        " box.dispatchEvent(new Event('input')); })()")  # fmt: skip
        metric = await tab.value("byId('curve-metric').value")
        curve = next(one for one in trials()[0].attacks if one.attack == "relearn-forget").curve
        control = controls().gold.attacks["relearn-forget"]
        assert await tab.value(mine) == pytest.approx([point.report_metrics[metric] for point in curve])
        assert (await tab.value(gold))[-len(control) :] == pytest.approx(
            [point.report_metrics[metric] for point in control]
        )
        await tab.value("document.querySelector('input[name=half][value=search]').click()")
        assert (await tab.value(mine))[-len(curve) :] == pytest.approx([point.metrics[metric] for point in curve])
        assert (await tab.value(gold))[-len(control) :] == pytest.approx([point.metrics[metric] for point in control])

    look(examine)
