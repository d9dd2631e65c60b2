"""Does a generated answer entail the reference? A natural-language-inference model on this machine says so.

The Full-Stack evaluation (arXiv 2510.07626) scores open answers this way: premise is the model's output, hypothesis the
correct answer, and the share of entailments counts. The classifier is named by UNLEARN_SWEEP_NLI_MODEL;
`tasksource/deberta-small-long-nli` is one that fits. It runs on the CPU.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from unlearn_sweep.evaluators.local_models import local_folder, named_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VARIABLE = "UNLEARN_SWEEP_NLI_MODEL"
BATCH = 16
PAIR_TOKENS = 512


def entailment_model(environment: Mapping[str, str] | None = None) -> str:
    """The classifier that the environment names. Raises ValueError where none is."""
    return named_model(VARIABLE, "an entailment model", environment)


class EntailmentModel:
    """A loaded classifier.

    Raises:
        ValueError: its labels do not name entailment.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, **options)
        loaded = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True, **options)
        self.model: PreTrainedModel = loaded.eval()
        self.label = entailment_label(cast("dict[int, str]", self.model.config.id2label))

    def entails(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether each premise entails its hypothesis: entailment is the likeliest label. An empty premise does not."""
        asked = [index for index, (premise, _) in enumerate(pairs) if premise.strip()]
        asked.sort(key=lambda index: len(pairs[index][0]) + len(pairs[index][1]))
        found = [False] * len(pairs)
        for start in range(0, len(asked), BATCH):
            chosen = asked[start : start + BATCH]
            for index, label in zip(chosen, self._labels([pairs[index] for index in chosen]), strict=True):
                found[index] = label == self.label
        return found

    def _labels(self, pairs: Sequence[tuple[str, str]]) -> list[int]:
        import torch

        batch = self.tokenizer(
            [premise for premise, _ in pairs],
            [hypothesis for _, hypothesis in pairs],
            padding=True,
            truncation="only_first",
            max_length=PAIR_TOKENS,
            return_tensors="pt",
        )
        with torch.no_grad():
            return self.model(**batch).logits.float().argmax(-1).tolist()


def entailment_label(labels: Mapping[int, str]) -> int:
    """The place of "entailment" among a classifier's labels, which differs between models."""
    places = [place for place, name in labels.items() if name.strip().lower() in ("entailment", "entails")]
    if len(places) != 1:
        raise ValueError(f"{VARIABLE}: labels must name entailment once, and are {', '.join(labels.values())}")
    return places[0]


@functools.lru_cache(maxsize=1)
def entailment_classifier(named: str) -> EntailmentModel:
    """The named classifier, loaded once a process."""
    return EntailmentModel(local_folder(named))
