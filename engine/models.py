"""Models on disk: building small ones, loading and saving them, and telling two of them apart by content.

Weights are read and written as safetensors only: a pickle can run code when it is opened. Code that comes with a model
(`trust_remote_code`) is never run. A path is a local folder, or a hub id `owner/name`, with `@revision` to pin it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from unlearn_sweep.engine.hub import why_not
from unlearn_sweep.engine.model_folder.headers import WEIGHTS, ModelFolder
from unlearn_sweep.engine.model_folder.inspection import inspect_folder
from unlearn_sweep.engine.model_folder.loaded import check_loaded
from unlearn_sweep.engine.model_folder.tokenizer_files import TOKENIZER_FILES, has_tokenizer, read_tokenizer
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark, TrainRecipe

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|pad|>"
DTYPES: Mapping[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ATTENTION = ("auto", "flash_attention_2", "sdpa", "eager")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w.-]+)?")
TOKENIZER_FETCH = ("config.json", *TOKENIZER_FILES)
VOLATILE_KEYS = frozenset(
    {"transformers_version", "_name_or_path", "name_or_path", "dtype", "torch_dtype", "is_local", "local_files_only"}
)
"""Entries of the JSON files that change with a library version or a place, not with the model."""

logger = logging.getLogger(__name__)


def create_start_model(benchmark: Benchmark, recipe: TrainRecipe, directory: Path) -> None:
    """Write the model a training starts from: weights and tokenizer, in `directory`.

    Without `recipe.base`, a Llama model of `recipe.config` with weights drawn from `recipe.seed` and a byte-level BPE
    tokenizer trained on the benchmark's texts. The same benchmark and recipe give the same files. No global random
    state is changed. With `recipe.base`, that model and its tokenizer, as safetensors.

    Raises:
        ValueError: neither a base nor a configuration, or a configuration Llama does not take.
    """
    if recipe.base is not None:
        save_model(load_model(recipe.base, dtype="stored", device="cpu"), load_tokenizer(recipe.base), directory)
        return
    if not recipe.config:
        raise ValueError(f"benchmark {benchmark.name!r}: its recipe has neither a base model nor a configuration")
    tokenizer = train_tokenizer(benchmark.tokenizer_texts, vocab_size=recipe.vocab_size)
    save_model(random_llama(recipe, tokenizer), tokenizer, directory)


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with at most `vocab_size` entries: any text can be encoded, and decoded unchanged."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END_OF_TEXT, pad_token=PADDING, clean_up_tokenization_spaces=False
    )


def random_llama(recipe: TrainRecipe, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A Llama model in float32 whose weights depend on the recipe's configuration and seed only."""
    from transformers import LlamaConfig, LlamaForCausalLM

    unknown = sorted(set(recipe.config) - set(LlamaConfig().to_dict()))
    if unknown:
        raise ValueError(f"recipe.config: no such Llama configuration value: {', '.join(unknown)}")
    config = LlamaConfig(
        **cast(dict[str, Any], dict(recipe.config)),
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=cast(int, tokenizer.eos_token_id),
        pad_token_id=cast(int, tokenizer.pad_token_id),
    )
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(recipe.seed)
        return LlamaForCausalLM(config)


def load_model(
    path: str, *, dtype: str = "auto", attention: str = "auto", device: str | None = None
) -> PreTrainedModel:
    """A causal language model in evaluation mode, with every weight as the folder has it.

    Two loads give the same bits.

    Args:
        path: local folder, or hub id `owner/name[@revision]`.
        dtype: "float32", "bfloat16", "float16", "stored" (as saved), or "auto": float32 on a CPU, bfloat16 on a GPU.
        attention: "flash_attention_2", "sdpa", "eager", or "auto": the fastest that the class has and that runs here.
        device: "cpu", "cuda", "cuda:1", "meta" (names and shapes, no values), ...; None takes a GPU where there is one.

    Raises:
        ValueError: no such folder or model, no safetensors weights, an adapter beside the weights, an unknown word, or
            an attention that cannot run.
        WrongWeightsError: weights that are missing, left over, of another shape, NaN or infinite; a ValueError too.
    """
    from transformers import AutoModelForCausalLM

    folder = whole_folder(path)
    place = torch.device(device) if device is not None else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numbers = choose_dtype(dtype, place)
    with without_progress_bars():
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=numbers,
            attn_implementation=choose_attention(attention, place, numbers, model_class(folder)),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are named, with everything else that is wrong, below
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **({"device_map": "meta"} if place.type == "meta" else {}),
        )
    model, info = cast("tuple[PreTrainedModel, dict[str, Any]]", loaded)
    check_loaded(path, model, info)
    if place.type != "meta":
        torch.nn.Module.to(model, place)
    return model.eval()


def whole_folder(path: str) -> Path:
    """The folder of a model that can be loaded as it is. ValueError with everything that its files tell against it."""
    folder = model_folder(path)
    # A tokenizer may come from elsewhere, so its absence is found by whoever loads one.
    faults = [fault for fault in inspect_folder(folder).faults if fault.about == "weights"]
    if faults:
        raise ValueError(f"{path}: {'; '.join(fault.text() for fault in faults)}")
    return folder


def model_class(folder: Path) -> type[PreTrainedModel] | None:
    """The class that a folder's configuration asks for; None for one that transformers does not know."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    found = AutoModelForCausalLM._model_mapping.get(type(config), None)
    return found[0] if isinstance(found, list | tuple) else found


def model_context(path: str) -> int | None:
    """The longest sequence that the model of a folder or hub id has positions for; None where it names no limit."""
    from transformers import AutoConfig

    from unlearn_sweep.evaluators.inference import positions

    folder = model_folder(path)
    return positions(AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False))


def load_tokenizer(path: str, *, model: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or hub id, for the model at `model` (default: the same place).

    A padding token that is missing, or for which the model's embedding has no row, is end-of-text. That is safe here:
    what is supervised follows from the lengths of prompt and answer, never from a padding id.

    Raises:
        ValueError: no tokenizer there.
    """
    from transformers import AutoTokenizer

    folder = tokenizer_folder(path)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokenizer.init_kwargs.pop("local_files_only", None)  # how it was read here is nothing to write into a saved model
    rows = ModelFolder(model_folder(model or path)).embedding_rows if _is_model(model or path) else None
    beyond = rows is not None and tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows
    if tokenizer.pad_token is None or beyond:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _is_model(path: str) -> bool:
    """Whether a path is a folder with weights; a folder of a tokenizer alone is none. A hub id counts as one."""
    folder = Path(path).expanduser()
    return not folder.is_dir() or any(folder.glob(WEIGHTS))


def tokenizer_folder(path: str) -> Path:
    """The local folder of a tokenizer, fetched from the hub where `path` is an id.

    Raises:
        ValueError: no such place, or no tokenizer in it.
    """
    folder = Path(path).expanduser()
    folder = folder if folder.is_dir() else fetch_snapshot(path, TOKENIZER_FETCH)
    if not has_tokenizer(folder):
        raise ValueError(f"{path}: no tokenizer here (no tokenizer.json, tokenizer.model or vocab.json)")
    return folder


def refuse_other_vocabulary(model: str, tokenizer: str) -> None:
    """ValueError where the folder of a model carries a tokenizer with another vocabulary than the one at `tokenizer`.

    The same ids are other words to such a model. A folder without a tokenizer is taken to go with the given one.
    """
    if model == tokenizer:
        return
    own, used = read_tokenizer(model_folder(model)), read_tokenizer(tokenizer_folder(tokenizer))
    if own is not None and used is not None and own.vocabulary != used.vocabulary:
        raise ValueError(
            f"{model}: its tokenizer has another vocabulary than the one that is used ({tokenizer}), so the same ids "
            "are other words to it; name its own tokenizer if it is to be asked in that"
        )


def tokenizer_digest(path: str) -> str:
    """Content hash (16 hex digits) of a tokenizer's files."""
    folder, digest = tokenizer_folder(path), hashlib.sha256()
    for name in sorted(TOKENIZER_FILES):
        if (folder / name).is_file():
            digest.update(f"{name}\0".encode())
            digest.update(file_digest(folder / name))
    return digest.hexdigest()[:16]


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Write weights (safetensors), configuration and tokenizer as an ordinary Hugging Face model folder."""
    directory.mkdir(parents=True, exist_ok=True)
    with without_progress_bars():
        model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    mode = (directory / "config.json").stat().st_mode
    for weights in directory.glob("*.safetensors"):
        weights.chmod(mode)  # they are written readable by their owner alone, whatever the umask says


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Inside, transformers draws no bars: they would run through this tool's own progress view."""
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype | Literal["auto"]:
    """The number format to load weights in; "auto" in the result means: as stored.

    On a CPU without AVX-512, bfloat16 matrix products are some 60 times slower than float32, hence float32 there.
    """
    if dtype == "stored":
        return "auto"
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if dtype not in DTYPES:
        raise ValueError(f"model.dtype: must be one of auto, stored, {', '.join(DTYPES)}; got {dtype!r}")
    return DTYPES[dtype]


def choose_attention(
    attention: str,
    device: torch.device,
    dtype: torch.dtype | Literal["auto"],
    wanted: type[PreTrainedModel] | None = None,
) -> str:
    """The attention implementation to ask transformers for: what was named, or the fastest that `wanted` can run here.

    Without `wanted` the class is taken to have all of them.

    Raises:
        ValueError: an unknown word, or what was named cannot run.
    """
    from transformers.utils.import_utils import is_flash_attn_2_available

    if attention not in ATTENTION:
        raise ValueError(f"model.attention: must be one of {', '.join(ATTENTION)}; got {attention!r}")
    has_sdpa = wanted is None or bool(wanted._supports_sdpa)
    if attention == "eager":
        return attention
    if attention == "sdpa" and not has_sdpa:
        raise ValueError(f"model.attention: {cast('type', wanted).__name__} has no sdpa; use auto or eager")
    if attention == "sdpa":
        return attention
    obstacles = []
    if wanted is not None and not wanted._supports_flash_attn:
        obstacles.append(f"{wanted.__name__} has none")
    if device.type != "cuda":
        obstacles.append(f"the device is {device.type}, not cuda")
    if not is_flash_attn_2_available():
        obstacles.append("flash-attn is not installed or finds no usable GPU (pip install 'unlearn-sweep[gpu]')")
    if dtype == torch.float32:
        obstacles.append("weights are float32, and it takes bfloat16 or float16 only")
    if not obstacles:
        return "flash_attention_2"
    if attention == "auto":
        chosen = "sdpa" if has_sdpa else "eager"
        logger.debug("attention: %s; no flash attention, because %s", chosen, "; ".join(obstacles))
        return chosen
    raise ValueError(f"model.attention: flash_attention_2 cannot run: {'; '.join(obstacles)}; use auto or sdpa")


def model_folder(path: str) -> Path:
    """The local folder of a model, fetched from the hub when `path` is an id that is not in its cache yet.

    Only safetensors, JSON and tokenizer files are ever fetched.

    Raises:
        ValueError: neither a folder nor a reachable hub id, or a folder without safetensors weights.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        folder = fetch_snapshot(path)
    if any(folder.glob(WEIGHTS)) and not (folder / "adapter_config.json").is_file():
        return folder
    raise ValueError(f"{path}: {'; '.join(fault.text() for fault in inspect_folder(folder).faults)}")


def fetch_snapshot(path: str, wanted: Sequence[str] = (WEIGHTS, "*.json", *TOKENIZER_FILES)) -> Path:
    """The cached (or freshly fetched) snapshot of a hub id: the files of these patterns."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not HUB_ID.fullmatch(path):
        raise ValueError(f"{path}: no such folder, and not a hub id of the form owner/name[@revision]")
    name, _, revision = path.partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(wanted)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(why_not(path, error)) from error


def model_digest(path: str) -> str:
    """Content hash (16 hex digits) of weights, configuration and tokenizer; where the folder lies does not matter."""
    folder = model_folder(path)
    digest = hashlib.sha256()
    names = {found.name for found in folder.glob(WEIGHTS)} | {"config.json", "generation_config.json", *TOKENIZER_FILES}
    for name in sorted(names):
        file = folder / name
        if file.is_file():
            digest.update(f"{name}\0".encode())
            digest.update(file_digest(file))
    return digest.hexdigest()[:16]


def file_digest(file: Path) -> bytes:
    """Hash of one file; of a JSON configuration, without the entries that do not describe the model."""
    if file.name.endswith("config.json"):
        entries = json.loads(file.read_text(encoding="utf-8"))
        lasting = {key: value for key, value in entries.items() if key not in VOLATILE_KEYS}
        return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).digest()
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def parameter_count(model: str | PreTrainedConfig) -> int:
    """Parameters of a model, tied ones once, from its configuration alone: no weights are read or allocated.

    Raises:
        ValueError: no such folder or model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    if isinstance(model, str):
        model = AutoConfig.from_pretrained(model_folder(model), local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        shell = AutoModelForCausalLM.from_config(model, trust_remote_code=False)
    return sum(parameter.numel() for parameter in shell.parameters())
