"""Models on disk: load and save them, and compute content hashes.

Weights are read and written as safetensors only, because loading a pickle can run code. Code shipped with a model
(`trust_remote_code`) is never run. A path is a local folder, or a hub id `owner/name`, optionally with `@revision`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from unlearn_sweep.engine.models.configuration import model_class, read_config
from unlearn_sweep.engine.models.headers import WEIGHTS, ModelFolder
from unlearn_sweep.engine.models.hub import why_not
from unlearn_sweep.engine.models.inspection import inspect_folder
from unlearn_sweep.engine.models.loaded import check_loaded
from unlearn_sweep.engine.models.tokenizer_files import (
    MORE_TEMPLATES,
    TOKENIZER_FILES,
    has_tokenizer,
    read_tokenizer,
)
from unlearn_sweep.engine.privacy.error_text import first_line
from unlearn_sweep.evaluators.hub_id import is_hub_id
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DTYPES: Mapping[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ATTENTION = ("auto", "flash_attention_2", "sdpa", "eager")
TOKENIZER_FETCH = ("config.json", *TOKENIZER_FILES, f"{MORE_TEMPLATES}/*.jinja")
OTHER_COPIES = ["consolidated*.safetensors", "*/*.safetensors", "*/*.json"]
"""Files of a hub repository that transformers does not read: weights in another layout, models in sub-folders."""
VOLATILE_KEYS = frozenset(
    {"transformers_version", "_name_or_path", "name_or_path", "dtype", "torch_dtype", "is_local", "local_files_only"}
)
"""Entries of the JSON files that depend on a library version or a location, not on the model."""

logger = logging.getLogger(__name__)


class UnusableModelError(UserError, ValueError):
    """A model or tokenizer cannot be used as asked; the message names it and the reason."""


def load_model(
    path: str,
    *,
    dtype: str = "auto",
    attention: str = "auto",
    device: str | None = None,
    devices: Sequence[str] = (),
) -> PreTrainedModel:
    """Load a causal language model in evaluation mode, with every weight taken from the folder.

    Two loads give bitwise equal weights.

    Args:
        path: local folder, or hub id `owner/name[@revision]`.
        dtype: "float32", "bfloat16", "float16", "stored" (as saved), or "auto": float32 on a CPU, bfloat16 on a GPU.
        attention: "flash_attention_2", "sdpa", "eager", or "auto": the fastest that the class supports on this device.
        device: "cpu", "cuda", "cuda:1", "meta" (names and shapes, no values), ...; None uses a GPU if there is one.
        devices: two or more, in place of `device`: the blocks are spread over them (`models.spread`).

    Raises:
        ValueError: the folder or model does not exist, has no safetensors weights or contains an adapter; or `dtype` or
            `attention` is unknown or not usable here.
        WrongWeightsError: (a ValueError) weights are missing, unexpected, of another shape, NaN or infinite.
    """
    from transformers import AutoModelForCausalLM

    folder = whole_folder(path)
    wanted = model_class(read_config(folder))
    place = _first_device(devices[0] if len(devices) > 1 else device)
    numbers = choose_dtype(dtype, place)
    placed: Mapping[str, str] | str | None = "meta" if place.type == "meta" else None
    if len(devices) > 1:
        from unlearn_sweep.engine.models.spread import device_map

        placed = device_map(load_model(path, dtype="stored", device="meta"), devices)
    with without_progress_bars():
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=numbers,
            attn_implementation=choose_attention(attention, place, numbers, wanted),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # check_loaded reports them with all other faults
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **({} if placed is None else {"device_map": placed}),
        )
    model, info = cast("tuple[PreTrainedModel, dict[str, Any]]", loaded)
    check_loaded(path, model, info)
    if placed is None:
        torch.nn.Module.to(model, place)
    return model.eval()


def _first_device(device: str | None) -> torch.device:
    if device is not None:
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def whole_folder(path: str) -> Path:
    """Return the local folder of a model whose weight files are loadable.

    Raises:
        ValueError: the files have faults; the message lists all of them.
    """
    folder = model_folder(path)
    # The tokenizer may come from another folder, so `load_tokenizer` checks for it.
    faults = [fault for fault in inspect_folder(folder).faults if fault.about == "weights"]
    if faults:
        raise UnusableModelError(f"{path}: {'; '.join(fault.text() for fault in faults)}")
    return folder


def model_context(path: str) -> int | None:
    """Return the maximum sequence length of the model of a folder or hub id, or None if its configuration has none."""
    from unlearn_sweep.evaluators.inference import positions

    return positions(read_config(model_folder(path)))


def load_tokenizer(path: str, *, model: str | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder or hub id, for the model at `model` (default: `path`).

    If the padding token is missing, or the model's embedding has no row for it, use end-of-text instead. This is safe:
    label masks depend on the lengths of prompt and answer, never on the padding id.

    Raises:
        ValueError: `path` has no tokenizer, or one that cannot be read.
    """
    from transformers import AutoTokenizer

    folder = tokenizer_folder(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError):
        raise
    except Exception as error:  # what a file of `tokenizers` with other content raises has no class of its own
        raise ValueError(f"{path}: its tokenizer cannot be read: {first_line(error)}") from error
    tokenizer.init_kwargs.pop("local_files_only", None)  # a loading option, not to be saved with the model
    rows = ModelFolder(model_folder(model or path)).embedding_rows if _is_model(model or path) else None
    beyond = rows is not None and tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows
    if tokenizer.pad_token is None or beyond:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _is_model(path: str) -> bool:
    """Return whether a path is a folder with weights or a hub id. A folder with only a tokenizer gives False."""
    folder = Path(path).expanduser()
    return not folder.is_dir() or any(folder.glob(WEIGHTS))


def tokenizer_folder(path: str) -> Path:
    """Return the local folder of a tokenizer. Download it from the hub if `path` is a hub id.

    Raises:
        ValueError: `path` does not exist, or has no tokenizer.
    """
    folder = Path(path).expanduser()
    folder = folder if folder.is_dir() else fetch_snapshot(path, TOKENIZER_FETCH)
    if not has_tokenizer(folder):
        raise UnusableModelError(f"{path}: no tokenizer here (no tokenizer.json, tokenizer.model or vocab.json)")
    return folder


def refuse_other_vocabulary(model: str, tokenizer: str) -> None:
    """Check that the tokenizer in the folder of a model has the same vocabulary as the one at `tokenizer`.

    With another vocabulary, the same ids would mean other words to the model. A folder without a tokenizer passes.

    Raises:
        ValueError: the vocabularies differ.
    """
    if model == tokenizer:
        return
    own, used = read_tokenizer(model_folder(model)), read_tokenizer(tokenizer_folder(tokenizer))
    if own is not None and used is not None and own.vocabulary != used.vocabulary:
        raise UnusableModelError(
            f"{model}: its tokenizer has another vocabulary than the one that is used ({tokenizer}), so the same ids "
            "mean different tokens. To prompt this model with its own tokenizer, name that tokenizer"
        )


def tokenizer_digest(path: str) -> str:
    """Return the content hash (16 hex digits) of a tokenizer's files."""
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
        weights.chmod(mode)  # save_pretrained ignores the umask and makes them owner-only


def save_files_beside_weights(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path, dtype: torch.dtype
) -> None:
    """Write configuration and tokenizer as `save_model` does, for weights of `dtype` that the caller writes."""
    directory.mkdir(parents=True, exist_ok=True)
    config = copy.deepcopy(model.config)
    config.dtype = str(dtype).removeprefix("torch.")
    config.architectures = [type(model).__name__]
    config.save_pretrained(directory)
    if model.can_generate() and model.generation_config is not None:
        model.generation_config.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Disable the progress bars of transformers in the block: they would garble this tool's progress view."""
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype | Literal["auto"]:
    """Return the dtype to load weights in. "auto" in the result means "as stored".

    "auto" as argument gives float32 on a CPU: without AVX-512, bfloat16 matrix products are some 60 times slower.
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
    """Return the attention implementation to pass to transformers.

    `attention` "auto" gives the fastest that the model class `wanted` supports on this device. With `wanted` None, the
    class is assumed to support all of them.

    Raises:
        ValueError: `attention` is unknown, or cannot run here.
    """
    from transformers.utils.import_utils import is_flash_attn_2_available

    if attention not in ATTENTION:
        raise ValueError(f"model.attention: must be one of {', '.join(ATTENTION)}; got {attention!r}")
    has_sdpa = wanted is None or bool(wanted._supports_sdpa)
    if attention == "eager":
        return attention
    if attention == "sdpa" and not has_sdpa:
        raise UnusableModelError(f"model.attention: {cast('type', wanted).__name__} has no sdpa; use auto or eager")
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
    raise UnusableModelError(f"model.attention: flash_attention_2 cannot run: {'; '.join(obstacles)}; use auto or sdpa")


def model_folder(path: str) -> Path:
    """Return the local folder of a model. Download it if `path` is a hub id that is not cached.

    Only safetensors, JSON and tokenizer files are downloaded.

    Raises:
        ValueError: `path` is neither a folder nor a reachable hub id, or the folder has no safetensors weights or
            contains an adapter.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        folder = fetch_snapshot(path)
    if any(folder.glob(WEIGHTS)) and not (folder / "adapter_config.json").is_file():
        return folder
    raise UnusableModelError(f"{path}: {'; '.join(fault.text() for fault in inspect_folder(folder).faults)}")


def fetch_snapshot(path: str, wanted: Sequence[str] = (WEIGHTS, "*.json", *TOKENIZER_FETCH)) -> Path:
    """Return the local snapshot of a hub id, with the files that match `wanted`. Download what is not cached.

    Other copies of the weights in the repository (`OTHER_COPIES`) are not downloaded.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not is_hub_id(path):
        raise UnusableModelError(f"{path}: no such folder, and not a hub id of the form owner/name[@revision]")
    name, _, revision = path.partition("@")
    try:
        return Path(
            snapshot_download(
                name, revision=revision or None, allow_patterns=list(wanted), ignore_patterns=OTHER_COPIES
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UnusableModelError(why_not(path, error)) from error


def model_digest(path: str) -> str:
    """Return the content hash (16 hex digits) of weights, configuration and tokenizer, independent of the location."""
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
    """Return the SHA-256 of one file. For `*config.json`, leave out `VOLATILE_KEYS`."""
    if file.name.endswith("config.json"):
        entries = json.loads(file.read_text(encoding="utf-8"))
        lasting = {key: value for key, value in entries.items() if key not in VOLATILE_KEYS}
        return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).digest()
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def parameter_count(model: str | PreTrainedConfig) -> int:
    """Return the number of parameters, with tied ones counted once.

    Only the configuration is read; no weights are read or allocated.

    Raises:
        ValueError: the folder or model does not exist.
    """
    from transformers import AutoModelForCausalLM

    if isinstance(model, str):
        model = read_config(model_folder(model))
    with torch.device("meta"):
        shell = AutoModelForCausalLM.from_config(model, trust_remote_code=False)
    return sum(parameter.numel() for parameter in shell.parameters())
