"""`unlearn-sweep example`, `run --example` and `--version`. Oracle: the files that ship, and exit statuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from unlearn_sweep import __version__
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.examples import chosen_file, examples, summary

runner = CliRunner()


@pytest.mark.parametrize("file", sorted(Path("sweeps").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_example_is_printed_as_it_is(file: Path) -> None:
    done = runner.invoke(app, ["example", file.stem])
    assert (done.exit_code, done.stdout) == (0, file.read_text())


def test_without_a_name_all_are_listed_with_what_they_do() -> None:
    lines = runner.invoke(app, ["example"]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(examples())
    for line, file in zip(lines, examples().values(), strict=True):
        assert summary(file)
        assert line.endswith(summary(file))


def test_a_summary_is_the_first_sentence_of_the_comment(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("# One sweep. Two words\n# and more.\nname: a\n# Not this.\n")
    assert summary(file) == "One sweep"
    file.write_text("name: a\n# Not this.\n")
    assert summary(file) == ""


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["example", "quickstrat"], "did you mean quickstart?"),
        (["run", "--example", "quickstrat"], "did you mean quickstart?"),
        (["run"], "--example NAME"),
        (["run", "a.yaml", "--example", "quickstart"], "--example NAME"),
    ],
)
def test_a_wrong_choice_ends_with_2(arguments: list[str], word: str) -> None:
    done = runner.invoke(app, arguments)
    assert done.exit_code == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_chosen_file_is_the_given_one_or_the_example() -> None:
    assert chosen_file(Path("a.yaml"), None) == Path("a.yaml")
    assert chosen_file(None, "quickstart") == examples()["quickstart"]


def test_version() -> None:
    done = runner.invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"unlearn-sweep {__version__}\n")
