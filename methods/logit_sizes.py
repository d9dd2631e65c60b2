"""When logits are computed in chunks, and how large a chunk is. Loads no torch: plans read it too."""

from __future__ import annotations

from typing import Literal

Logits = Literal["auto", "whole", "chunks"]
CHUNK_ENTRIES = 2**25
"""Entries of the logits that exist at a time: 128 MiB in float32, 256 rows of a vocabulary of 128k."""
HELD_ENTRIES = 2**27
"""Entries of [N, V], half a gibibyte in float32, above which `auto` computes chunks: below, computing them a second
time costs more than their memory is worth."""
SHARDED_VOCABULARY = 2**15
"""Vocabulary from which `auto` computes chunks under ZeRO stage 3, where all ranks must do the same, whatever their
number of tokens."""


def wants_chunks(setting: Logits, *, rows: float, vocabulary: int, sharded: bool) -> bool:
    """Whether logits [rows, vocabulary] are computed in chunks."""
    if setting != "auto":
        return setting == "chunks"
    return vocabulary >= SHARDED_VOCABULARY if sharded else rows * vocabulary > HELD_ENTRIES


def entries_held(setting: Logits, *, rows: float, vocabulary: int, sharded: bool) -> float:
    """How many entries of logits [rows, vocabulary] exist at a time."""
    whole = rows * vocabulary
    chunked = wants_chunks(setting, rows=rows, vocabulary=vocabulary, sharded=sharded)
    return min(whole, max(CHUNK_ENTRIES, vocabulary)) if chunked else whole
