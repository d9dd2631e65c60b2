"""The files of `sweeps/papers/` on rows of the published schema and a small model that the sweep makes.

Methods, metrics, attacks, views and settings stay those of the file; rows, models, and the lengths of trainings and
searches are replaced, since nothing of the hub is here and a test has minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.evaluators.benchmarks.test_tofu import row, write
from tests.support.published_data import WRITERS
from unlearn_sweep.evaluators.attacks.presets import PRESETS
from unlearn_sweep.sweeps.file.yaml_lines import read_document

FOLDER = Path(__file__).parents[2] / "sweeps" / "papers"
RECIPE = {
    "config": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    },
    "vocab_size": 500,
    "epochs": 30,
    "batch_size": 16,
    "learning_rate": 5e-3,
}
SHORT: Mapping[str, Mapping[str, Any]] = {
    "relearn": {"steps": [2]},
    "finetune": {"steps": [2], "batch_size": 4, "max_rows": 16, "heldout_rows": 4},
    "enhanced_gcg": {
        "steps": [1],
        "prompts": 3,
        "layers": [2],
        "search_width": 4,
        "top_k": 4,
        "text_tokens": 3,
        "min_tokens": 2,
    },
}


def write_tofu_rows(folder: Path) -> dict[str, Any]:
    """TOFU's forget10 and forget05 with their judged, held-out and general rows."""
    for part, kept in (("05", "95"), ("10", "90")):
        write(folder, f"forget{part}", [row(i, extra=False) for i in range(8)])
        write(folder, f"forget{part}_perturbed", [row(i) for i in range(8)])
        write(folder, f"holdout{part}", [row(i, extra=False) for i in range(70, 78)])
        write(folder, f"retain{kept}", [row(i, extra=False) for i in range(20, 60)])
    write(folder, "retain_perturbed", [row(i) for i in range(20, 60, 4)])
    for name in ("real_authors", "world_facts"):
        write(folder, f"{name}_perturbed", [row(i, full=False) for i in range(5)])
    return {"path": str(folder)}


def write_bio_rows(folder: Path) -> dict[str, Any]:
    """WMDP's biology in its files, from the rows of the other topic."""
    WRITERS["wmdp"](folder)
    for name in ("wmdp-cyber", "cyber-retain-corpus", "cyber-forget-corpus"):
        (folder / name).rename(folder / name.replace("cyber", "bio"))
    corpus = folder / "bio_forget_dataset.jsonl"
    (folder / "bio-forget-corpus" / "train.jsonl").rename(corpus)
    return {"path": str(folder), "forget_path": str(corpus)}


def write_lkf_rows(folder: Path) -> dict[str, Any]:
    """LKF's sets, and RWKU's utility sets in a folder of their own."""
    options = WRITERS["lkf"](folder / "lkf")
    WRITERS["rwku"](folder / "rwku")
    return {**options, "rwku_path": str(folder / "rwku")}


def write_task_rows(folder: Path) -> None:
    """GSM8K, SST-2 and MNLI with their columns."""
    rows: dict[str, list[dict[str, Any]]] = {
        "gsm8k": [{"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(20)],
        "sst2": [{"sentence": f"Film {i} was fine.", "label": i % 2} for i in range(20)],
        "mnli": [{"premise": f"It is {i}.", "hypothesis": "It is.", "label": i % 3} for i in range(20)],
    }
    rows |= {f"{name}_view": rows["gsm8k"] for name in tuple(rows)}
    folder.mkdir(parents=True)
    for name, found in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in found))


ROWS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "tofu": write_tofu_rows,
    "wmdp": write_bio_rows,
    "muse": WRITERS["muse"],
    "lkf": write_lkf_rows,
    "rwku": lambda folder: {key: value for key, value in WRITERS["rwku"](folder).items() if key != "chat"},
}


def on_made_rows(name: str, folder: Path, **changes: Any) -> Path:
    """Write the file of a paper on made rows into `folder`, where its storage is too; `changes` replace sections."""
    data: dict[str, Any] = json.loads(json.dumps(read_document(FOLDER / f"{name}.yaml").data))
    rows, tasks = folder / "rows", folder / "tasks"
    rows.mkdir(parents=True)
    write_task_rows(tasks)
    data["benchmark"] |= ROWS[data["benchmark"]["name"]](rows)
    data["model"] = {"train": RECIPE}
    if "floor" not in data["gold"]:
        data["gold"] = {"train": {}}
    data.pop("prompt", None)
    data["methods"] = {method: _short(method, values, tasks) for method, values in data["methods"].items()}
    data["training"] |= {"max_steps": 2} if "max_steps" in data["training"] else {}
    data["attacks"] = [short for attack in data["attacks"] for short in _attacks(attack, tasks)]
    for needs_tasks in ("lm_eval", "ut_groups"):
        data["evaluators"].pop(needs_tasks, None)
    if "enqueue" in data["search"] and "irm" in str(data["methods"]):
        data["search"]["enqueue"] = [_enqueued(entry, tasks) for entry in data["search"]["enqueue"]]
    data["evaluators"]["ut"] = ["choice_accuracy" if name == "lm_eval" else name for name in data["evaluators"]["ut"]]
    data |= {"storage": str(folder / "runs"), "tracking": {"mlflow": "off"}, "evaluation": {"resources": {"CPU": 1}}}
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps(data | changes))
    return file


def _short(method: str, values: Mapping[str, Any], tasks: Path) -> dict[str, Any]:
    own: dict[str, Any] = {}
    if "+irm" in method:
        own = {
            "irm_view": {"choice": [_task_view(view, tasks) for view in values["irm_view"]["choice"]]},
            "irm_rows": 4,
        }
    short = {"epochs": 1} if isinstance(values.get("epochs"), int) else {}
    tar = {"tar_steps": 2} if "+tar" in method else {}
    return {**values, **short, **own, **tar}


def _task_view(view: str, tasks: Path) -> str:
    """A file of questions and answers in the place of a task: a view reads no other columns from a file."""
    return f"task:{tasks / view.removeprefix('task:')}_view.jsonl"


def _enqueued(entry: Mapping[str, Mapping[str, Any]], tasks: Path) -> dict[str, Any]:
    (method, values), *_ = entry.items()
    own = {"epochs": 1} if "epochs" in values else {}
    own |= {"irm_view": _task_view(values["irm_view"], tasks)} if "irm_view" in values else {}
    return {method: {**values, **own}}


def _attacks(attack: Any, tasks: Path) -> list[Any]:
    if isinstance(attack, dict) and "preset" in attack:
        return [short for one in PRESETS[attack["preset"]].attacks for short in _attacks(one, tasks)]
    if not isinstance(attack, dict):
        return [attack]
    (name, params), *_ = attack.items()
    own = {"data": str(tasks / f"{params['data']}.jsonl"), "task": params["data"]} if name == "finetune" else {}
    if own and own["task"] == "gsm8k":
        own["task"] = "questions"
    return [{name: {**params, **SHORT.get(name, {}), **own}}]
