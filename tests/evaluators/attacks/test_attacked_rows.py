"""What attacks on prompts are optimised on, over rows in the schema of published benchmarks.

Oracles: the rows written, set algebra, and plain transformers for the original model's greedy answers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.architecture_cells import tokenizer
from tests.support.architectures import small_benchmark, small_model
from tests.support.published_data import WRITERS
from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.attacked_rows import answered_by_original, searched_rows
from unlearn_sweep.evaluators.attacks.catalog import validate
from unlearn_sweep.evaluators.attacks.forget_halves import attacked_rows, forget_halves
from unlearn_sweep.evaluators.attacks.gcg import answer_search
from unlearn_sweep.evaluators.attacks.gcg_params import GcgParams
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.rows import DOCUMENT

SMALL = {"steps": 1, "suffix_tokens": 3, "search_width": 4, "prompts": 2, "target_tokens": 4}


WITHOUT_ANSWERS = "blur"
"""Its queries have no answer to attack: it is judged against the original's own."""


@pytest.fixture(params=[name for name in WRITERS if name != WITHOUT_ANSWERS])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_they_are_judged_questions_of_the_attackers_half_on_every_benchmark(name: str, tmp_path: Path) -> None:
    found = load_benchmark(name, WRITERS[name](tmp_path))
    halves, judged = forget_halves(found), {row.row_id for row in found.evaluation["forget"]}
    rows = attacked_rows(found, halves)
    assert {row.row_id for row in rows} <= judged
    assert {row.kind for row in rows} <= {"question", "choice"}
    assert {row.group_id for row in rows} <= halves.seen
    scored = [row for row in found.evaluation["forget"] if row.group_id in halves.scored]
    assert [row for row in scored if row.kind in ("question", "choice")]  # others are left to be asked with the text


def test_a_benchmark_without_answers_has_nothing_to_attack(tmp_path: Path) -> None:
    found = load_benchmark(WITHOUT_ANSWERS, WRITERS[WITHOUT_ANSWERS](tmp_path))
    with pytest.raises(AttackError, match="none of the judged forget rows"):
        attacked_rows(found, forget_halves(found))


def target_of(benchmark: str, folder: Path, *, original: bool = True) -> Target:
    model = small_model("llama", tokenizer())
    found = load_benchmark(benchmark, WRITERS[benchmark](folder))
    return Target(
        model=model, tokenizer=tokenizer(), benchmark=found, seed=3, original=(lambda: model) if original else None
    )


def test_on_wmdp_a_text_stands_at_a_multiple_choice_question(tmp_path: Path) -> None:
    target, params = target_of("wmdp", tmp_path), GcgParams.model_validate(SMALL)
    rows = searched_rows(target, forget_halves(target.benchmark), params)
    search = answer_search(target, params, rows)
    for slot, row in zip(search.texts.slots, rows, strict=True):
        asked = str(tokenizer().decode([*slot.before, *slot.behind], skip_special_tokens=True))
        assert row.kind == "choice"
        options = "".join(f"\n{letter}. " for letter in "ABCD")
        assert [part in asked for part in options.split("\n")[1:]] == [True] * 4
        assert asked.endswith("Answer:")
        assert str(tokenizer().decode(list(slot.answer))).strip() == row.answer


def test_the_originals_greedy_answers_are_those_of_plain_transformers(tmp_path: Path) -> None:
    target = target_of("wmdp", tmp_path)
    rows = searched_rows(target, forget_halves(target.benchmark), GcgParams.model_validate(SMALL))
    answered = answered_by_original(target, rows, 4)
    for row, found in zip(rows, answered, strict=True):
        ids = torch.tensor([tokenizer()(f"{row.question}\nAnswer:")["input_ids"]])
        model = small_model("llama", tokenizer())
        out = model.generate(ids, do_sample=False, max_new_tokens=4, pad_token_id=0)  # pyright: ignore
        said = str(tokenizer().decode(out[0][ids.shape[1] :], skip_special_tokens=True)).strip()
        assert found == replace(row, answer=said)
    chosen = searched_rows(
        target, forget_halves(target.benchmark), GcgParams.model_validate({**SMALL, "target": "original"})
    )
    assert chosen == answered
    search = answer_search(target, GcgParams.model_validate(SMALL), answered)
    texts = [str(tokenizer().decode(list(slot.answer))).strip() for slot in search.texts.slots]
    assert all(row.answer.startswith(text) and text for row, text in zip(answered, texts, strict=True))


def test_what_cannot_be_attacked_is_refused(tmp_path: Path) -> None:
    alone = target_of("wmdp", tmp_path, original=False)
    with pytest.raises(AttackError, match="target: original needs the original model"):
        searched_rows(alone, forget_halves(alone.benchmark), GcgParams.model_validate({**SMALL, "target": "original"}))
    found = small_benchmark()
    texts = [replace(row, kind="text", template=DOCUMENT) for row in found.evaluation["forget"]]
    with pytest.raises(AttackError, match="asks a question, so there is no prompt to attack"):
        attacked_rows(replace(found, evaluation={**found.evaluation, "forget": texts}), forget_halves(found))


def test_which_attacks_need_judged_questions() -> None:
    judged = {name: validate(name, {}).facts_are_judged for name in ("gcg", "enhanced_gcg", "soft_prompt", "relearn")}
    assert judged == {"gcg": True, "enhanced_gcg": True, "soft_prompt": True, "relearn": False}
    chained = validate("chain", [{"quantize": {"bits": 4}}, {"gcg": {}}])
    assert chained.facts_are_judged
