"""Oracle: an HTML parser's view of the page, and the policy that the page itself states."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sweeps.report.written_sweep import NAUGHTY, mixed_trials, special, trial, write_sweep
from unlearn_sweep.engine.privacy.secrets import visible
from unlearn_sweep.sweeps.report.build import load_report
from unlearn_sweep.sweeps.report.page import page_data, render_page, script_json

BESIDE = {"trials.csv", "answers.csv", "report.json"}


class Page(HTMLParser):
    """Tags with attributes, the text outside scripts, and each script's type and content."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[tuple[str | None, str]] = []
        self._script: str | None = None
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._in_script = True
            self.scripts.append((dict(attrs).get("type"), ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        else:
            self.text += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    trials = [*mixed_trials(8), special(13, "naughty")]
    folder = tmp_path_factory.mktemp("sweeps") / "demo"
    return Page(render_page(load_report(write_sweep(folder, trials))))


def _data(page: Page) -> dict[str, Any]:
    return json.loads(next(text for kind, text in page.scripts if kind == "application/json"))


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "img", "object", "embed", "base", "form"}
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#") or attributes["href"] in BESIDE
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 3


def test_the_policy_allows_exactly_the_two_scripts_of_the_page(page: Page) -> None:
    policies = [
        a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1
    policy = str(policies[0])
    assert "default-src 'none'" in policy
    running = [text for kind, text in page.scripts if kind is None]
    digests = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == digests
    assert "unsafe-eval" not in policy
    assert "script-src 'unsafe-inline'" not in policy


def test_no_button_sends_the_chart_to_a_server(page: Page) -> None:
    script = page.scripts[-1][1]
    assert "showSendToCloud: false" in script


def test_adversarial_texts_arrive_whole_and_make_no_element(page: Page) -> None:
    handlers = [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert handlers == []
    shown = _data(page)["report"]["trials"][-1]
    assert shown["reason"] == visible(NAUGHTY)
    assert shown["params"] == {visible(NAUGHTY): visible(NAUGHTY), "learning_rate": 1e-3}


def test_the_benchmark_of_this_project_is_marked_as_not_for_publishing(page: Page, tmp_path: Path) -> None:
    assert "no benchmark to publish numbers on" in page.text
    other = render_page(load_report(write_sweep(tmp_path / "demo", [trial(0)], benchmark="tofu")))
    assert "no benchmark to publish numbers on" not in Page(other).text


def test_what_went_wrong_is_listed_with_its_reason(page: Page) -> None:
    for words in (
        "OutOfMemoryError: the optimizer state needs 3.1 GiB",
        "UT 0.010 is below 0.05",
        "original and gold differ by less than two standard errors",
        "same as trial 0",
        "Attacks skipped: 1",
    ):
        assert words in page.text


def test_broken_files_are_named_on_the_page(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", mixed_trials(3))
    (folder / "controls.json").write_text("{}")
    assert "Not readable and left out: controls.json" in Page(render_page(load_report(folder))).text


def test_curves_are_kept_for_the_front_first_and_the_rest_is_counted(tmp_path: Path) -> None:
    report = load_report(write_sweep(tmp_path / "demo", [trial(number) for number in range(450)]))
    data = page_data(report)
    whole = {t["number"] for t in data["report"]["trials"] if any(attack["curve"] for attack in t["attacks"])}
    assert len(whole) == 400
    assert data["curves_left_out"] == 50
    assert {trial.number for trial in report.trials if trial.on_front} <= whole


def test_the_held_out_half_is_shown_where_the_front_has_it(tmp_path: Path) -> None:
    assert page_data(load_report(write_sweep(tmp_path / "whole", [trial(0)])))["half"] == "report"
    bare = trial(0).model_copy(update={"report_rob": None})
    assert page_data(load_report(write_sweep(tmp_path / "bare", [bare])))["half"] == "search"


leaves = st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.none()
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@settings(max_examples=60)
@given(values)
def test_script_json_reads_back_and_holds_no_markup(value: Any) -> None:
    text = script_json(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


@pytest.mark.parametrize(
    ("address", "linked"), [("http://127.0.0.1:5000/#/experiments/1/runs", True), ("javascript:alert(1)", False)]
)
def test_mlflow_is_named_where_the_sweep_is_in_it(tmp_path: Path, address: str, linked: bool) -> None:
    folder = write_sweep(tmp_path / "demo", [trial(0)])
    assert "in MLflow" not in Page(render_page(load_report(folder))).text
    (folder / "mlflow.json").write_text(json.dumps({"runs_page": address}))
    page = Page(render_page(load_report(folder)))
    assert f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db" in page.text
    assert (address in [attributes.get("href") for tag, attributes in page.tags if tag == "a"]) is linked
