"""Attacks that the rows do not allow are refused before anything is trained.

Oracle: what the attack itself raises or leaves out when it runs on the same rows, and lengths counted by hand.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.evaluators.attacks.attack_params import AttackParams
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS, card
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.sweeps.file.problems import Problem, SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.plan.attack_needs import attack_obstacles
from unlearn_sweep.sweeps.plan.data_check import check_rows
from unlearn_sweep.sweeps.plan.token_needs import token_obstacles, tokenizer_of, trains_tokenizer
from unlearn_sweep.sweeps.resolve import resolve

OWN = "benchmark: {{name: custom, forget_path: {0}/forget.jsonl, retain_path: {0}/retain.jsonl}}"


def problems(folder: Path, attacks: str, **sections: str) -> tuple[Problem, ...]:
    """The mistakes that `validate` finds, in the file and in its rows."""
    try:
        spec = parse_spec(sweep_text(attacks=f"attacks: [{attacks}]", **sections), folder=folder)
        check_rows(spec, resolve(spec))
    except SpecError as error:
        return error.problems
    return ()


def authors(folder: Path, attacks: str) -> tuple[SweepJob, Benchmark]:
    job = resolve(parse_spec(sweep_text(attacks=f"attacks: [{attacks}]"), folder=folder))
    return job, load_benchmark("authors", job.benchmark.params)


def write_own(folder: Path, answer: str) -> None:
    for name in ("forget", "retain"):
        rows = [{"question": f"Who built {name} pier {i}?", "answer": f"{answer} {name} {i}"} for i in range(8)]
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))


def test_prefill_leaves_something_to_score_in_both_halves(tmp_path: Path) -> None:
    """The longest answer, in tokens of the very tokenizer that the sweep trains: one token fewer may be given away."""
    from unlearn_sweep.evaluators.attacks.prefill import gold_prefill
    from unlearn_sweep.evaluators.rows import encode

    job, benchmark = authors(tmp_path, "{prefill: {tokens: 1}}")
    tokenizer = tokenizer_of(job, benchmark)
    assert tokenizer is not None
    rows = benchmark.evaluation["forget"]
    examples = [encode(tokenizer, row.row_id, row.question, row.answer, benchmark.template) for row in rows]
    assert trains_tokenizer(job, benchmark)  # then words are tokens at least, so that it need not be loaded
    assert all(len(one.content_ids) >= len(row.answer.split()) for one, row in zip(examples, rows, strict=True))
    most = next(n for n in range(1, 99) if not any(gold_prefill(n)(example) for example in examples)) - 1
    assert problems(tmp_path, f"{{prefill: {{tokens: {most}}}}}") == ()
    (found,) = problems(tmp_path, f"quantize, {{prefill: {{tokens: {most + 1}}}}}")
    assert (found.path, found.given, found.allowed) == ("attacks[1]", f"tokens: {most + 1}", f"from 1 to {most}")
    assert (found.line, found.advice) == (4, f"lower tokens to {most}")


def test_prefill_of_rows_that_one_half_has_is_refused(tmp_path: Path) -> None:
    """A score on the search half needs a row there: one long answer of the report half does not help."""
    job, benchmark = authors(tmp_path, "{prefill: {tokens: 6}}")
    from unlearn_sweep.evaluators.halves import search_halves

    forget = benchmark.evaluation["forget"]
    report = search_halves([(row.group_id, row.stratum) for row in forget]).report
    long = [replace(row, answer=f"{row.answer} a b c d e f g h") if row.group_id in report else row for row in forget]
    one_half = replace(benchmark, evaluation={**benchmark.evaluation, "forget": long})
    assert "search half" in next(token_obstacles(job, one_half)).message
    both = [replace(row, answer=f"{row.answer} a b c d e f g h") for row in forget]
    assert not list(token_obstacles(job, replace(benchmark, evaluation={**benchmark.evaluation, "forget": both})))


def test_a_tokenizer_that_is_not_here_is_not_guessed(tmp_path: Path) -> None:
    """Refused is only what no tokenizer allows: more tokens than an answer has bytes."""
    write_own(tmp_path, "Ann")
    sections = {"benchmark": OWN.format(tmp_path), "model": "model: {path: none/here}", "gold": "gold: {floor: chance}"}
    assert problems(tmp_path, "{prefill: {tokens: 3}}", **sections) == ()
    (found,) = problems(tmp_path, "{prefill: {tokens: 40}}", **sections)
    assert "has at most" in found.message


@pytest.mark.parametrize(
    ("attack", "message", "allowed"),
    [
        ("{in_context: {shots: 5000}}", "shows 5000 kept facts and keeps one in reserve", "at most "),
        ("{few_shot: {shots: 5000, demonstrations: retain}}", "shows 5000 kept facts", "at most "),
        ("{chain: [{quantize: {bits: 4}}, {relearn: {data: retian}}]}", "trains on view retian", None),
        ("{chain: [{quantize: {scheme: gptq, calibration: no}}, prefill]}", "calibrates on view no", None),
        ("{abliterate: {layers: [1, 99]}}", "names layer 99", "from 1 to "),
        ("{chain: [{quantize: {bits: 4}}, {logit_lens: {layers: [99]}}]}", "names layer 99", "from 1 to "),
        ("{gcg: {prompts: [0, 999]}}", "needs 1000 different forget facts", None),
    ],
)
def test_what_rows_and_model_lack(tmp_path: Path, attack: str, message: str, allowed: str | None) -> None:
    found = next(problem for problem in problems(tmp_path, attack) if message in problem.message)
    assert found.path == "attacks[0]"
    assert allowed is None or str(found.allowed).startswith(allowed)


def test_rows_without_other_wordings_or_questions(tmp_path: Path) -> None:
    job, benchmark = authors(tmp_path, "paraphrase, rwku_prompts")
    assert not list(attack_obstacles(job, benchmark))
    forget = benchmark.evaluation["forget"]
    alone = {row.fact: replace(row, paraphrased_question=None, kind="continuation") for row in forget}
    train = {**benchmark.train, "forget": list(alone.values())}
    bare = replace(benchmark, evaluation={**benchmark.evaluation, "forget": list(alone.values())}, train=train)
    assert {found.entry for found in attack_obstacles(job, bare)} == {0, 1}


def test_a_chain_leaves_a_fact_to_score(tmp_path: Path) -> None:
    """Half is seen by few_shot, and a view of the other half is trained on: none is left."""
    from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves

    chain = "{chain: [{relearn: {data: other}}, {few_shot: {shots: [1]}}]}"
    job, benchmark = authors(tmp_path, chain)
    scored = forget_halves(benchmark).scored
    rows = [row for row in benchmark.train["forget"] if row.group_id in scored]
    found = list(attack_obstacles(job, replace(benchmark, train={**benchmark.train, "other": rows})))
    assert ["use every forget fact" in one.message for one in found] == [True]


@pytest.mark.parametrize(
    "attack",
    [
        "{prefill: {tokens: 0}}", "{relearn: {steps: 0}}", "{few_shot: {shots: [0]}}", "{soft_prompt: {iterations: 0}}",
        "{gcg: {steps: [0]}}", "{prune: {by: magnitude, percent: [0.0]}}",
        "{chain: [{quantize: {bits: 4}}, {relearn: {steps: [0]}}]}",
    ],
)  # fmt: skip
def test_an_attack_without_a_strength_is_refused(tmp_path: Path, attack: str) -> None:
    """Its only state is the model as it is, and `attack_score` counts states above 0."""
    (found,) = problems(tmp_path, attack)
    assert found.path == "attacks[0]"
    assert "no strength above 0" in found.message


def test_every_attack_with_a_strength_of_zero_says_so() -> None:
    """Each parameter that sets the strengths and may be 0 is answered by `strongest`: found by trying 0 in all."""
    for name in ATTACKS:
        params = card(name).params
        for field in params.model_fields:
            try:
                checked = params.model_validate({field: 0})
            except ValueError:
                continue
            if getattr(checked, "curve", None) == (0,):
                assert isinstance(checked, AttackParams)
                assert checked.strongest == 0, (name, field)


def test_sampling_goes_last(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "{chain: [sample, {relearn: {steps: [5]}}]}")
    assert "only be the last" in found.message
    assert found.advice == "move sample to the end"
    assert problems(tmp_path, "{chain: [{relearn: {steps: [5]}}, sample]}") == ()
