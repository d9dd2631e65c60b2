"""`search.prior`. Oracles: the defaults of the cards, and the mistakes a user can make."""

from __future__ import annotations

import pytest

from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.methods.catalog import defaults
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.resolve import resolve

METHODS = """methods:
  npo: {learning_rate: {log: [1e-6, 1e-4]}, beta: {log: [0.05, 1.0]}, retain: nll}
  graddiff: {learning_rate: {log: [1e-3, 1e-2]}, epochs: 5}
"""


def text(search: str) -> str:
    return sweep_text(methods=METHODS, search=f"search: {{trials: 6, {search}}}", storage="storage: runs")


def test_published_believes_in_the_defaults_that_lie_in_the_ranges() -> None:
    (belief,) = resolve(parse_spec(text("prior: published"))).search.beliefs
    known = defaults("npo")
    assert (belief.method, belief.params) == ("npo", {name: known[name] for name in ("learning_rate", "beta")})


def test_settings_of_ones_own_are_believed_without_what_is_fixed() -> None:
    given = "prior: [{graddiff: {learning_rate: 2e-3, epochs: 5}}, {npo: {beta: 0.3}}]"
    search = resolve(parse_spec(text(given))).search
    assert [(belief.method, belief.params) for belief in search.beliefs] == [
        ("graddiff", {"learning_rate": 0.002}),
        ("npo", {"beta": 0.3}),
    ]
    without = resolve(parse_spec(text("seeds_for_finalists: 1")))
    assert without.search.beliefs == []
    assert without.digest() == resolve(parse_spec(text(given))).digest(), "it is no other sweep"


@pytest.mark.parametrize(
    ("search", "path", "message"),
    [
        ("prior: publishd", "search.prior", ""),
        ("prior: [{npo: {beta: 3}}]", "search.prior[0].npo.beta", "outside the search space"),
        ("prior: [{npo: {betta: 0.1}}]", "search.prior[0].npo.betta", "not a parameter of npo"),
        ("prior: [{nop: {}}]", "search.prior[0].nop", "not a method of this sweep"),
        ("prior: [{npo: {beta: 0.1}}, {npo: {beta: 0.2}}]", "search.prior", "two beliefs for npo"),
        ("prior: published, sampler: random", "search.prior", "random draws its trials without beliefs"),
    ],
)
def test_mistakes_are_named_with_their_place(search: str, path: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        parse_spec(text(search))
    (problem,) = raised.value.problems
    assert problem.path.startswith(path)
    assert message in problem.message
    assert problem.advice


def test_published_defaults_outside_every_range_are_refused() -> None:
    only = "methods: {graddiff: {learning_rate: {log: [1e-3, 1e-2]}, epochs: 5}}"
    with pytest.raises(SpecError) as raised:
        parse_spec(sweep_text(methods=only, search="search: {trials: 6, prior: published}", storage="storage: runs"))
    (problem,) = raised.value.problems
    assert "no searched parameter has its published default" in problem.message
