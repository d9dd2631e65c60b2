"""Tasks on a model in memory. Oracle: the harness's own `simple_evaluate`, with its own loading of the same rows.

The models are small and random, so that every number is one that a guess would not hit twice.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (extra lm-eval)")

from tests.evaluators.tasks.task_rows import ROWS, write_definition, write_rows
from tests.evaluators.tiny_models import SHAPE
from unlearn_sweep.evaluators.benchmarks.wmdp import ChoiceRecord, choice_rows
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.rows import Template
from unlearn_sweep.evaluators.tasks.definitions import TaskError, asked_task
from unlearn_sweep.evaluators.tasks.harness_model import HarnessModel
from unlearn_sweep.evaluators.tasks.scoring import add_task_rows, score_tasks
from unlearn_sweep.evaluators.tasks.settings import AskedTask, TaskSettings

GSM8K = Path("../shared/data/gsm8k")
SHOTS = {"gsm8k": 2, "mmlu_anatomy": 3}
NEW_TOKENS = 12


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    """As the tiny model, with room for prompts with examples."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**SHAPE, "max_position_embeddings": 4096})).eval()


def asked(name: str, place: Path | None, folder: Path | None = None, **settings: Any) -> AskedTask:
    given = {"max_new_tokens": NEW_TOKENS, "num_fewshot": SHOTS.get(name.removeprefix("own_")), **settings}
    if place is not None:
        given["data"] = str(place)
    return asked_task(name, TaskSettings.model_validate(given), None if folder is None else str(folder))


def harness_says(model: Any, tokenizer: Any, folder: Path, name: str, shots: int | None, limit: int | None) -> Any:
    """The whole of the harness, from its loading of files to its aggregation."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    make: Any = HFLM
    whole: Any = simple_evaluate
    return whole(
        model=make(pretrained=model, tokenizer=tokenizer, batch_size=4),
        tasks=[name],
        num_fewshot=shots,
        limit=limit,
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False, include_path=str(folder)),
        gen_kwargs={"max_gen_toks": NEW_TOKENS},
    )


@pytest.mark.parametrize("name", ROWS)
def test_our_number_is_the_harnesss_own(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, name: str
) -> None:
    place = write_rows(tmp_path / "rows", name)
    task = asked(name, place, limit=20)
    ours = score_tasks(model, tiny_tokenizer, [task])
    own = write_definition(tmp_path / "tasks", name, place, tmp_path / "cache")
    theirs = harness_says(model, tiny_tokenizer, tmp_path / "tasks", own, SHOTS.get(name), 20)
    assert np.mean(ours.table["lm_eval"].tolist()) == pytest.approx(theirs["results"][own][task.metric], abs=1e-6)
    assert len(ours.table) == min(20, len(ROWS[name][1]))
    lines = [line for line in theirs["samples"][own] if line["filter"] == task.filter_name]
    assert ours.table["lm_eval"].tolist() == pytest.approx([float(line[task.metric_name]) for line in lines])
    same = score_tasks(model, tiny_tokenizer, [asked(own, None, tmp_path / "tasks", limit=20)]).table
    assert same["lm_eval"].tolist() == pytest.approx(ours.table["lm_eval"].tolist()), "a folder of one's own"
    assert ours.forward_passes > 0


@pytest.mark.parametrize("length", [4096, 40])
def test_likelihoods_are_those_of_the_harnesss_own_class(tiny_tokenizer: PreTrainedTokenizerFast, length: int) -> None:
    """Log-likelihood and greedy flag of each request; contexts that are shared, cut at the context's end, and long."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**{**SHAPE, "max_position_embeddings": length})).eval()
    opening = "Who wrote the book of tales? Anna did. " * 5
    contexts = ["Name:", "Where is it?", *(f"{opening}Question {number}:" for number in range(5))]
    texts = [(context, answer) for context in contexts for answer in (" A", " B", " in a house by the sea")]
    make: tuple[Any, Any] = HarnessModel, HFLM
    own, plain = (one(pretrained=model, tokenizer=tiny_tokenizer, backend="causal", batch_size=4) for one in make)
    first = tiny_tokenizer.encode("Name:", add_special_tokens=False)
    following = int(model(torch.tensor([first])).logits[0, -1].argmax())
    texts.append(("Name:", str(tiny_tokenizer.decode([following]))))
    asked_of: list[Any] = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(texts)]
    ours = own.loglikelihood(asked_of, disable_tqdm=True)
    theirs = plain.loglikelihood(asked_of, disable_tqdm=True)
    assert [value for value, _ in ours] == pytest.approx([value for value, _ in theirs], abs=1e-4)
    assert [flag for _, flag in ours] == [flag for _, flag in theirs]
    ids = [(None, first, [following]), (None, first, [following, first[0]]), (None, first, [first[0], following])]
    flags = [[flag for _, flag in one._loglikelihood_tokens(ids, disable_tqdm=True)] for one in (own, plain)]
    assert flags == [[True, False, False]] * 2  # greedy are all tokens, the first alone, none or the last
    rolled: list[Any] = [Instance("loglikelihood_rolling", {}, (opening,), 0)]
    assert own.loglikelihood_rolling(rolled, disable_tqdm=True) == pytest.approx(
        plain.loglikelihood_rolling(rolled, disable_tqdm=True), abs=1e-3
    )


def test_wmdp_by_letter_is_the_harnesss_row_by_row(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """`choice_accuracy` asks fifty questions as the harness does: prompt, letters and argmax."""
    theirs = score_tasks(model, tiny_tokenizer, [asked("wmdp_bio", write_rows(tmp_path, "wmdp_bio"))]).table
    records = [ChoiceRecord.model_validate(row) for row in ROWS["wmdp_bio"][1]]
    rows = choice_rows(records, "forget", "biology")
    ours = evaluate_rows(
        model, tiny_tokenizer, rows, metrics=["choice_accuracy"], template=Template(), max_new_tokens=4
    ).table
    assert ours["choice_accuracy"].tolist() == theirs["lm_eval"].tolist()
    assert 0 < np.mean(ours["choice_accuracy"].tolist()) < 1, "a test that all or none pass would show nothing"
    assert ours["chance"].tolist() == theirs["chance"].tolist() == [0.25] * 50


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mathqa", [0.2] * 4),
        ("mmlu_anatomy", [0.25] * 4),
        ("truthfulqa_mc1", [1 / 3, 1 / 4, 1 / 3, 1 / 4]),
        ("truthfulqa_mc2", [1 / 3, 2 / 5, 3 / 5, 1 / 4]),
        ("gsm8k", [0.0] * 4),
        ("ifeval", [0.0] * 4),
    ],
)
def test_chance_is_that_of_the_row(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, name: str, expected: list[float]
) -> None:
    """One in the choices; of TruthfulQA's second form the share of true answers."""
    table = score_tasks(model, tiny_tokenizer, [asked(name, write_rows(tmp_path, name), limit=4)]).table
    assert table["chance"].tolist() == pytest.approx(expected)
    given = score_tasks(model, tiny_tokenizer, [asked(name, tmp_path / name, limit=4, chance=0.125)]).table
    assert given["chance"].tolist() == [0.125] * 4


def test_a_group_is_all_rows_of_its_tasks(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    folder = tmp_path / "tasks"
    for name in ("wmdp_bio", "mmlu_anatomy"):
        write_definition(folder, name, write_rows(tmp_path / "rows", name), tmp_path / "cache")
    members = "[own_wmdp_bio, own_mmlu_anatomy]"
    (folder / "both.yaml").write_text(f"group: both\ntask: {members}\naggregate_metric_list: [{{metric: acc}}]\n")
    table = score_tasks(model, tiny_tokenizer, [asked("both", None, folder, num_fewshot=0)]).table
    theirs = harness_says(model, tiny_tokenizer, folder, "both", 0, None)
    assert len(table) == 58
    assert set(table["split"]) == {"task:both"}
    assert np.mean(table["lm_eval"].tolist()) == pytest.approx(theirs["groups"]["both"]["acc,none"])


def test_rows_have_ids_that_hold_their_content(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    names = ("mathqa", "truthfulqa_mc1", "gsm8k")
    table = score_tasks(model, tiny_tokenizer, [asked(n, write_rows(tmp_path, n), limit=3) for n in names]).table
    assert table["row_id"].is_unique
    assert set(table["kind"]) == {"task"}
    assert table["generation"].notna().tolist().count(True) == 3
    file = tmp_path / "mathqa" / "test.jsonl"
    changed = [{**json.loads(line), "correct": "a"} for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in changed))
    again = score_tasks(model, tiny_tokenizer, [asked("mathqa", tmp_path / "mathqa", limit=2)]).table
    before = table.loc[table["split"] == "task:mathqa", "row_id"].tolist()
    assert again["row_id"].tolist()[0] == before[0], "the first row's right letter was a"
    assert again["row_id"].tolist()[1] != before[1]


def test_nothing_is_changed_by_asking(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """Neither the tokenizer nor anybody's random numbers nor the model."""
    random.seed(3)
    np.random.seed(3)
    states = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    special = dict(tiny_tokenizer.special_tokens_map)
    side = tiny_tokenizer.padding_side
    score_tasks(model, tiny_tokenizer, [asked("gsm8k", write_rows(tmp_path, "gsm8k"), limit=2)])
    assert (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()) == states
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert (dict(tiny_tokenizer.special_tokens_map), tiny_tokenizer.padding_side) == (special, side)
    assert not model._forward_pre_hooks


def test_examples_that_are_not_there_are_not_made_of_the_rows_asked(tmp_path: Path) -> None:
    place = write_rows(tmp_path, "gsm8k")
    (place / "train.jsonl").unlink()
    from unlearn_sweep.evaluators.tasks.loading import load_task

    with pytest.raises(TaskError, match="2 examples from split train"):
        load_task(asked("gsm8k", place))
    assert list(load_task(asked("gsm8k", place / "test.jsonl", num_fewshot=0))) == ["gsm8k"]
    with pytest.raises(TaskError, match=r"validation\.json"):
        load_task(asked("truthfulqa_mc1", place))


def test_a_benchmarks_rows_and_a_tasks_are_one_table(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    rows = choice_rows([ChoiceRecord.model_validate(row) for row in ROWS["wmdp_bio"][1][:3]], "mmlu", "biology")
    metrics = ["choice_accuracy", "lm_eval"]
    own = evaluate_rows(model, tiny_tokenizer, rows, metrics=metrics, template=Template(), max_new_tokens=4).table
    tasks = score_tasks(model, tiny_tokenizer, [asked("mathqa", write_rows(tmp_path, "mathqa"), limit=2)]).table
    both = add_task_rows(own, tasks)
    assert both["choice_accuracy"].notna().tolist() == [True] * 3 + [False] * 2
    assert both["lm_eval"].notna().tolist() == [False] * 3 + [True] * 2
    both.to_parquet(tmp_path / "rows.parquet", index=False)


@pytest.mark.skipif(not GSM8K.exists(), reason="the GSM8K files are not beside the project")
def test_real_gsm8k_rows_with_examples_from_its_training_rows(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    place = tmp_path / "gsm8k"
    place.mkdir()
    for split, file in (("test", "test.jsonl"), ("train", "train_first1000.jsonl")):
        (place / f"{split}.jsonl").write_text((GSM8K / file).read_text())
    table = score_tasks(model, tiny_tokenizer, [asked("gsm8k", place, limit=3)]).table
    own = write_definition(tmp_path / "tasks", "gsm8k", place, tmp_path / "cache")
    theirs = harness_says(model, tiny_tokenizer, tmp_path / "tasks", own, 2, 3)
    assert table["generation"].tolist() == [line["resps"][0][0] for line in theirs["samples"][own][:3]]
