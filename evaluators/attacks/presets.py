"""Batteries of attacks under a name, as papers ran them, as far as they are implemented. No model library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Attacks in order of cost, each `{name: params}`. `missing` says what the source ran besides."""

    summary: str
    source: str
    attacks: Sequence[Mapping[str, Any]]
    missing: str = ""


TAMPERING_STEPS = (10, 30, 100, 300, 1000, 3000, 10_000)
"""Where a training of 10,000 steps is measured. Without warm-up a state is that of a training of so many steps."""

PRESETS: Mapping[str, Preset] = {
    "quick": Preset(
        summary="one cheap attack of each of the three main kinds",
        source="this project",
        attacks=({"prefill": {"tokens": [1]}}, {"quantize": {"bits": 4}}, {"relearn": {"steps": [5, 20]}}),
    ),
    "full_stack": Preset(
        summary="quantisation, in-domain relearning, out-of-domain fine-tuning and a jailbreak at the published sizes",
        source="Full-Stack evaluation, arXiv 2510.07626",
        attacks=(
            {"quantize": {"bits": [8, 4]}},
            {"relearn": {"data": "forget", "steps": [100], "batch_size": 4, "learning_rate": 2e-5}},
            {"finetune": {"data": "gsm8k", "steps": [250], "batch_size": 32, "learning_rate": 2e-5}},
            {"finetune": {"data": "sst2", "steps": [250], "batch_size": 32, "learning_rate": 2e-5}},
            {"finetune": {"data": "mnli", "steps": [250], "batch_size": 32, "learning_rate": 2e-5}},
            {
                "enhanced_gcg": {
                    "steps": [1500],
                    "target": "original",
                    "fluency_weight": 1.5,
                    "repetition_weight": 3.0,
                    "distance": "absolute",
                }
            },
        ),
        missing="its jailbreak's warm start, its questions (prompts: [0, 2, 3, 4, 5]) and its layer (layers: [20], "
        "states: input), which models of 32 blocks have: sweeps/papers/full_stack.yaml names them",
    ),
    "jensun": Preset(
        summary="worst case over paraphrases and in-context retain",
        source="JensUn (Singh et al., 2025)",
        attacks=({"paraphrase": {"wordings": [15]}}, {"in_context": {"shots": [3], "demonstrations": "retain"}}),
        missing="relearning on general questions of the topic, whose steps and rate were not published",
    ),
    "tampering": Preset(
        summary="fine-tuning on forgotten facts up to 10,000 steps, all weights at three rates and LoRA, each one "
        "training that is measured on the way",
        source="Deep Ignorance (O'Brien et al.), arXiv 2508.06601: up to 10,000 steps; our rates and points",
        attacks=tuple(
            {"relearn": {"steps": list(TAMPERING_STEPS), "batch_size": 16, "warmup": False, **values}}
            for values in (
                {"learning_rate": 2e-6},
                {"learning_rate": 2e-5},
                {"learning_rate": 1e-4},
                {"learning_rate": 2e-4, "lora_rank": 16},
            )
        ),
        missing="its corpus of papers on the subject: give `data` a training view of such text, as a grid",
    ),
    "rwku": Preset(
        summary="the nine kinds of adversarial prompts, each alone and each row in its worst",
        source="RWKU (Jin et al.), arXiv 2406.10890",
        attacks=({"rwku_prompts": {"aggregate": "each"}}, {"rwku_prompts": {"aggregate": "worst"}}),
        missing="its own probes, which are rows of benchmark rwku, and its membership-inference sets (metrics)",
    ),
    "lucki": Preset(
        summary="white-box attacks on what unlearning left in the weights",
        source="Lucki et al., arXiv 2409.18025",
        attacks=(
            {"logit_lens": {}},
            {"abliterate": {"reference": "original", "where": "activations"}},
            {"prune": {"forget_percent": [0.5, 1.0, 2.5, 5.0, 7.5], "utility_percent": 7.5, "samples": 128}},
            {"relearn": {"data": "forget", "steps": [5, 50, 100], "learning_rate": 2e-4, "lora_rank": 128}},
            {"enhanced_gcg": {"steps": [1500]}},
        ),
        missing="warm starts of gcg; relearning by sample count; lens taps inside a block",
    ),
}
