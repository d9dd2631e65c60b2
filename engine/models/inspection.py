"""Find faults in a model folder from its headers and JSON files, before anything starts.

`loaded.py` checks the rest when the model is loaded: names and shapes against the model's class, NaN and infinity.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unlearn_sweep.engine.models.headers import (
    EMBEDDINGS,
    HEADS,
    INDEX,
    WEIGHTS,
    WHOLE,
    BrokenWeightsError,
    ModelFolder,
    StoredTensor,
    read_json,
)
from unlearn_sweep.engine.models.tokenizer_files import TokenizerFacts, has_tokenizer, read_tokenizer

ADAPTER = "adapter_config.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
WRAPPERS: Mapping[str, str] = {
    "_orig_mod.": "torch.compile",
    "_fsdp_wrapped_module.": "FSDP",
    "_checkpoint_wrapped_module.": "activation checkpointing",
}
"""Name parts that a wrapper inserts at every module that it wraps, and the wrapper."""
FIRST = {"module.": "DataParallel or DDP", "model.": "a module around the model"}
"""Prefixes that a wrapper adds to every name, and the wrapper."""
INSIDE_MODEL = re.compile(r"model\.(?=(model|transformer|gpt_neox|lm_head|embed_out)\.)")
BLOCK = re.compile(r"^(?P<stack>.*?\b(?:layers|h|blocks))\.(?P<number>\d+)\.")
ADAPTED = re.compile(r"\.(base_layer|lora_[AB]|modules_to_save|original_module)\.")
NO_WRITERS = re.compile(
    r"For(MaskedLM|PreTraining|SequenceClassification|TokenClassification|QuestionAnswering|MultipleChoice"
    r"|NextSentencePrediction|ImageClassification|AudioClassification|CTC)\Z"
)
"""Classes whose heads give no next token. A masked language model would even see the answer that it is asked for."""
COMPARED_BYTES = 1 << 16
SHOWN_KEYS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a folder cannot be used.

    Attributes:
        message: What is wrong.
        allowed: What would be accepted instead.
        advice: How to fix it.
        about: Whether the weights or the tokenizer are at fault.
    """

    message: str
    allowed: str | None = None
    advice: str | None = None
    about: Literal["weights", "tokenizer"] = "weights"

    def text(self) -> str:
        return ": ".join(part for part in (self.message, self.advice) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Result of an inspection. `notes` lists what loading does besides reading the files as they are."""

    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


def inspect_folder(path: Path, tokenizer: Path | None = None, *, elsewhere: bool = False) -> Inspection:
    """Return the faults of a model folder that its headers show, and notes on loading it.

    `tokenizer` is the folder of the tokenizer to use; None means the model folder itself. `elsewhere` means that the
    tokenizer is not on this machine yet; its checks are skipped.
    """
    folder = ModelFolder(path)
    try:
        kind = list(_kind(path))
        if kind:
            return Inspection(faults=tuple(kind), notes=())
        faults = [*_no_causal_model(folder), *_quantised(folder), *_adapted(folder.tensors), *_sizes(folder)]
        faults += _tie(folder)
        faults += [*(_wrapped(folder.tensors)), *(_blocks(folder, folder.tensors))][:1]
        words = None if elsewhere else read_tokenizer(tokenizer or path)
        if not elsewhere:
            faults += _tokenizer(path, tokenizer) if words is None else _ids(folder, words)
        notes = list(_pad_notes(folder, words))
    except BrokenWeightsError as error:
        return Inspection(faults=(Fault(message=str(error), advice="copy or download the folder again"),), notes=())
    return Inspection(faults=tuple(faults), notes=tuple(notes))


def renaming(names: Iterable[str]) -> dict[str, str]:
    """Return the patterns that wrappers left in a checkpoint's names.

    Maps each regular expression to remove to the name of its wrapper.
    """
    names = list(names)
    found = {re.escape(part): whose for part, whose in WRAPPERS.items() if any(part in name for name in names)}
    for part in found:
        names = [re.sub(part, "", name) for name in names]
    if names and all(name.startswith("module.") for name in names):
        found[r"^module\."] = FIRST["module."]
        names = [name.removeprefix("module.") for name in names]
    if names and all(name.startswith("model.") for name in names) and any(map(INSIDE_MODEL.match, names)):
        found[r"^model\."] = FIRST["model."]
    return found


def some(names: Iterable[str]) -> str:
    """Return the first few names in sorted order, and how many more there are."""
    names = sorted(names)
    more = len(names) - SHOWN_KEYS
    return ", ".join(names[:SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")


def _kind(path: Path) -> Iterator[Fault]:
    """Yield a fault if this is not a folder of complete model weights in safetensors."""
    whole = (path / "config.json").is_file()
    if (path / ADAPTER).is_file():
        yield _adapter(path / ADAPTER, beside_model=whole)
        return
    if not whole:
        yield Fault(message="no model folder: it has no config.json", allowed="a Hugging Face model folder")
    elif not any(path.glob(WEIGHTS)):
        pickled = sorted(found.name for pattern in PICKLES for found in path.glob(pattern))
        message = f"only pickled weights ({some(pickled)}), which can run code when opened"
        advice = "load it where you trust it and call save_pretrained, which writes safetensors"
        if not pickled:
            message, advice = "no weights in this folder", "copy or download the folder again"
        yield Fault(message=message, allowed="*.safetensors", advice=advice)
    elif not (path / WHOLE).is_file() and not (path / INDEX).is_file():
        yield Fault(
            message=f"weights under other names than transformers reads: {some(f.name for f in path.glob(WEIGHTS))}",
            allowed=f"{WHOLE}, or shards with {INDEX}",
            advice=f"rename a single file to {WHOLE}; of shards, copy or download the index as well",
        )


def _no_causal_model(folder: ModelFolder) -> Iterator[Fault]:
    """Yield a fault if the configuration is one of a model that does not write a text from left to right."""
    named = folder.config.get("architectures")
    names = [str(name) for name in named] if isinstance(named, list) else []
    wrong = [name for name in names if NO_WRITERS.search(name)]
    if folder.config.get("is_encoder_decoder") is True:
        which = f" ({names[0]})" if names else ""
        yield Fault(
            message=f"an encoder-decoder model{which}: answers are scored and trained as the rest of one text",
            allowed="a causal language model",
        )
    elif wrong:
        yield Fault(
            message=f"a {wrong[0]}, which predicts no next token",
            allowed="a causal language model, such as LlamaForCausalLM",
            advice="name the checkpoint that it was made from, or export the language model with its head",
        )


def _adapter(file: Path, *, beside_model: bool) -> Fault:
    base = read_json(file).get("base_model_name_or_path") or "BASE"
    merge = (
        f"PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({base!r}), {file.parent.name!r})"
        ".merge_and_unload().save_pretrained('merged'); save its tokenizer to the same folder"
    )
    if beside_model:
        return Fault(
            message=f"weights and an adapter ({ADAPTER}) in one folder: which of them is the model?",
            allowed="a folder with one of them",
            advice=f"remove {ADAPTER} and adapter_model.* if the weights are merged already, else merge: {merge}",
        )
    return Fault(
        message=f"an adapter of {base}, not a model: its weights are a difference to another model's",
        allowed="a folder with the merged weights",
        advice=f"merge it first: {merge}",
    )


def _quantised(folder: ModelFolder) -> Iterator[Fault]:
    quantised = folder.config.get("quantization_config")
    if isinstance(quantised, dict):
        method = quantised.get("quant_method", "unknown")
        yield Fault(
            message=f"quantised weights ({method}), which can be neither trained nor attacked as they are",
            allowed="weights in float32, bfloat16 or float16",
            advice="use the checkpoint they were made from, or dequantise: model.dequantize().save_pretrained(...)",
        )


def _adapted(names: Iterable[str]) -> Iterator[Fault]:
    found = [name for name in names if ADAPTED.search(f".{name}")]
    if found:
        yield Fault(
            message=f"saved with its adapter layers still in: {some(found)}",
            allowed="the merged weights",
            advice="call merge_and_unload() on the model it was saved from, then save_pretrained",
        )


def _wrapped(names: Iterable[str]) -> Iterator[Fault]:
    """Yield a fault if a wrapper changed the names. Nothing is renamed here; the advice gives the command."""
    names = list(names)
    if not (found := renaming(names)):
        return
    parts = [pattern.replace("\\", "").removeprefix("^") for pattern in found]
    cut = "".join(f".replace({part!r}, '', 1)" if part in FIRST else f".replace({part!r}, '')" for part in parts)
    yield Fault(
        message=f"weights are named by {' and '.join(found.values())}, not by the model class: {some(names)}",
        allowed=f"names without {' and '.join(parts)}",
        advice="save the model that was wrapped, or rename them in each file F: from safetensors.torch import load_file"
        f", save_file; save_file({{k{cut}: v for k, v in load_file(F).items()}}, F, {{'format': 'pt'}})",
    )


def _blocks(folder: ModelFolder, names: Iterable[str]) -> Iterator[Fault]:
    """Yield a fault if the weights have fewer or more blocks than the configuration."""
    stacks: dict[str, set[int]] = defaultdict(set)
    for match in filter(None, map(BLOCK.match, names)):
        stacks[match["stack"]].add(int(match["number"]))
    text = {stack: there for stack, there in stacks.items() if "vision" not in stack and "audio" not in stack}
    if len(text) != 1 or folder.depth is None:
        return  # ambiguous here; `check_loaded` checks every name
    stack, there = next(iter(text.items()))
    lost, beyond = sorted(set(range(folder.depth)) - there), sorted(there - set(range(folder.depth)))
    if lost:
        which = ", ".join(f"{stack}.{number}" for number in lost[:SHOWN_KEYS])
        more = f" and {len(lost) - SHOWN_KEYS} more" if len(lost) > SHOWN_KEYS else ""
        message = f"blocks without weights: {which}{more}, of the {folder.depth} that config.json names"
        yield Fault(message=message, allowed="weights of every block", advice="copy or download the folder again")
    elif beyond:
        message = f"weights of {len(there)} blocks ({stack}), and config.json names {folder.depth}"
        yield Fault(message=message, allowed="as many as config.json names", advice="correct config.json")


def _sizes(folder: ModelFolder) -> Iterator[Fault]:
    stored, configured = folder.ending(EMBEDDINGS), folder.text_config.get("vocab_size")
    if stored is not None and isinstance(configured, int) and len(stored.shape) == 2 and stored.shape[0] != configured:
        yield Fault(
            message=f"the embedding has {stored.shape[0]} rows, and config.json names a vocab_size of {configured}",
            allowed="the same number",
            advice="correct vocab_size in config.json, or save the model again with save_pretrained",
        )


def _tie(folder: ModelFolder) -> Iterator[Fault]:
    """Yield a fault if config.json ties the head to the embedding but it is stored with other values."""
    configured = folder.text_config.get("tie_word_embeddings", folder.config.get("tie_word_embeddings"))
    head, embedding = folder.ending(HEADS), folder.ending(EMBEDDINGS)
    if configured is True and head is not None and embedding is not None and _differ(head, embedding):
        yield untied_fault()


def untied_fault() -> Fault:
    return Fault(
        message="config.json says tie_word_embeddings: true, and the head is stored with other values",
        allowed="one or the other: libraries disagree on which weights such a model has",
        advice="set tie_word_embeddings to false if the head is its own, else remove it from the weights",
    )


def _differ(one: StoredTensor, other: StoredTensor) -> bool:
    """Return whether two tensors differ in dtype, shape, or their first or last 64 KiB. Fast for any size."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return True
    size = min(COMPARED_BYTES, one.end - one.begin)
    parts = ((one.begin, other.begin), (one.end - size, other.end - size))
    return any(_bytes(one.file, first, size) != _bytes(other.file, second, size) for first, second in parts)


def _bytes(file: Path, at: int, size: int) -> bytes:
    with file.open("rb") as stream:
        stream.seek(at)
        return stream.read(size)


def _tokenizer(path: Path, tokenizer: Path | None) -> Iterator[Fault]:
    if not has_tokenizer(tokenizer or path):
        where = "this folder" if tokenizer is None else f"{tokenizer}"
        yield Fault(
            message=f"no tokenizer in {where} (no tokenizer.json, tokenizer.model or vocab.json)",
            allowed="tokenizer files in the model folder, or a tokenizer named separately",
            advice="name one: tokenizer: FOLDER or owner/name (audit: --tokenizer)",
            about="tokenizer",
        )


def _ids(folder: ModelFolder, words: TokenizerFacts) -> Iterator[Fault]:
    """Yield a fault if tokenizer entries have no row in the embedding. Padding is exempt: end-of-text replaces it."""
    rows = folder.embedding_rows
    beyond = [] if rows is None else [name for name, at in words.ids.items() if at >= rows and name != words.pad]
    if beyond:
        yield Fault(
            message=f"the tokenizer has {len(beyond)} entries beyond the embedding's {rows} rows: {some(beyond)}",
            allowed=f"ids below {rows}",
            advice="name the tokenizer the model was trained with, or resize the embedding and save the model again",
            about="tokenizer",
        )


def _pad_notes(folder: ModelFolder, words: TokenizerFacts | None) -> Iterator[str]:
    rows = folder.embedding_rows
    if words is not None and words.pad is not None and rows is not None and words.ids.get(words.pad, 0) >= rows:
        yield f"its padding token {words.pad} has no row in the embedding ({rows} rows); end-of-text pads instead"
