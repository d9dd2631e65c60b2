"""TOFU's likelihood metrics and membership scores against passes for each: `python bench/speed_metrics.py --tofu DIR`.

The plain way is open-unlearning's: batches of 32 in the order of the file, padded, logits at all places, and passes of
its own for each metric: probability of answer, paraphrase and each perturbed answer, exact memorisation, extraction
strength, loss, zlib, Min-K, and two for Min-K++. Its arithmetic is written out here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from side_by_side import options, padded, pairs, show, world
from torch import Tensor, nn
from transformers import PreTrainedModel

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.row_encoder import AskedRow, RowEncoder
from unlearn_sweep.evaluators.rows import Example

METRICS = (
    *("probability", "truth_ratio", "exact_memorization_ou", "extraction_strength_ou"),
    *("mia_loss", "mia_zlib_ou", "mia_min_k_ou", "mia_min_k_plus_plus_ou"),
)
BATCH = 32


def main() -> None:
    given = options(__doc__).parse_args()
    with world(given) as made:
        model, tokenizer = load_model(made.model).eval(), load_tokenizer(made.model)
        template = made.benchmark.template
        rows = made.benchmark.evaluation["forget"][: given.rows]
        asked, _ = RowEncoder(tokenizer=tokenizer, template=template).ask(rows, alternatives=True)
        found: dict[str, np.ndarray] = {}

        def ours() -> None:
            table = evaluate_rows(model, tokenizer, rows, metrics=METRICS, template=template, max_new_tokens=1).table
            found["ours"] = table[["probability", "mia_min_k_plus_plus_ou"]].to_numpy()

        def plain() -> None:
            found["plain"] = suite(model, asked)

        timed = pairs(given, ours, plain)
        apart = float(np.nanmax(np.abs(found["ours"] - found["plain"])))
        name = f"TOFU likelihood metrics and MIA, {len(rows)} rows"
        show([timed.result(name=name, difference=apart, equal="probability and Min-K++", aim=8)], given)


def batches(examples: Sequence[Example]) -> Iterator[dict[str, Tensor]]:
    for first in range(0, len(examples), BATCH):
        yield padded(examples[first : first + BATCH])


@torch.no_grad()
def suite(model: PreTrainedModel, asked: Sequence[AskedRow]) -> np.ndarray:
    """Return probability and Min-K++ of each row [rows, 2]; the other metrics are computed and dropped."""
    own = [item.answer for item in asked]
    own_probability = probabilities(model, own)
    probabilities(model, [item.paraphrase for item in asked if item.paraphrase is not None])
    for place in range(max(len(item.perturbed) for item in asked)):
        probabilities(model, [item.perturbed[place] for item in asked if place < len(item.perturbed)])
    memorised(model, own)  # exact memorisation
    memorised(model, own)  # extraction strength
    probabilities(model, own)  # loss
    probabilities(model, own)  # zlib
    for batch in batches(own):  # Min-K
        for row in token_log_probabilities(model, batch):
            np.sort(row.numpy())[: max(1, int(0.4 * len(row)))].mean()
    scores = [score for batch in batches(own) for score in min_k_plus_plus(model, batch)]
    return np.array([own_probability, scores]).T


def probabilities(model: PreTrainedModel, examples: Sequence[Example]) -> list[float]:
    found: list[float] = []
    for batch in batches(examples):
        logits = model(**batch).logits[..., :-1, :].contiguous()
        labels = batch["labels"][..., 1:].contiguous()
        losses = nn.CrossEntropyLoss(reduction="none")(logits.transpose(-1, -2), labels).sum(-1)
        found += torch.exp(-losses / (labels != -100).sum(-1)).tolist()
    return found


def spans(batch: dict[str, Tensor]) -> list[tuple[int, int]]:
    """Return the places that predict each row's answer, its end-of-text left out."""
    found = []
    for labels in batch["labels"]:
        places = (labels != -100).nonzero()[:, 0][:-1]
        found.append((int(places[0]) - 1, int(places[-1])) if len(places) else (0, 0))
    return found


def token_log_probabilities(model: PreTrainedModel, batch: dict[str, Tensor]) -> list[Tensor]:
    logp = model(**batch).logits.log_softmax(-1)[:, :-1]
    own = logp.gather(2, batch["input_ids"][:, 1:].unsqueeze(-1)).squeeze(-1)
    return [row[first:last] for row, (first, last) in zip(own, spans(batch), strict=True)]


def vocabulary_log_probabilities(model: PreTrainedModel, batch: dict[str, Tensor]) -> list[Tensor]:
    logp = model(**batch).logits.log_softmax(-1)[:, :-1]
    return [row[first:last] for row, (first, last) in zip(logp, spans(batch), strict=True)]


def memorised(model: PreTrainedModel, examples: Sequence[Example]) -> None:
    for batch in batches(examples):
        for row in vocabulary_log_probabilities(model, batch):
            row.argmax(-1)


def min_k_plus_plus(model: PreTrainedModel, batch: dict[str, Tensor]) -> list[float]:
    """Two passes, as open-unlearning's attack makes them."""
    whole, own = vocabulary_log_probabilities(model, batch), token_log_probabilities(model, batch)
    found = []
    for logp, token in zip(whole, own, strict=True):
        mean = (torch.exp(logp) * logp).sum(-1)
        variance = (torch.exp(logp) * torch.square(logp)).sum(-1) - torch.square(mean)
        scores = ((token - mean) / variance.clamp(min=1e-6).sqrt()).numpy()
        found.append(float(-np.mean(np.sort(scores)[: max(1, int(0.4 * len(scores)))])) if len(scores) else np.nan)
    return found


if __name__ == "__main__":
    main()
