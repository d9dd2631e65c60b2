"""`evaluators.ue_weights`. Oracles: harmonic means by hand, and the mistakes as a user makes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.engine.driver.changed_code import other_inputs, trial_identity
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store.calibration import Calibration, MetricTrust, calibration_path, trust_weight
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.resolve import Overrides, resolve


def job(tmp_path: Path, evaluators: str, overrides: Overrides | None = None) -> SweepJob:
    text = sweep_text(storage=f"storage: {tmp_path}", evaluators=f"evaluators: {evaluators}")
    return resolve(parse_spec(text, folder=tmp_path), overrides)


def mistakes(tmp_path: Path, evaluators: str) -> str:
    with pytest.raises(SpecError) as error:
        job(tmp_path, evaluators)
    return "\n".join(f"{one.path}: {one.message}; {one.advice}" for one in error.value.problems)


def calibrated(
    place: Path,
    areas: Mapping[str, float | None],
    benchmark: str = "authors",
    *,
    robust: Mapping[str, float | None] | None = None,
) -> Path:
    trusts = [
        MetricTrust(
            metric=name,
            auc=area,
            reason="too few" if area is None else None,
            robustness=None if robust is None else robust[name],
            robustness_reason="two few forgot" if robust is not None and robust[name] is None else None,
            weight=trust_weight(area, None if robust is None else robust[name], robust=robust is not None),
        )
        for name, area in areas.items()
    ]
    place.parent.mkdir(parents=True, exist_ok=True)
    found = Calibration(benchmark=benchmark, data="d", models=[], metrics=trusts)
    place.write_text(found.model_dump_json(), encoding="utf-8")
    return place


UE = "ue: [probability, rouge, truth_ratio]"


def test_weights_by_hand_and_one_for_the_rest(tmp_path: Path) -> None:
    found = job(tmp_path, f"{{{UE}, ue_weights: {{rouge: 0.5, truth_ratio: 0}}}}")
    assert found.ue_weights == {"probability": 1.0, "rouge": 0.5, "truth_ratio": 0.0}
    assert job(tmp_path, f"{{{UE}}}").ue_weights == {}


def test_measured_weights_are_0_at_chance_and_1_when_the_pools_are_apart(tmp_path: Path) -> None:
    name = job(tmp_path, f"{{{UE}}}").name
    areas = {"probability": 1.0, "rouge": 0.75, "truth_ratio": 0.4, "rouge_f1": 0.9}
    calibrated(calibration_path(tmp_path, name), areas)
    found = job(tmp_path, f"{{{UE}, ue_weights: measured}}")
    assert found.ue_weights == {"probability": 1.0, "rouge": 0.5, "truth_ratio": 0.0}
    by_path = job(tmp_path, f"{{{UE}, ue_weights: {name}-calibration/calibration.json}}")
    assert by_path.ue_weights == found.ue_weights


def test_measured_weights_are_the_harmonic_mean_with_robustness(tmp_path: Path) -> None:
    """2 AUC - 1 is 1, .5 and 0; with robustness .5, .25 and 1 the harmonic means are 2/3, 1/3 and 0."""
    areas = {"probability": 1.0, "rouge": 0.75, "truth_ratio": 0.4}
    robust = {"probability": 0.5, "rouge": 0.25, "truth_ratio": 1.0}
    calibrated(tmp_path / "c.json", areas, robust=robust)
    found = job(tmp_path, f"{{{UE}, ue_weights: c.json}}").ue_weights
    assert found == pytest.approx({"probability": 2 / 3, "rouge": 1 / 3, "truth_ratio": 0.0})


def test_what_was_measured_goes_with_the_sweep_but_only_its_weights_decide_which_it_is(tmp_path: Path) -> None:
    areas = {"probability": 1.0, "rouge": 0.75, "truth_ratio": 0.4, "rouge_f1": 0.9}
    calibrated(tmp_path / "c.json", areas)
    found = job(tmp_path, f"{{{UE}, ue_weights: c.json}}")
    assert {one.metric: one.auc for one in found.ue_trust} == {name: areas[name] for name in found.ue_metrics}
    by_hand = job(tmp_path, f"{{{UE}, ue_weights: {{probability: 1, rouge: 0.5, truth_ratio: 0}}}}")
    assert by_hand.ue_trust == []
    assert by_hand.digest() == found.digest()


def test_a_metric_without_robustness_has_no_measured_weight(tmp_path: Path) -> None:
    areas = {"probability": 1.0, "rouge": 1.0, "truth_ratio": 1.0}
    calibrated(tmp_path / "c.json", areas, robust={"probability": 0.5, "rouge": None, "truth_ratio": 0.5})
    assert "rouge has no robustness: two few forgot" in mistakes(tmp_path, f"{{{UE}, ue_weights: c.json}}")


def test_without_a_calibration_the_command_is_named_and_calibrate_itself_starts(tmp_path: Path) -> None:
    text = mistakes(tmp_path, f"{{{UE}, ue_weights: measured}}")
    assert "evaluators.ue_weights: cannot read" in text
    assert "run: unlearn-sweep calibrate sweep.yaml" in text
    assert job(tmp_path, f"{{{UE}, ue_weights: measured}}", Overrides(weighted=False)).ue_weights == {}


@pytest.mark.parametrize(
    ("areas", "benchmark", "said"),
    [
        ({"probability": 1.0, "rouge": 1.0}, "authors", "truth_ratio was not calibrated"),
        ({"probability": 1.0, "rouge": 1.0, "truth_ratio": None}, "authors", "truth_ratio has no area: too few"),
        ({"probability": 0.5, "rouge": 0.2, "truth_ratio": 0.5}, "authors", "no metric separates the pools"),
        ({"probability": 1.0, "rouge": 1.0, "truth_ratio": 1.0}, "tofu", "was measured on the benchmark tofu"),
    ],
)
def test_what_a_calibration_lacks_is_said(
    tmp_path: Path, areas: dict[str, float | None], benchmark: str, said: str
) -> None:
    calibrated(tmp_path / "c.json", areas, benchmark)
    assert said in mistakes(tmp_path, f"{{{UE}, ue_weights: c.json}}")


def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{}")
    assert "is damaged" in mistakes(tmp_path, f"{{{UE}, ue_weights: c.json}}")


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("{rogue: 2}", "write rouge"),
        ("{choice_accuracy: 1}", "no metric of UE in this sweep"),
        ("{rouge: -1}", "ue_weights"),
        ("{rouge: .inf}", "ue_weights"),
        ("{probability: 0, rouge: 0, truth_ratio: 0}", "every metric of UE has weight 0"),
    ],
)
def test_mistakes_in_weights(tmp_path: Path, weights: str, said: str) -> None:
    assert said in mistakes(tmp_path, f"{{{UE}, ue_weights: {weights}}}")


def test_trials_of_other_weights_are_not_of_the_same_sweep(tmp_path: Path) -> None:
    plain, some = (job(tmp_path, f"{{{UE}{more}}}") for more in ("", ", ue_weights: {rouge: 0.5}"))
    other = job(tmp_path, f"{{{UE}, ue_weights: {{rouge: 0.25}}}}")
    assert len({plain.digest(), some.digest(), other.digest()}) == 3
    before, now = trial_identity(some, "m", "d"), trial_identity(other, "m", "d")
    assert other_inputs(before, now, original_given=True) == ["ue_weights"]
    assert "ue_weights" not in trial_identity(plain, "m", "d")
