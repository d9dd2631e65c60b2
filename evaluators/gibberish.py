"""Is a generated text language at all? A classifier on this machine says how likely it is clean text.

open-unlearning (arXiv 2506.12618) judges the fluency of forget answers this way, with
`madhurjindal/autonlp-Gibberish-Detector-492513457`. Named by UNLEARN_SWEEP_GIBBERISH_MODEL; it runs on the CPU.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from unlearn_sweep.evaluators.local_models import local_folder, named_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VARIABLE = "UNLEARN_SWEEP_GIBBERISH_MODEL"
CLEAN = "clean"
BATCH = 16
TEXT_TOKENS = 512


def gibberish_model(environment: Mapping[str, str] | None = None) -> str:
    """The classifier that the environment names. Raises ValueError where none is."""
    return named_model(VARIABLE, "a classifier of gibberish", environment)


class GibberishClassifier:
    """A loaded classifier.

    Raises:
        ValueError: none of its labels, or more than one, is "clean".
    """

    def __init__(self, named: str) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        folder = local_folder(named)
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, **options)
        loaded = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True, **options)
        self.model: PreTrainedModel = loaded.eval()
        self.label = clean_label(cast("dict[int, str]", self.model.config.id2label))

    def clean(self, texts: Sequence[str]) -> list[float]:
        """Probability in [0, 1] that each text is clean; 0 for an empty one, which is no text."""
        asked = sorted((index for index, text in enumerate(texts) if text.strip()), key=lambda index: len(texts[index]))
        found = [0.0] * len(texts)
        for start in range(0, len(asked), BATCH):
            chosen = asked[start : start + BATCH]
            for index, share in zip(chosen, self._shares([texts[index] for index in chosen]), strict=True):
                found[index] = share
        return found

    def _shares(self, texts: Sequence[str]) -> list[float]:
        import torch

        batch = self.tokenizer(list(texts), padding=True, truncation=True, max_length=TEXT_TOKENS, return_tensors="pt")
        with torch.no_grad():
            return self.model(**batch).logits.float().softmax(-1)[:, self.label].tolist()


def clean_label(labels: Mapping[int, str]) -> int:
    """The place of "clean" among a classifier's labels."""
    places = [place for place, name in labels.items() if name.strip().lower() == CLEAN]
    if len(places) != 1:
        raise ValueError(f"{VARIABLE}: labels must name {CLEAN!r} once, and are {', '.join(labels.values())}")
    return places[0]


@functools.lru_cache(maxsize=1)
def gibberish_classifier(named: str) -> GibberishClassifier:
    """The named classifier, loaded once a process."""
    return GibberishClassifier(named)
