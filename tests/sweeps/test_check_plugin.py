"""`unlearn-sweep check-plugin`. Oracles: the examples of the documentation pass; a broken promise is found by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.docs_pages import examples
from tests.support.plugin_text import METHOD
from unlearn_sweep.plugins import PluginError, use
from unlearn_sweep.sweeps.check_plugin import check_plugin
from unlearn_sweep.sweeps.cli import app

PAGE = {name: text for name, text in examples("extend.md").items() if "CARD = " in text}


@pytest.fixture(autouse=True)
def _no_plugins_afterwards():
    yield
    use(())


def failures(folder: Path, text: str) -> dict[str, str]:
    """Check and reason of what failed."""
    (folder / "mine.py").write_text(text)
    return {result.check: result.reason for result in check_plugin(folder / "mine.py") if result.reason is not None}


@pytest.mark.parametrize("name", PAGE)
def test_the_examples_of_the_page_pass_every_check(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(PAGE[name])
    results = list(check_plugin(tmp_path / name))
    assert len(results) >= 3
    assert [result for result in results if result.reason is not None] == []


def changed(name: str, *edits: tuple[str, str]) -> str:
    text = PAGE[name]
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return text


COUNT = "    @classmethod\n    def count(cls):\n        cls.asked += 1\n        return cls.asked\n\n    def point("
BROKEN = {
    "a mean over micro-batches": (
        changed("my_method.py", ("hinge.sum()", "hinge.sum() / max(1, hinge.numel())")),
        "two micro-batches give one batch, 3 rows",
        "return a sum",
    ),
    "an undeclared view": (
        changed("my_method.py", ('Needs(views=("forget", "retain"))', 'Needs(views=("forget",))')),
        "declared needs are what is asked for (defaults)",
        "reads views ['forget', 'retain']",
    ),
    "a detached loss": (
        changed("my_method.py", ("hinge.sum()", "(hinge * hinge.detach()).sum()")),
        "the gradient is that of the value",
        "Jacobian",
    ),
    "another default": (
        changed("my_method.py", ("margin: float = 6.0", "margin: float = 5.0")),
        "class and card have the same parameters",
        "5.0",
    ),
    "a range without its default": (
        changed("my_method.py", ("search=(2.0, 12.0)", "search=(8.0, 12.0)")),
        "margin: default, limits and range agree",
        "outside",
    ),
    "a metric above its range": (
        changed("my_metric.py", (" / len(words)", "")),
        "values are in the card's range",
        "outside [0, 1]",
    ),
    "a metric that invents a value": (
        changed("my_metric.py", ("return math.nan", "return 0.0")),
        "nothing measured has no value (NaN)",
        "has value 0.0",
    ),
    "a metric of the other direction": (
        changed("my_metric.py", ('needs="generation",', 'needs="generation",\n    better_on_forget="higher",')),
        "forgetting moves it as declared",
        "better_on_forget is 'higher'",
    ),
    "an attack on the model itself": (
        changed("my_attack.py", ("private_copy(target.model)", "target.model")),
        "model and random states are left as found (defaults)",
        "changes the target's weights",
    ),
    "an attack with randomness of its own": (
        changed("my_attack.py", ("generator=generator", "generator=None")),
        "one seed gives one result (defaults)",
        "answers differently",
    ),
    "an attack that acts at strength 0": (
        changed("my_attack.py", ("weight.std() * scale", "weight.std() * (scale + 0.5)")),
        "strength 0 changes no metric of any row",
        "rows differ in",
    ),
    "a sampler that leaves the space": (
        changed("my_sampler.py", ("value_at(dimension, min(max(share, 0.0), 0.999999))", "share")),
        "proposals are new and inside the space (defaults)",
        "sampler steps proposes",
    ),
    "a sampler with randomness of its own": (
        changed("my_sampler.py", ("random.Random(ask.seed)", "random")),
        "one seed gives one search (defaults)",
        "one seed gives two searches",
    ),
    "a sampler that needs a completed trial": (
        changed("my_sampler.py", ("if not trials:", "if not ask.trials:")),
        "failed and collapsed trials are no obstacle (defaults)",
        "ValueError",
    ),
    "a sampler with a memory": (
        changed(
            "my_sampler.py",
            ("class Steps:\n", "class Steps:\n    asked = 0\n"),
            ("random.Random(ask.seed)", "random.Random(Steps.count())"),
            ("    def point(", COUNT),
        ),
        "it continues from the journal as if never stopped (defaults)",
        "resumed, it proposes something else",
    ),
    "a benchmark with an id twice": (
        changed("my_benchmark.py", ("row_id=name,", 'row_id=f"{split}-{a}",')),
        "views, splits and rows (defaults)",
        "row_id given twice",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_found_by_its_check(name: str, tmp_path: Path) -> None:
    text, check, words = BROKEN[name]
    found = failures(tmp_path, text)
    assert check in found
    assert words in found[check]


@pytest.mark.slow
def test_a_sampler_that_repeats_itself_is_found(tmp_path: Path) -> None:
    found = failures(tmp_path, changed("my_sampler.py", ("draw.gauss(0, self.params.width)", "0.0")))
    assert "repeats points it has tried" in found["proposals are new and inside the space (defaults)"]


def test_the_command_prints_each_check_and_ends_with_1_where_one_failed(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(PAGE["my_method.py"])
    done = CliRunner().invoke(app, ["check-plugin", str(tmp_path / "good.py")])
    assert done.exit_code == 0, done.output
    assert "pass  hinge: padding and prompts do not matter" in done.stdout
    (tmp_path / "bad.py").write_text(METHOD.replace("loss.sum()", "loss.mean()"))
    done = CliRunner().invoke(app, ["check-plugin", str(tmp_path / "bad.py")])
    assert done.exit_code == 1
    assert "FAIL  hinge: two micro-batches give one batch" in done.stdout


@pytest.mark.parametrize("table", ["3", '{"noise": 1}', '{"nois": {}}', '{"noise": {"case": []}}'])
def test_a_wrong_check_table_is_refused(table: str, tmp_path: Path) -> None:
    text = PAGE["my_attack.py"]
    (tmp_path / "mine.py").write_text(text[: text.index("CHECK = ")] + f"CHECK = {table}\n")
    with pytest.raises(PluginError, match="CHECK"):
        list(check_plugin(tmp_path / "mine.py"))
