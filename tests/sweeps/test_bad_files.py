"""Every mistake of a bad file at once, with its line; exit status 2, nothing started, nothing written.

Oracle: lines and names written down by hand beside each file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sweeps.sweep_text import TWO_CPUS
from unlearn_sweep.sweeps.file.problems import Problem, SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec

GENEROUS_S = 10.0

BAD_FILES: dict[str, tuple[str, list[tuple[int, str, str]]]] = {
    "unknown key": (
        """\
name: bad
seeds: 3
trials: 12
benchmark: {name: authors, author: 4}
methods:
  npo: {bta: 0.1}
attacks:
  - relearn: {step: [5]}
search: {sampeler: tpe}
training: {workrs: 2, backend: deepspeed}
""",
        [
            (2, "seeds", "seed"),
            (3, "trials", "search.trials"),
            (4, "benchmark.author", "authors"),
            (6, "methods.npo.bta", "beta"),
            (8, "attacks[0].relearn.step", "steps"),
            (9, "search.sampeler", "sampler"),
            (10, "training.workrs", "workers"),
        ],
    ),
    "unknown name with a near miss": (
        """\
name: bad
benchmark: {name: autors}
methods:
  npoo: published
  grad-diff: published
evaluators: {ue: [extraction_strenght], ut: [probabilty]}
attacks: [relern, {quantise: {bits: 4}}]
search: {trials: 4}
model: {dtype: float23}
""",
        [
            (2, "benchmark.name", "authors"),
            (4, "methods.npoo", "npo"),
            (5, "methods.grad-diff", "graddiff"),
            (6, "evaluators.ue[0]", "extraction_strength"),
            (6, "evaluators.ut[0]", "probability"),
            (7, "attacks[0].relern", "relearn"),
            (7, "attacks[1].quantise", "quantize"),
            (9, "model.dtype", "float32"),
        ],
    ),
    "wrong type": (
        """\
name: 12
seed: seven
benchmark: authors
methods:
  npo: {beta: [0.1, 1.0], retain: 3, epochs: 2.5}
  graddiff: 5
training:
  workers: true
  global_batch_size: 5.0
attacks:
  - relearn: {learning_rate: fast}
  - 4
search: {trials: "4", max_concurrent: 1.5, constraints: {ut: 0.5}}
prune: yes
""",
        [
            (1, "name", "text"),
            (2, "seed", "a whole number"),
            (3, "benchmark", "keys with values"),
            (5, "methods.npo.beta", "choice"),
            (5, "methods.npo.retain", "nll"),
            (5, "methods.npo.epochs", "a whole number"),
            (6, "methods.graddiff", "published"),
            (8, "training.workers", "a whole number"),
            (9, "training.global_batch_size", "write 5"),
            (11, "attacks[0].relearn.learning_rate", "a number"),
            (12, "attacks[1]", "a name"),
            (13, "search.trials", "write 4 without quotes"),
            (13, "search.max_concurrent", "auto or a whole number"),
            (13, "search.constraints.ut", '">= 0.5"'),
            (14, "prune", "true or false"),
        ],
    ),
    "wrong unit": (
        """\
name: bad
benchmark: {name: authors}
methods:
  npo: {learning_rate: {log: [1e-5, 1 e-3]}, retain_weight: 50%}
attacks: [prefill]
search:
  trials: 2k
  budget: {gpu_hours: 48h, wall_hours: 30 min}
training: {warmup_share: 5%}
stage_timeout_s: 2h
""",
        [
            (4, "methods.npo.learning_rate.log[1]", "a number"),
            (4, "methods.npo.retain_weight", "'%'"),
            (7, "search.trials", "write 2000"),
            (8, "search.budget.gpu_hours", "write 48"),
            (8, "search.budget.wall_hours", "write 0.5"),
            (9, "training.warmup_share", "write 0.05"),
            (10, "stage_timeout_s", "write 7200"),
        ],
    ),
    "ranges": (
        """\
name: bad
benchmark: {name: authors}
methods:
  npo:
    beta: {log: [1.0, 0.05]}
    learning_rate: {log: [0, 1e-4]}
    retain_weight: {log: [0, 1]}
    forget_weight: {uniform: [-1, 1]}
    epochs: {uniform: [1, 3]}
    retain: {choice: []}
  simnpo:
    delta: {uniform: [0.5]}
    beta: {choice: [1.0, 2.0, 1.0]}
    retain: {uniform: [1, 2]}
    forget_weight: {log: [0.1, 1], choice: [1]}
attacks:
  - relearn: {steps: [20, 5]}
  - prefill
search: {trials: 4}
""",
        [
            (5, "methods.npo.beta.log", "write [0.05, 1.0]"),
            (6, "methods.npo.learning_rate.log[0]", "> 0"),
            (7, "methods.npo.retain_weight.log", "above 0"),
            (8, "methods.npo.forget_weight.uniform[0]", ">= 0"),
            (9, "methods.npo.epochs.uniform", "write int"),
            (10, "methods.npo.retain.choice", "empty"),
            (12, "methods.simnpo.delta.uniform", "two numbers"),
            (13, "methods.simnpo.beta.choice[2]", "repeated"),
            (14, "methods.simnpo.retain.uniform", "nll"),
            (15, "methods.simnpo.forget_weight", "not one space"),
            (17, "attacks[0].relearn", "try [5, 20]"),
        ],
    ),
    "empty": (
        """\
name: ""
benchmark: {}
methods: {}
attacks: []
evaluators: {ue: []}
storage: ""
""",
        [
            (1, "name", "1 to 80"),
            (2, "benchmark.name", "authors"),
            (3, "methods", "at least one"),
            (4, "attacks", "at least one"),
            (5, "evaluators.ue", "at least one"),
            (6, "storage", "empty"),
        ],
    ),
    "a path that does not exist": (
        """\
name: bad
benchmark: {name: tofu, path: ./tofoo}
model: {path: ./models/orignal}
gold: {path: some/where/else}
methods: {npo: published}
attacks:
  - finetune: {data: ./gsm8k.jsonl}
search: {trials: 1}
""",
        [
            (2, "benchmark.path", "no such path"),
            (3, "model.path", "original"),
            (4, "gold.path", "no such path"),
            (7, "attacks[0].finetune.data", "no such path"),
        ],
    ),
    "more than the machine has": (
        """\
name: bad
benchmark: {name: authors}
methods: {npo: published}
attacks: [prefill]
search: {trials: 1}
model: {attention: flash_attention_2}
training:
  backend: deepspeed
  workers: 8
""",
        [
            (6, "model.attention", "no GPU"),
            (9, "training.workers", "one trial needs 8 CPU, there are 2"),
        ],
    ),
    "epochs in a sweep that counts steps": (
        """\
name: bad
benchmark: {name: authors}
methods: {npo: {epochs: 3}}
attacks: [prefill]
training: {max_steps: 10, betas: [0.9, 1.0]}
""",
        [(3, "methods.npo.epochs", "max_steps"), (5, "training.betas[1]", "< 1")],
    ),
    "what does not go together": (
        """\
name: store
benchmark: {name: authors}
methods: {npo: {epochs: 3}, graddiff: published, npo+sam+rs: published, idk>npo>dpo: {}}
attacks: [{chain: [{quantize: {bits: 4}}]}]
search: {sampler: random, trials: 1, startup_trials: 3, grid_points: 4, constraints: {rob: ">= 2"}}
training: {backend: torch, zero_stage: 2, epochs: 3, max_steps: 10, global_batch_size: 10, micro_batch_size: 3}
model: {path: org/name, train: {epochs: 1}, trust_remote_code: true}
tracking: {mlflow: "http://me:secret@host/"}
evaluators: {ue: [model_utility, rouge, rouge]}
evaluation: {resources: {cpu: 1}}
""",
        [
            (1, "name", "used by the tool"),
            (3, "methods.npo+sam+rs", "take one of them"),
            (3, "methods.idk>npo>dpo", "at most two"),
            (4, "attacks[0].chain", "two or more"),
            (5, "search.startup_trials", "random"),
            (5, "search.grid_points", "random"),
            (5, "search.constraints.rob", "between 0 and 1"),
            (6, "training.zero_stage", "deepspeed"),
            (6, "training.max_steps", "not both"),
            (6, "training.micro_batch_size", "a divisor of 10"),
            (7, "model.train", "not both"),
            (7, "model.trust_remote_code", "never run"),
            (7, "gold", "missing"),
            (8, "tracking.mlflow", "MLFLOW_TRACKING_PASSWORD"),
            (9, "evaluators.ue[0]", "put it under ut"),
            (9, "evaluators.ue[2]", "repeated"),
            (10, "evaluation.resources.cpu", "write CPU"),
        ],
    ),
}


def mistakes(text: str, folder: Path) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, folder=folder, machine=TWO_CPUS)
    return caught.value.problems


@pytest.mark.parametrize("name", BAD_FILES)
def test_every_mistake_once_and_no_other(name: str, tmp_path: Path) -> None:
    (tmp_path / "models" / "original").mkdir(parents=True)
    text, expected = BAD_FILES[name]
    found = {problem.path: problem for problem in mistakes(text, tmp_path)}
    assert {path: problem.line for path, problem in found.items()} == {path: line for line, path, _ in expected}
    for _, path, word in expected:
        assert word in found[path].text("bad.yaml"), path


def test_a_secret_in_an_address_is_not_repeated(tmp_path: Path) -> None:
    for problem in mistakes(BAD_FILES["what does not go together"][0], tmp_path):
        assert "secret" not in problem.text("bad.yaml")


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [("", None, "empty"), ("- a\n- b\n", 1, "mapping"), ("just words\n", 1, "mapping"), ("a: [\n", 2, "not YAML")],
)
def test_files_that_are_no_sweep(text: str, line: int | None, word: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    (problem,) = caught.value.problems
    assert line in (problem.line, None)
    assert word in problem.message


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.path.join(os.getcwd(), "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "unlearn_sweep.sweeps.cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("verb", ["run", "plan", "validate"])
def test_the_command_ends_with_2_and_writes_nothing(verb: str, tmp_path: Path) -> None:
    text, expected = BAD_FILES["wrong type"]
    (tmp_path / "bad.yaml").write_text(text)
    began = time.monotonic()
    done = command(verb, "bad.yaml", folder=tmp_path)
    assert time.monotonic() - began < GENEROUS_S
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    for line, path, _ in expected:
        assert f"bad.yaml:{line}: {path}: " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


def test_mistakes_as_json(tmp_path: Path) -> None:
    text, expected = BAD_FILES["ranges"]
    (tmp_path / "bad.yaml").write_text(text)
    done = command("validate", "bad.yaml", "--json", folder=tmp_path)
    assert done.returncode == 2
    answer = json.loads(done.stdout)
    assert answer["valid"] is False
    assert [(problem["line"], problem["path"]) for problem in answer["problems"]] == [
        (line, path) for line, path, _ in expected
    ]


def test_no_model_library_is_imported_to_check_a_file(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD_FILES["ranges"][0])
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from unlearn_sweep.sweeps.file.problems import SpecError\n"
        "from unlearn_sweep.sweeps.file.spec import load_spec\n"
        "try:\n    load_spec(Path(sys.argv[1]))\n"
        "except SpecError:\n    pass\n"
        "print([name for name in 'torch ray transformers optuna pandas mlflow'.split() if name in sys.modules])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.path.join(os.getcwd(), "src")}
    arguments = [sys.executable, "-c", code, str(tmp_path / "bad.yaml")]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
