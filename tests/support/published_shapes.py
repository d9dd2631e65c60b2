"""Small random checkpoints in the shapes that published ones have. No file of theirs is in here, and no weight.

Each entry of `SHAPES` writes a folder. What is special about it is in its files: settings, names and layout of weights.
"""

# ruff: noqa: E501
from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from tests.evaluators.tokenizer_families import FAMILIES
from tests.support.architectures import CLASSES

FAMILY = {family.name: family for family in FAMILIES}
WEIGHTS = "model.safetensors"
Write = Callable[[Path], None]
Weights = dict[str, Tensor]


def checkpoint(folder: Path, family: str, kind: str, *, multiple: int = 1, **config: Any) -> PreTrainedModel:
    """A folder with a random model of this class and a tokenizer of this family; the vocabulary is padded up."""
    tokenizer = FAMILY[family].make()
    prefix, sizes = CLASSES[kind]
    ids = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id, "pad_token_id": None}
    rows = -(-len(tokenizer) // multiple) * multiple
    made = getattr(transformers, f"{prefix}Config")(**{**ids, **sizes, **config, "vocab_size": rows})
    model = spread(AutoModelForCausalLM.from_config(made))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def spread(model: PreTrainedModel) -> PreTrainedModel:
    """The model with weights wide enough that its probabilities differ from token to token."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5)
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


def entries(folder: Path, name: str, **changes: Any) -> None:
    """Change entries of a JSON file; None removes one."""
    file = folder / name
    written = json.loads(file.read_text()) if file.is_file() else {}
    kept = {key: value for key, value in (written | changes).items() if changes.get(key, "") is not None}
    file.write_text(json.dumps(kept))


def plain(kind: str = "llama", family: str = "llama3", **config: Any) -> Write:
    return lambda folder: void(checkpoint(folder, family, kind, **config))


def void(_: object) -> None:
    return None


def with_entries(name: str, kind: str = "llama", family: str = "llama3", **changes: Any) -> Write:
    def write(folder: Path) -> None:
        checkpoint(folder, family, kind)
        entries(folder, name, **changes)

    return write


def with_weights(change: Callable[[Weights], Weights], kind: str = "llama", family: str = "llama3") -> Write:
    def write(folder: Path) -> None:
        checkpoint(folder, family, kind)
        made = change(load_file(folder / WEIGHTS))
        save_file({name: weight.contiguous() for name, weight in made.items()}, folder / WEIGHTS, {"format": "pt"})
        if not (folder / "chat_template.jinja").is_file():
            (folder / "chat_template.jinja").write_text(FAMILY["zephyr"].make().get_chat_template())

    return write


def list_of_ends(folder: Path) -> None:
    """Llama 3: several ends, and sampling as the default."""
    checkpoint(folder, "llama3_old", "llama")
    tokenizer = FAMILY["llama3_old"].make()
    ends = [tokenizer.convert_tokens_to_ids(name) for name in ("<|end_of_text|>", "<|eot_id|>")]
    entries(folder, "config.json", eos_token_id=ends)
    entries(folder, "generation_config.json", eos_token_id=ends, do_sample=True, temperature=0.6, top_p=0.9)


def template_inside(default: str | None) -> Write:
    """The template in tokenizer_config.json: alone, or as one of several with names."""

    def write(folder: Path) -> None:
        checkpoint(folder, "llama3", "llama")
        text = (folder / "chat_template.jinja").read_text()
        (folder / "chat_template.jinja").unlink()
        other = {"name": "rag", "template": "{{ messages[0].content }} documents"}
        named = text if default is None else [{"name": default, "template": text}, other]
        entries(folder, "tokenizer_config.json", chat_template=named)

    return write


def template_files(default: bool) -> Write:
    def write(folder: Path) -> None:
        checkpoint(folder, "llama3", "llama")
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "rag.jinja").write_text("{{ messages[0].content }} documents")
        if not default:
            (folder / "chat_template.jinja").unlink()

    return write


def shards(lost: bool) -> Write:
    def write(folder: Path) -> None:
        model = checkpoint(folder, "llama3", "llama")
        (folder / WEIGHTS).unlink()
        model.save_pretrained(folder, max_shard_size="20KB")
        if lost:
            sorted(folder.glob("model-*.safetensors"))[1].unlink()

    return write


def stale_index(folder: Path) -> None:
    checkpoint(folder, "llama3", "llama")
    weight_map = {"model.norm.weight": "model-00001-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def consolidated(folder: Path) -> None:
    """Mistral: the same weights once more, under names of another library."""
    checkpoint(folder, "zephyr", "mistral")
    other = {"tok_embeddings.weight": torch.zeros(3, 3), "layers.7.attention.wq.weight": torch.full((3, 3), torch.nan)}
    save_file(other, folder / "consolidated.safetensors")


def other_name(folder: Path) -> None:
    checkpoint(folder, "llama3", "llama")
    (folder / WEIGHTS).rename(folder / "weights.safetensors")


def pickled(folder: Path) -> None:
    model = checkpoint(folder, "llama3", "llama")
    (folder / WEIGHTS).unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def bfloat16(folder: Path) -> None:
    model = checkpoint(folder, "llama3", "llama")
    torch.nn.Module.to(model, torch.bfloat16)
    model.save_pretrained(folder)
    entries(folder, "config.json", dtype=None, torch_dtype=None)


def tied(stored: bool, said: bool) -> Write:
    def write(folder: Path) -> None:
        checkpoint(folder, "llama3", "llama", tie_word_embeddings=stored)
        entries(folder, "config.json", tie_word_embeddings=said)

    return write


def rope(**values: Any) -> Write:
    return with_entries("config.json", rope_scaling=values, rope_parameters=None, rope_theta=500000.0)


def pythia_buffers(weights: Weights) -> Weights:
    found = dict(weights)
    for block in range(3):
        name = f"gpt_neox.layers.{block}.attention"
        found[f"{name}.bias"] = torch.ones(1, 1, 4, 4, dtype=torch.bool)
        found[f"{name}.masked_bias"] = torch.tensor(-1e9)
        found[f"{name}.rotary_emb.inv_freq"] = torch.ones(2)
    return found


def gpt2_names(weights: Weights) -> Weights:
    found = {name.removeprefix("transformer."): weight for name, weight in weights.items()}
    return found | {f"h.{block}.attn.bias": torch.ones(1, 1, 4, 4) for block in range(3)}


def of_class(name: str, tokenizer: PreTrainedTokenizerBase, **sizes: int) -> Write:
    def write(folder: Path) -> None:
        kind = getattr(transformers, name)
        kind(kind.config_class(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return write


def adapter(folder: Path) -> None:
    model = get_peft_model(checkpoint(folder / "base", "llama3", "llama"), LORA)  # type: ignore[arg-type]
    model.save_pretrained(str(folder))
    shutil.rmtree(folder / "base")
    FAMILY["llama3"].make().save_pretrained(folder)


def unmerged(folder: Path) -> None:
    model = get_peft_model(checkpoint(folder, "llama3", "llama"), LORA)  # type: ignore[arg-type]
    names = {name.removeprefix("base_model.model."): weight.clone() for name, weight in model.state_dict().items()}
    save_file(names, folder / WEIGHTS, {"format": "pt"})


LORA = LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"])
BERT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
OWN_CODE = {"AutoConfig": "configuration_my.MyConfig", "AutoModelForCausalLM": "modeling_my.MyForCausalLM"}

MEASURED: Mapping[str, Write] = {
    "llama3 with a list of ends and sampling": list_of_ends,
    "gemma2 ends a turn with end_of_turn": plain("gemma2", "gemma2"),
    "gemma2 by its own tokenizer class": with_entries("tokenizer_config.json", "gemma2", "gemma2", tokenizer_class="GemmaTokenizer"),
    "gemma3 ends a turn with end_of_turn": plain("gemma3", "gemma3"),
    "phi3 ends a turn with end": plain("phi3", "phi3"),
    "phi3 with code of its own beside a known type": with_entries("config.json", "phi3", "phi3", auto_map=OWN_CODE),
    "qwen2.5": plain("qwen2", "qwen2.5"),
    "qwen3 writes an empty think block": plain("qwen3", "qwen3"),
    "qwen3 with the base model's end of text": plain("qwen3", "qwen3_base_eos"),
    "granite writes a date": plain("llama", "granite"),
    "olmo2": plain("olmo2", "olmo"),
    "mistral with special instruction tokens": plain("mistral", "mistral_v3"),
    "zephyr": plain("mistral", "zephyr_file"),
    "llama2 by its own tokenizer class": plain("llama", "llama2"),
    "llama2's file with the newer behaviour": with_entries("tokenizer_config.json", "llama", "llama2_file", tokenizer_class="LlamaTokenizer", legacy=False),
    "llama2's file with the older behaviour": with_entries("tokenizer_config.json", "llama", "llama2_file", tokenizer_class="LlamaTokenizer", legacy=True, add_prefix_space=True),
    "template in tokenizer_config.json": template_inside(None),
    "several templates, one of them the default": template_inside("default"),
    "a folder of templates beside the default": template_files(default=True),
    "repetition penalty and sampling": with_entries("generation_config.json", "qwen2", "qwen2.5", do_sample=True, temperature=0.7, repetition_penalty=1.9, top_k=20),
    "shards": shards(lost=False),
    "an index that a whole file has replaced": stale_index,
    "weights once more in another layout": consolidated,
    "a vocabulary padded to a multiple of 64": plain(multiple=64),
    "bfloat16 without a dtype in config.json": bfloat16,
    "rope of llama3": rope(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64),
    "linear rope in the older spelling": rope(type="linear", factor=2.0),
    "rope of yarn": rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=128),
    "dynamic rope": rope(rope_type="dynamic", factor=2.0),
    "llama's old rotary buffers": with_weights(lambda weights: weights | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}),
    "pythia's old buffers": with_weights(pythia_buffers, "gpt_neox", "neox"),
    "gpt2's names without prefix": with_weights(gpt2_names, "gpt2", "gpt2"),
}  # fmt: skip
"""Measured as plain transformers would."""

REFUSED: Mapping[str, tuple[Write, str, str]] = {
    "a shard that is not there": (shards(lost=True), "headers", r"names 1 files that are not here: model-00002-of"),
    "pickled weights": (pickled, "headers", r"only pickled weights \(pytorch_model\.bin\)"),
    "weights under another name": (other_name, "headers", r"under other names than transformers reads: weights\.saf"),
    "bitsandbytes": (with_entries("config.json", quantization_config={"quant_method": "bitsandbytes"}), "headers", r"quantised weights \(bitsandbytes\)"),
    "gptq": (with_entries("config.json", quantization_config={"quant_method": "gptq"}), "headers", r"quantised weights \(gptq\)"),
    "awq": (with_entries("config.json", quantization_config={"quant_method": "awq"}), "headers", r"quantised weights \(awq\)"),
    "an adapter with saved modules": (adapter, "headers", "an adapter of BASE, not a model"),
    "adapter layers and saved modules still in": (unmerged, "headers", "saved with its adapter layers still in"),
    "a head of its own said to be tied": (tied(stored=False, said=True), "headers", "the head is stored with other values"),
    "a tied head said to be its own": (tied(stored=True, said=False), "class", r"1 missing \(lm_head\.weight\)"),
    "a reward model": (of_class("LlamaForSequenceClassification", FAMILY["llama3"].make(), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2), "headers", "a LlamaForSequenceClassification, which predicts no next token"),
    "a masked language model": (of_class("BertForMaskedLM", FAMILY["bert"].make(), **BERT), "headers", "a BertForMaskedLM, which predicts no next token"),
    "an encoder and a decoder": (of_class("T5ForConditionalGeneration", FAMILY["t5"].make(), d_model=16, d_ff=24, num_layers=2, num_heads=2, d_kv=8), "headers", "an encoder-decoder model"),
    "code of its own": (with_entries("config.json", model_type="mine", auto_map=OWN_CODE), "class", r"has no model of type mine\. The code that comes with it \(auto_map\) is never run"),
    "no type": (with_entries("config.json", model_type=None), "class", "config.json has no model_type"),
    "another head size": (with_entries("config.json", "qwen3", "qwen3", head_dim=None), "class", r"k_norm\.weight is 8, and config\.json makes it 128"),
}  # fmt: skip
"""Refused: by the headers alone (`validate`), or by the class on the meta device (`plan`, `run`, `audit`)."""
