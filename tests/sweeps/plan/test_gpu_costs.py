"""The costs of docs/gpus.md. Oracle: what `plan` computes over made rows of TOFU's number and lengths."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from unlearn_sweep.evaluators.benchmarks.catalog import published_size
from unlearn_sweep.sweeps.cli import app

SECTION = Path("docs/gpus.md").read_text(encoding="utf-8").partition("### What it costs")[2]
TABLE = SECTION.partition("What a search of yours costs")[0]
LINES = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\| \dB \|.*$", TABLE, re.MULTILINE)
]
BLOCKS: Mapping[str, list[str]] = {
    name: block.splitlines()
    for name, block in re.findall(r"^([^:\n]+):\n\n```yaml\n(.*?)```", TABLE, re.DOTALL | re.MULTILINE)
}
# Rows, and characters of question and answer, of the files of locuslab/TOFU that the sweep file reads.
SHAPES = {
    "forget10": (400, 77, 182),
    "forget10_perturbed": (400, 77, 182),
    "retain90": (3600, 69, 168),
    "retain_perturbed": (400, 69, 168),
    "real_authors_perturbed": (100, 58, 14),
    "world_facts_perturbed": (117, 56, 10),
}
GSM8K = (1000, 235, 284)


def text(name: str, index: int, characters: int) -> str:
    return f"{name} {index} {'word ' * characters}"[:characters]


def row(name: str, index: int, question: int, answer: int) -> dict[str, Any]:
    stem = name.removesuffix("_perturbed").rstrip("0123456789")  # the same rows in both files
    asked, said = text(f"q {stem}", index, question), text(f"a {stem}", index, answer)
    found: dict[str, Any] = {"question": asked, "answer": said}
    if name.endswith("_perturbed"):
        authors = (
            answer > 50
        )  # TOFU's own; real authors and world facts have neither paraphrases nor five wrong answers
        found["perturbed_answer"] = [text(f"w{one} {name}", index, answer) for one in range(5 if authors else 3)]
        if authors:
            found |= {"paraphrased_question": f"{asked} again", "paraphrased_answer": f"{said} again"}
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    for name, (count, question, answer) in {**SHAPES, "gsm8k": GSM8K}.items():
        rows = [json.dumps(row(name, index, question, answer)) for index in range(count)]
        (folder / f"{name}.json").write_text("\n".join(rows))
    (folder / "gsm8k.json").rename(folder / "gsm8k.jsonl")
    return folder


def sweep_text(model: str, trained: str, data: Path) -> str:
    """`sweeps/tofu.yaml` over local rows, with the lines of the page that replace some of its own."""
    found = Path("sweeps/tofu.yaml").read_text(encoding="utf-8").replace("Llama-3.2-1B", f"Llama-{model}")
    for line in BLOCKS.get(trained[0].upper() + trained[1:], []):
        key = line.partition(":")[0]
        found, count = re.subn(rf"^{key}:.*$", line, found, flags=re.MULTILINE)
        assert count == 1, line
    local = {
        "{name: tofu, ": f"{{name: tofu, path: {data}, ",
        ", holdout: true": "",
        ", mia_min_k_auc": "",
        "data: gsm8k": f"data: {data / 'gsm8k.jsonl'}",
    }
    for old, new in local.items():
        assert old in found
        found = found.replace(old, new)
    return found


def test_the_page_has_costs() -> None:
    assert len(LINES) == 4
    assert set(BLOCKS) == {"Adapters", "All weights, ZeRO over 4"}


@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(line[:3]))
def test_plan_computes_what_the_page_says(
    line: list[str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, trained, gpus, at_once, hours, gpu_hours, dollars = line
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "sweep.yaml").write_text(sweep_text(model, trained, data))
    options = ["--gpus", gpus, "--gpu-gib", "80", "--gpu-hour-price", "2.5", "--json"]
    done = CliRunner().invoke(app, ["plan", str(tmp_path / "sweep.yaml"), *options])
    plan = json.loads(done.stdout)
    assert [text for text in plan["obstacles"] if "free in the storage" not in text] == []
    assert plan["at_once"] == int(at_once)
    assert plan["total_seconds"] / 3600 == pytest.approx(float(hours), rel=0.12)
    assert plan["gpu_hours"] == pytest.approx(float(gpu_hours), rel=0.12)
    assert plan["dollars"] == pytest.approx(float(dollars), rel=0.12)


def test_rows_on_the_hub_are_planned_as_local_ones_of_their_number(data: Path, tmp_path: Path) -> None:
    local = sweep_text("1B", "all weights", data)
    remote = local.replace(f"path: {data}, ", "")
    plans = []
    for name, text in (("local", local), ("remote", remote)):
        (tmp_path / f"{name}.yaml").write_text(text)
        done = CliRunner().invoke(app, ["plan", str(tmp_path / f"{name}.yaml"), "--gpus", "8", "--json"])
        plans.append(json.loads(done.stdout))
    ours, theirs = plans[1], plans[0]
    assert [stage["count"] for stage in ours["stages"]] == [stage["count"] for stage in theirs["stages"]]
    # Means of the files' characters to a tenth, against whole numbers and paraphrases as long as what they paraphrase.
    assert ours["total_seconds"] == pytest.approx(theirs["total_seconds"], rel=0.05)
    assert ours["gpu"]["stage"] == theirs["gpu"]["stage"]


@pytest.mark.parametrize(
    ("forget", "counts"), [("forget01", (40, 3960, 40)), ("forget05", (200, 3800, 200)), ("forget10", (400, 3600, 400))]
)
def test_the_made_rows_have_the_published_numbers(forget: str, counts: tuple[int, int, int]) -> None:
    """Maini et al. 2024: 4,000 rows of 200 authors, of whom 1, 5 or 10 % are forgotten; 117 world facts."""
    sized = published_size("tofu", {"forget": forget, "extra_splits": True, "holdout": True})
    assert sized is not None
    judged = {name: len(rows) for name, rows in sized.evaluation.items()}
    assert (len(sized.train["forget"]), len(sized.train["retain"]), judged["forget"]) == counts
    assert judged | {"forget": 0, "holdout": 0} == {
        "forget": 0, "holdout": 0, "retain": 400, "real_authors": 100, "world_facts": 117,
    }  # fmt: skip
    assert judged["holdout"] == counts[0]


def test_the_made_rows_have_the_published_answers() -> None:
    """Each row of TOFU's authors has a paraphrase and five wrong answers; those of the real world have three."""
    sized = published_size("tofu", {"forget": "forget10", "extra_splits": True})
    assert sized is not None
    (_, question, answer), row = SHAPES["forget10_perturbed"], sized.evaluation["forget"][0]
    assert (len(row.question), len(row.answer)) == (question, answer)
    assert (len(row.paraphrased_answer or ""), [len(wrong) for wrong in row.perturbed_answers]) == (207, [202] * 5)
    wrong = {name: {len(row.perturbed_answers) for row in rows} for name, rows in sized.evaluation.items()}
    assert wrong == {"forget": {5}, "retain": {5}, "real_authors": {3}, "world_facts": {3}}
