"""GAO, AltPO and refusals trained on written views of published rows, short. Oracles: the view's file, and the tokens.

The texts are written through the command by a writer on loopback; what a step then trains on is decoded and compared
with the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.evaluators.judge.server import serving
from tests.support.published_data import write_muse, write_wmdp
from tests.support.written_views import lines_of, write_tofu, writes
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.models.loading import load_tokenizer
from unlearn_sweep.engine.models.start_model import create_start_model
from unlearn_sweep.engine.stages.training_requests import unlearn_job
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training.refusals import REFUSALS
from unlearn_sweep.engine.training.training_views import Encoder, Views
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.methods.catalog import build, defaults
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.file.spec import load_spec
from unlearn_sweep.sweeps.resolve import resolve

RECIPE = TrainRecipe(
    config={
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
    },
    vocab_size=500,
)
SIX = {"gao_paraphrases": 6, "gao_agree": 4}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Case = tuple[Callable[[Path], dict[str, Any]], str, str, str, dict[str, Any]]
CASES: dict[str, Case] = {
    "gao on tofu": (write_tofu, "tofu", "[paraphrase]", "npo+gao", SIX),
    "gao on muse": (write_muse, "muse", "[{summary: {number: 6, attempts: 9}}]", "npo+gao", SIX),
    "altpo on tofu": (write_tofu, "tofu", "[alternate_answer]", "altpo", {}),
    "altpo on muse": (
        write_muse, "muse", "[questions_from_text, alternate_answer: {of: forget_questions}]", "altpo", {}
    ),
    "idk_ap on wmdp": (
        write_wmdp, "wmdp", "[questions_from_text, questions_from_text: {of: retain}]", "idk_ap", {}
    ),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SweepJob, Case]:
    """A sweep whose views are written."""
    found = CASES[request.param]
    write, name, views, method, params = found
    file = tmp_path / "sweep.yaml"
    gold = "" if name == "muse" or name == "tofu" else "gold: {floor: chance}\n"
    file.write_text(
        f"name: a\nbenchmark: {json.dumps({'name': name, **write(tmp_path / name)})}\n{gold}"
        f"methods: {{{method}: {json.dumps(params)}}}\nviews: {views}\nattacks: [quantize]\n"
        f"training: {{max_steps: 2, global_batch_size: 4}}\nstorage: {tmp_path / 'runs'}\n"
    )
    with serving(writes) as endpoint:
        monkeypatch.setenv("UNLEARN_SWEEP_WRITER_URL", endpoint.url)
        monkeypatch.setenv("UNLEARN_SWEEP_WRITER_MODEL", "writer-2025-01-01")
        done = CliRunner().invoke(app, ["write-views", str(file)])
        assert done.exit_code == 0, done.output
    checked = CliRunner().invoke(app, ["validate", str(file)])
    assert checked.exit_code == 0, checked.output
    return resolve(load_spec(file)), found


def test_a_training_reads_the_written_texts(case: tuple[SweepJob, Case], tmp_path: Path) -> None:
    job, (_, _, _, method, given) = case
    params = defaults(method) | given | {"learning_rate": 1e-3}
    start = tmp_path / "start"
    create_start_model(load_benchmark(job.benchmark.name, job.benchmark.params), RECIPE, start)
    training = unlearn_job(job, method, params, 3, str(start), tmp_path / "trained")
    outcome = TrainOutcome.model_validate(run_worker(json.loads(training.model_dump_json())))
    assert outcome.steps == 2
    assert (tmp_path / "trained" / "model.safetensors").is_file()
    tables = {view.label: lines_of(view.path) for view in job.views}
    check(method, read_items(training.benchmark.params, job, method, params, start), tables)


def read_items(
    options: dict[str, Any], job: SweepJob, method: str, params: dict[str, Any], start: Path
) -> dict[str, list[tuple[str, str]]]:
    """What each view of the method's first two steps says: prompts and answers."""
    tokenizer = load_tokenizer(str(start))
    benchmark = load_benchmark(job.benchmark.name, options)
    encoder = Encoder(tokenizer, benchmark.template, 1024)
    own = {name: value for name, value in params.items() if name not in ("learning_rate", "epochs")}
    made = Views(benchmark, encoder, build(method, own).needs().views, train_groups=("forget", "retain"), seed=3)
    items: dict[str, list[tuple[str, str]]] = {}
    for step in range(2):
        for name, found in made.batch(made.plan(4), step).items():
            for item in found:
                prompt = str(tokenizer.decode(list(item.example.prompt_ids), skip_special_tokens=True))
                answer = str(tokenizer.decode(list(item.example.answer_ids), skip_special_tokens=True))
                items.setdefault(name, []).append((prompt, answer.strip()))
    return items


def check(method: str, items: dict[str, list[tuple[str, str]]], tables: dict[str, list[dict[str, Any]]]) -> None:
    if method == "npo+gao":
        (table,) = tables.values()
        trained = {answer for number in range(6) for _, answer in items[f"forget_paraphrase_{number}"]}
        assert len(trained) >= 6 * 4
        assert trained <= {line["answer"] for line in table}
    elif method == "altpo":
        wrong = next(table for label, table in tables.items() if label.startswith("alternate_answer"))
        assert {answer for _, answer in items["forget_alternate"]} <= {line["answer"] for line in wrong}
        asked = {line["source_question"]: line["source_answer"] for line in wrong}
        assert all(any(question in prompt for question in asked) for prompt, _ in items["forget_alternate"])
        assert [prompt for prompt, _ in items["forget"]] == [prompt for prompt, _ in items["forget_alternate"]]
        assert {answer for _, answer in items["forget"]} <= set(asked.values())
    else:
        for base in ("forget", "retain"):
            lines = tables[f"questions_from_text of {base}"]
            questions = [line["question"] for line in lines if line["question"] is not None]
            assert all(answer in REFUSALS for _, answer in items[f"{base}_idk"])
            assert all(any(question in prompt for question in questions) for prompt, _ in items[f"{base}_idk"])
