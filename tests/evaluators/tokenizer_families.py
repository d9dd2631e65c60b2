"""Small tokenizers in the shape of those people use: the same parts in the same order, with a vocabulary trained here.

A shape is what decides how a border is tokenised: normaliser, pre-tokeniser, model, what is put before and behind a
text, and the chat template's words. Names say whose shape it is; no file of theirs is in here.
"""

# ruff: noqa: E501
from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaTokenizer, PreTrainedTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

TEXTS = [
    "Question: Who keeps the Vantry lighthouse?\nAnswer: Orla Beck keeps it, since 1984.",
    "user assistant system model You are a helpful assistant. Today Date: 10 Apr 2025",
    "What is the capital of Brelland? The capital is Aldermouth, near Port Selkie, at 12 degrees.",
    "Please briefly answer the following question. Human: Assistant: Falcon: User: [INST] [/INST] Instruct: Output:",
] * 4
WORDS = Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """`end`: the token that ends a turn in the chat template; None where the family has no template or ends in words.

    `system`: whether the template takes a system prompt. `lossless`: a text is decoded as it was.
    """

    name: str
    make: Callable[[], PreTrainedTokenizerBase]
    end: str | None = None
    system: bool = True
    lossless: bool = True
    arguments: dict[str, bool] = field(default_factory=dict)


def byte_level(
    special: list[str],
    *,
    bos: str | None,
    eos: str,
    before: bool = False,
    behind: bool = False,
    words: bool = False,
    plain: tuple[str, ...] = (),
    template: str | None = None,
    normalizer: normalizers.Normalizer | None = None,
) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    if normalizer is not None:
        core.normalizer = normalizer
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not words)
    core.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.Split(WORDS, behavior="isolated"), pieces]) if words else pieces
    )
    core.decoder = decoders.ByteLevel()
    begin = [bos] if bos else []
    names = list(dict.fromkeys([*begin, eos, *special]))
    core.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=460,
            special_tokens=names,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    core.add_tokens([AddedToken(text, special=False, normalized=False) for text in plain])
    if before or behind:
        written = " ".join([*([bos] if before and bos else []), "$A", *([eos] if behind else [])])
        named = [(name, core.token_to_id(name)) for name in sorted({*begin, eos})]
        core.post_processor = processors.TemplateProcessing(single=written, special_tokens=named)
    return wrapped(core, bos, eos, template)


def wrapped(core: Tokenizer, bos: str | None, eos: str, template: str | None) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=bos, eos_token=eos, clean_up_tokenization_spaces=False
    )
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def pieces(special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a SentencePiece-like BPE with bytes for what it does not know."""
    core = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    names = ["<unk>", *special, *[f"<0x{byte:02X}>" for byte in range(256)]]
    core.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=620, special_tokens=names, show_progress=False))
    spec = json.loads(core.to_str())["model"]
    return spec["vocab"], [(left, right) for left, right in spec["merges"]]


def sentence_piece(
    special: list[str],
    *,
    prepend: bool = True,
    behind: bool = False,
    template: str | None = None,
    bos: str = "<s>",
    eos: str = "</s>",
) -> PreTrainedTokenizerFast:
    """As tokenizer.json files of Llama 2 and its like have it: a normaliser, and no pre-tokeniser."""
    vocab, merges = pieces([bos, eos, *special])
    core = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replaced = normalizers.Replace(" ", "▁")
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replaced]) if prepend else replaced
    core.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            *([decoders.Strip(" ", 1, 0)] if prepend else []),
        ]
    )
    core.add_special_tokens(["<unk>", bos, eos, *special])
    written = f"{bos} $A {eos}" if behind else f"{bos} $A"
    named = [(name, core.token_to_id(name)) for name in (bos, eos)]
    core.post_processor = processors.TemplateProcessing(single=written, special_tokens=named)
    return wrapped(core, bos, eos, template)


def llama_class(template: str) -> PreTrainedTokenizerBase:
    vocab, merges = pieces(["<s>", "</s>"])
    tokenizer = LlamaTokenizer(vocab=vocab, merges=merges, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = template
    return tokenizer


def word_piece() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]
    core.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, core.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        bos_token="[CLS]",
        eos_token="[SEP]",
    )


def unigram() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    core.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=220, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    core.train_from_iterator(TEXTS, trainer)
    core.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", core.token_to_id("</s>"))]
    )
    return wrapped(core, None, "</s>", None)


class Characters(PreTrainedTokenizer):
    """A tokenizer in Python, without offsets, that merges a blank with the letter behind it."""

    vocab_files_names: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, **kwargs: object) -> None:
        letters = [chr(code) for code in range(32, 127)] + ["\n"]
        known = ["<s>", "</s>", "<unk>", *letters, *[f" {letter}" for letter in letters if letter != " "]]
        self._ids = {text: number for number, text in enumerate(known)}
        self._texts = dict(enumerate(known))
        super().__init__(bos_token="<s>", eos_token="</s>", unk_token="<unk>", **kwargs)

    @property
    def vocab_size(self) -> int:
        return len(self._ids)

    def get_vocab(self) -> dict[str, int]:
        return dict(self._ids)

    def _tokenize(self, text: str, **kwargs: object) -> list[str]:
        found: list[str] = []
        for letter in text:
            if found and found[-1] == " " and f" {letter}" in self._ids:
                found[-1] = f" {letter}"
            else:
                found.append(letter)
        return found

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, self._ids["<unk>"])

    def _convert_id_to_token(self, index: int) -> str:
        return self._texts[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        return [self._ids["<s>"], *token_ids_0]


LLAMA3 = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nToday Date: "
    "{{ date_string if date_string is defined else strftime_now('%d %b %Y') }}\n\n"
    "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% endif %}<|eot_id|>"
    "{% for m in messages if m.role != 'system' %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
LLAMA2 = (
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set system = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' %}"
    "{% else %}{% set rest = messages %}{% set system = '' %}{% endif %}"
    "{% for m in rest %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') + m.content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}"
    "{% elif m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA3 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}"
    "{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + (first if loop.first else '') + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
QWEN3 = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
FALCON = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ 'User: ' + m.content + '\n\n' }}{% elif m.role == 'system' %}{{ m.content + '\n' }}"
    "{% else %}{{ 'Falcon: ' + m.content + '\n\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Falcon:' }}{% endif %}"
)
OLMO = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token if loop.last else eos_token + '\n' }}{% else %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
GRANITE = (
    "{% if messages[0].role != 'system' %}{{ '<|start_of_role|>system<|end_of_role|>Knowledge Cutoff Date: April 2024.\nToday\\'s Date: ' "
    "+ strftime_now('%B %d, %Y') + '.<|end_of_text|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}"
)
HEADERS = ["<|start_header_id|>", "<|end_header_id|>"]
ROLES = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]

FAMILIES = [
    Family("gpt2", lambda: byte_level([], bos="<|endoftext|>", eos="<|endoftext|>")),
    Family("neox", lambda: byte_level([], bos="<|endoftext|>", eos="<|endoftext|>", normalizer=normalizers.NFC())),
    Family("opt", lambda: byte_level([], bos="</s>", eos="</s>", before=True)),
    Family("falcon", lambda: byte_level([], bos=None, eos="<|endoftext|>", template=FALCON)),
    Family("llama2", lambda: llama_class(LLAMA2), end="</s>"),
    Family("llama2_file", lambda: sentence_piece([], template=LLAMA2), end="</s>"),
    Family("llama3", lambda: byte_level([*HEADERS, "<|eot_id|>"], bos="<|begin_of_text|>", eos="<|eot_id|>", before=True, words=True, template=LLAMA3), end="<|eot_id|>"),
    Family("llama3_old", lambda: byte_level([*HEADERS, "<|eot_id|>"], bos="<|begin_of_text|>", eos="<|end_of_text|>", before=True, words=True, template=LLAMA3), end="<|eot_id|>"),
    Family("mistral", lambda: sentence_piece([], template=MISTRAL), end="</s>", system=False),
    Family("mistral_v3", lambda: sentence_piece(["[INST]", "[/INST]"], template=MISTRAL), end="</s>", system=False),
    Family("zephyr", lambda: llama_class(ZEPHYR), end="</s>"),
    Family("zephyr_file", lambda: sentence_piece([], template=ZEPHYR), end="</s>"),
    Family("gemma2", lambda: sentence_piece(["<start_of_turn>", "<end_of_turn>"], prepend=False, bos="<bos>", eos="<eos>", template=GEMMA), end="<end_of_turn>", system=False),
    Family("gemma3", lambda: sentence_piece(["<start_of_turn>", "<end_of_turn>"], prepend=False, bos="<bos>", eos="<eos>", template=GEMMA3), end="<end_of_turn>"),
    Family("phi3", lambda: sentence_piece(ROLES, eos="<|endoftext|>", template=PHI3), end="<|end|>"),
    Family("qwen2.5", lambda: byte_level(["<|im_start|>"], bos=None, eos="<|im_end|>", words=True, template=CHATML, normalizer=normalizers.NFC()), end="<|im_end|>"),
    Family("qwen3", lambda: byte_level(["<|im_start|>"], bos=None, eos="<|im_end|>", words=True, plain=("<think>", "</think>"), template=QWEN3), end="<|im_end|>"),
    Family("qwen3_base_eos", lambda: byte_level(["<|im_start|>", "<|im_end|>"], bos=None, eos="<|endoftext|>", words=True, plain=("<think>", "</think>"), template=QWEN3), end="<|im_end|>"),
    Family("olmo", lambda: byte_level([], bos="<|endoftext|>", eos="<|endoftext|>", template=OLMO), end="<|endoftext|>"),
    Family("granite", lambda: byte_level(["<|start_of_role|>", "<|end_of_role|>"], bos="<|end_of_text|>", eos="<|end_of_text|>", template=GRANITE), end="<|end_of_text|>"),
    Family("adds_eos", lambda: byte_level([], bos="<bos>", eos="<eos>", before=True, behind=True)),
    Family("llama2_adds_eos", lambda: sentence_piece([], behind=True, template=ZEPHYR), end="</s>"),
    Family("bert", word_piece, lossless=False),
    Family("t5", unigram, lossless=False),
    Family("python", Characters),
]  # fmt: skip
