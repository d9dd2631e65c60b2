"""A table of edits to the source, and the stages whose keys each must and must not change.

Oracle: what a stage computes with. The edits are made in a copy of the source tree; the keys are those of `requests`.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from unlearn_sweep.engine.job import AttackSettings, BenchmarkSettings, ModelSource, SweepJob, TrainingSettings
from unlearn_sweep.engine.search_settings import SearchSettings
from unlearn_sweep.engine.search_space import Fixed, MethodSpace
from unlearn_sweep.engine.stages import measuring_requests, training_requests
from unlearn_sweep.engine.stages.sweep_code import sweep_code
from unlearn_sweep.engine.store import code
from unlearn_sweep.evaluators import catalog

ROOT = Path(__file__).parents[3]
FOLDERS = ("engine", "methods", "evaluators", "sweeps")
RECIPE = {"base": None, "config": {}, "vocab_size": 10, "seed": 1}
CHAIN = {"steps": [{"quantize": {"bits": 4}}, {"relearn": {"steps": [5]}}]}

MODELS = {"prepare:start", "prepare:original"}
UNLEARNED = ("npo", "simnpo", "npo+sam", "npo+lat", "npo+weight_avg")
TRAININGS = {"prepare:original", *(f"unlearn {method}" for method in UNLEARNED)}
NPO = TRAININGS - {"prepare:original", "unlearn simnpo"}
ATTACKS = {"attack relearn", "attack quantize", "attack prefill", "attack chain", "link quantize"}
MEASURED = {"evaluate", *ATTACKS}
SWEEP = {"sweep"}
EVERYTHING = {*MODELS, *TRAININGS, *MEASURED, *SWEEP}


def job(storage: Path) -> SweepJob:
    """Every kind of stage; its own code: npo, npo+sam, relearn, quantize and a chain of both."""
    attacks = [("relearn", {"steps": [5]}), ("quantize", {"bits": 4}), ("chain", CHAIN)]
    return SweepJob(
        name="n",
        seed=1,
        storage=storage,
        directory=storage / "n",
        benchmark=BenchmarkSettings(name="authors"),
        original=ModelSource(path="/a/model"),
        gold=ModelSource(path="/a/gold"),
        spaces=[MethodSpace(method=name, params={"beta": Fixed(0.1)}) for name in ("npo", "npo+sam")],
        training=TrainingSettings(epochs=1),
        ue_metrics=["extraction_strength"],
        ut_metrics=["probability"],
        attacks=[AttackSettings(label=name, name=name, family="x", params=params) for name, params in attacks],
        search=SearchSettings(trials=1),
    )


def keys() -> dict[str, str]:
    """The key of one stage of each kind, and the version of a sweep's code."""
    made = job(Path("/storage"))
    params = {"learning_rate": 1e-5}

    def attack(name: str, values: Mapping[str, object]) -> AttackSettings:
        return AttackSettings(label=name, name=name, family="x", params=dict(values))

    found = {
        "prepare:start": training_requests.start_stage(RECIPE, "d"),
        "prepare:original": training_requests.finetune_stage(made, "original", "s", RECIPE, "d"),
        "evaluate": measuring_requests.evaluate_stage(made, "m", "d"),
        "link quantize": measuring_requests.link_stage(made, attack("quantize", {"bits": 4}), "m", "o", "d"),
    }
    for method in UNLEARNED:
        found[f"unlearn {method}"] = training_requests.unlearn_stage(made, method, params, 1, "o", "d")
    for name, values in (("relearn", {}), ("quantize", {"bits": 4}), ("prefill", {}), ("chain", CHAIN)):
        found[f"attack {name}"] = measuring_requests.attack_stage(made, attack(name, values), "m", "o", "d")
    return {name: request.key for name, request in found.items()} | {"sweep": code.version_of(sweep_code(made))}


Rewrite = Callable[[str], str]


@dataclass(frozen=True)
class Edit:
    """A change of one file, and the stages that must change with it; all others must not."""

    file: str
    rewrite: Rewrite
    changes: Set[str] = frozenset()


def put(old: str, new: str) -> Rewrite:
    """Every `old` becomes `new`; there must be one."""

    def rewrite(text: str) -> str:
        assert old in text, f"{old!r} is not in the file"
        return text.replace(old, new)

    return rewrite


def more(text: str) -> str:
    """One more constant at the file's end."""
    return f"{text}\nMORE = 1\n"


def reformatted(text: str) -> str:
    """The file as Python writes it: no comments, other line breaks, other quotes."""
    return ast.unparse(ast.parse(text))


def reduced_renamed(text: str) -> str:
    return put("joint=False), reduced)", "joint=False), shrunk)")(put("reduced = {", "shrunk = {")(text))


NEW_ATTACK = "from unlearn_sweep.evaluators.attacks.attack import Target\n\nSTRENGTH = 1\n"
ATTACK = "evaluators/attacks"
RELEARN = {"attack relearn", "attack chain"}
EDITS = {
    "docstring, training": Edit("engine/training/loop.py", put('"""One optimizer step', '"""A single step')),
    "docstring, all attacks' parameters": Edit(f"{ATTACK}/attack_params.py", put("Base of all", "What is in all")),
    "docstring, loss": Edit("methods/npo.py", put('"""NPO on the forget answers', '"""On the forget answers, NPO')),
    "comment": Edit("methods/reduction.py", lambda text: f"# A thought.\n{text}"),
    "formatting, training": Edit("engine/training/loop.py", reformatted),
    "formatting, loss": Edit("methods/npo.py", reformatted),
    "formatting, measuring": Edit("evaluators/evaluate.py", reformatted),
    "formatting, attack": Edit(f"{ATTACK}/relearn.py", reformatted),
    "rename of a local, training": Edit("engine/training/loop.py", reduced_renamed),
    "rename of a local, loss": Edit("methods/npo.py", put("margin", "distance")),
    "rename of a local, metric": Edit("evaluators/memorization.py", put("suffix", "tail")),
    "card text, method": Edit("methods/divergence_cards.py", put("gradient ascent", "ascent")),
    "card text, metric": Edit("evaluators/metric_cards.py", more),
    "card text, attack": Edit(f"{ATTACK}/catalog.py", put("training on half", "tuning on half")),
    "description of a parameter": Edit(f"{ATTACK}/relearn_params.py", put("half of the", "one half of the")),
    "new attack's file": Edit(f"{ATTACK}/mine.py", lambda _: NEW_ATTACK),
    "new attack's card": Edit(f"{ATTACK}/catalog.py", put("CARDS = (", "CARDS = (\n    MINE,")),
    "new metric's file": Edit("evaluators/mine.py", lambda _: "VALUE = 1\n"),
    "page generator": Edit(f"{ATTACK}/reference_page.py", more),
    "how a file is made durable": Edit("engine/store/durable.py", more),
    "search": Edit("engine/study/sampling.py", more),
    "command line": Edit("sweeps/cli.py", more),
    "constant of the training": Edit("engine/training/loop.py", put("steps // 50", "steps // 60"), TRAININGS | SWEEP),
    "loss": Edit("methods/npo.py", put("total=total", "total=10 * total"), NPO | SWEEP),
    "loss of another method": Edit("methods/simnpo.py", more, {"unlearn simnpo"}),
    "wrapper": Edit("methods/sam.py", put("sam_rho == 0", "sam_rho == 1"), {"unlearn npo+sam"} | SWEEP),
    "adversary of lat": Edit("methods/lat.py", put("push - rate", "push + rate"), {"unlearn npo+lat"}),
    "parameter of lat": Edit("methods/lat.py", put("lat_steps: int = 4", "lat_steps: int = 5"), {"unlearn npo+lat"}),
    "weight average": Edit(
        "methods/weight_average.py", put("start=self.average_start", "start=0.0"), {"unlearn npo+weight_avg"}
    ),
    "attack": Edit(f"{ATTACK}/relearn.py", put("asked - trained", "asked"), RELEARN | SWEEP),
    "parameter of an attack": Edit(f"{ATTACK}/relearn_params.py", put('"forget",', '"related",'), RELEARN | SWEEP),
    "attack that the sweep leaves out": Edit(f"{ATTACK}/prefill.py", more, {"attack prefill"}),
    "chain": Edit(f"{ATTACK}/chain.py", put("maxlen=1", "maxlen=2"), {"attack chain"} | SWEEP),
    "how attacks are run": Edit("engine/stages/attack_run.py", more, ATTACKS | SWEEP),
    "metric": Edit("evaluators/memorization.py", put("if len(wrong) else n", "if len(wrong) else 0"), MEASURED | SWEEP),
    "how models are measured": Edit("engine/stages/measurement.py", more, MEASURED | SWEEP),
    "objective's formula": Edit("evaluators/objectives/parts.py", put("0.0, 1.0)", "0.0, 2.0)"), SWEEP),
    "normalisation": Edit("evaluators/normalise.py", put("NOISE_FACTOR = 2.0", "NOISE_FACTOR = 3.0"), SWEEP),
    "gate": Edit("engine/stages/gate.py", put("COLLAPSED_UT = 0.05", "COLLAPSED_UT = 0.5"), SWEEP),
    "rows": Edit("evaluators/rows.py", more, EVERYTHING),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package as it is installed."""
    root = tmp_path_factory.mktemp("tree") / code.OWN
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (ROOT / "src" / code.OWN).glob("*.py"):
        shutil.copyfile(file, root / file.name)
    return root


@pytest.fixture(autouse=True)
def _no_memory_of_other_trees() -> Iterator[None]:
    yield
    forget()


def forget() -> None:
    code._digests.cache_clear()
    code._read.cache_clear()


def keys_of(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    forget()
    monkeypatch.setattr(code, "package_root", lambda: root)
    return keys()


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_changes_the_stages_that_compute_with_it(
    what: str, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = EDITS[what]
    before = keys_of(tree, monkeypatch)
    path = tree / edit.file
    text = path.read_text() if path.exists() else ""
    changed = edit.rewrite(text)
    assert changed != text
    path.write_text(changed)
    try:
        after = keys_of(tree, monkeypatch)
    finally:
        path.write_text(text) if text else path.unlink()
    assert {name for name in before if before[name] != after[name]} == set(edit.changes)


def test_a_process_of_a_changed_tree_gets_the_keys_of_the_table(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is read in this process, off a copied tree; a process that runs the copy itself agrees."""
    path = tree / "methods" / "npo.py"
    text = path.read_text()
    path.write_text(text.replace("total=total", "total=10 * total"))
    try:
        expected = keys_of(tree, monkeypatch)
        script = "import json; from tests.engine.stages.test_stage_code import keys; print(json.dumps(keys()))"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree.parent), str(ROOT)])}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=tree.parent)
    finally:
        path.write_text(text)
    assert json.loads(done.stdout) == expected


def test_what_a_metric_card_says_is_no_part_and_what_it_decides_is(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys()

    def with_card(**fields: object) -> set[str]:
        cards = {**catalog.METRICS, "probability": replace(catalog.METRICS["probability"], **fields)}
        monkeypatch.setattr(catalog, "METRICS", cards)
        after = keys()
        monkeypatch.undo()
        return {name for name in before if before[name] != after[name]}

    assert with_card(summary="other words", source="another paper") == set()
    assert with_card(kinds=("text",)) == MEASURED - {"link quantize"} | SWEEP
    assert with_card(chance=0.5) == SWEEP
    assert with_card(group="choice") == SWEEP


def test_modules_are_followed_and_what_computes_nothing_is_not() -> None:
    files = code.code_digests("unlearn_sweep.engine.training.worker")
    assert {"unlearn_sweep.engine.training.loop", "unlearn_sweep.evaluators.rows"} <= set(files)
    assert not [name for name in files if ".attacks" in name or ".store" in name or name.endswith(("catalog", "cards"))]
    assert code.code_digests("unlearn_sweep.no_such") == {}


def test_changed_modules_are_named() -> None:
    before = {"unlearn_sweep.a": "1", "unlearn_sweep.b": "2", "unlearn_sweep.c": "3"}
    assert code.changed_modules(before, {"unlearn_sweep.a": "1", "unlearn_sweep.b": "9", "unlearn_sweep.d": "3"}) == [
        "b",
        "c",
        "d",
    ]
