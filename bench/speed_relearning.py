"""An attacker's training steps against a plain loop: `python bench/speed_relearning.py --tofu DIR`.

The plain loop: padded batches under an attention mask, logits at all places, transformers' own loss, fused AdamW, the
default of its trainer; adapters through peft's own model. Losses of the last step must agree.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence

import torch
from peft import LoraConfig, get_peft_model
from side_by_side import Result, World, options, padded, pairs, show, world
from torch import nn
from transformers import PreTrainedModel

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.evaluators.attacks.relearn_params import RelearnParams
from unlearn_sweep.evaluators.attacks.short_training import draw_batches, train_copy, warmup_factor
from unlearn_sweep.evaluators.row_encoder import RowEncoder
from unlearn_sweep.evaluators.rows import Example

STEPS, RATE = 2, 1e-4
SETTINGS = (("full, batch 4", 4, 0), ("LoRA 8, batch 4", 4, 8), ("full, batch 16", 16, 0))


def main() -> None:
    given = options(__doc__).parse_args()
    with world(given) as made:
        show((line(made, given, *setting) for setting in SETTINGS if given.only in setting[0]), given)


def line(made: World, given: argparse.Namespace, name: str, batch: int, rank: int) -> Result:
    model, tokenizer = load_model(made.model).eval(), load_tokenizer(made.model)
    rows = made.benchmark.train["forget"][: 4 * batch]
    asked, _ = RowEncoder(tokenizer=tokenizer, template=made.benchmark.template).ask(rows, alternatives=False)
    examples = [item.answer for item in asked]
    params = RelearnParams(steps=[STEPS], batch_size=batch, learning_rate=RATE, lora_rank=rank)
    losses: dict[str, float] = {}

    def ours() -> None:
        (state,) = train_copy(model, examples, params, seed=0)
        losses["ours"] = float("nan") if state.loss is None else state.loss

    def plain() -> None:
        losses["plain"] = plain_training(model, examples, params)

    timed = pairs(given, ours, plain)
    apart = abs(losses["ours"] - losses["plain"])
    return timed.result(name=f"relearning, {name}", difference=apart, equal="nats", aim=2)


def plain_training(model: PreTrainedModel, examples: Sequence[Example], params: RelearnParams) -> float:
    owned = copy.deepcopy(model).train()
    trained: nn.Module = owned
    if params.lora_rank:
        torch.manual_seed(0)
        config = LoraConfig(r=params.lora_rank, lora_alpha=params.lora_alpha, target_modules="all-linear")
        trained = get_peft_model(owned, config)
    weights = [weight for weight in trained.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=params.weight_decay, fused=True)
    batches, value = draw_batches(len(examples), params.batch_size, 0), float("nan")
    for step in range(STEPS):
        loss = trained(**padded([examples[index] for index in next(batches)])).loss
        value = float(loss.detach())
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = RATE * warmup_factor(step, STEPS, enabled=params.warmup)
        optimizer.step()
        optimizer.zero_grad()
    return value


if __name__ == "__main__":
    main()
