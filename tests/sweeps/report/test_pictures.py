"""Oracle: files that open as pictures of the size asked for, whatever the names hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from tests.sweeps.report.written_sweep import mixed_trials, special, trial, write_sweep
from unlearn_sweep.sweeps.report.build import build_report, load_report
from unlearn_sweep.sweeps.report.colours import method_styles
from unlearn_sweep.sweeps.report.pictures import draw_pictures, front_picture


def test_every_picture_opens_and_is_not_blank(tmp_path: Path) -> None:
    paths = build_report(write_sweep(tmp_path / "demo", mixed_trials(8))).pictures
    assert [path.name for path in paths] == ["front.png", "attacks.png", "hypervolume.png", "time.png"]
    for path in paths:
        assert float(np.std(imread(path)[..., :3])) > 0.01


def test_names_with_dollars_controls_and_foreign_scripts_are_drawn_as_text(tmp_path: Path) -> None:
    odd = special(2, "naughty").model_copy(update={"method": "npo $\\frac{$ \x07 忘却"})
    report = load_report(write_sweep(tmp_path / "demo", [trial(0), trial(1), odd]))
    assert len(draw_pictures(report, tmp_path)) == 4


def test_an_empty_sweep_has_no_picture_of_a_front(tmp_path: Path) -> None:
    assert front_picture(load_report(write_sweep(tmp_path / "demo", [], front=False))) is None


@pytest.mark.parametrize(("attacks", "panels"), [(True, 3), (False, 1)])
def test_one_panel_a_pair_of_objectives(tmp_path: Path, attacks: bool, panels: int) -> None:
    trials = [trial(number) for number in range(4)]
    if not attacks:
        trials = [one.model_copy(update={"rob": None, "report_rob": None, "attacks": []}) for one in trials]
    spec = None if attacks else {"attacks": []}
    figure = front_picture(load_report(write_sweep(tmp_path / "demo", trials, spec=spec)))
    assert figure is not None
    assert len(figure.axes) == panels


def test_styles_tell_methods_apart() -> None:
    styles = method_styles(f"method-{index}" for index in range(56))
    assert len({(style["colour"], style["symbol"]) for style in styles.values()}) == 56
