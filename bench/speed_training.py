"""Training steps against the way open-unlearning writes them: `python bench/speed_training.py --tofu DIR`.

The plain way: forget and retain batches of 8 padded apart, logits at all places, transformers' own cross-entropy where
the loss has one, a frozen copy that reads the batch anew in each step, fused AdamW. Its losses are written out here;
where open-unlearning counts prompts and padding, only `compat` lines do. Both ways train in lockstep on the same rows,
so after the last pair their weights must agree.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from side_by_side import Result, World, options, padded, pairs, show, world
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from unlearn_sweep.engine.models.loading import load_model
from unlearn_sweep.engine.training.assembly import Loaded, assemble
from unlearn_sweep.engine.training.cache import DataCache
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.loop import train_step
from unlearn_sweep.engine.training.schedule import learning_rate
from unlearn_sweep.engine.training.state import History
from unlearn_sweep.engine.training.steps import MicroStep
from unlearn_sweep.methods.hidden_losses import random_direction

Batch = Mapping[str, Tensor]
Batches = Mapping[str, Batch]
Loss = Callable[["Plain", Batches], Tensor]
ROWS = 8
COUNTED = 2
"""Steps whose FLOPs are counted before those that are timed: rows differ in length from step to step."""
EPSILON = 1e-3
"""Of AdamW in both ways. At 1e-8 it makes whole steps of gradients that are zero but for rounding."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: a method at these parameters, its plain loss, and the aim."""

    name: str
    method: str
    params: Mapping[str, Any]
    loss: Loss
    aim: float
    only_down: bool = False
    rate: float = 1e-5


class Plain:
    """The plain model, its frozen copy and its optimizer."""

    def __init__(self, loaded: Loaded, line: Line, *, reference: bool) -> None:
        self.loaded, self.line = loaded, line
        self.model = load_model(loaded.training.job.start_model).train()
        self.frozen = copy.deepcopy(self.model).eval() if reference else self.model
        weights = [weight for name, weight in self.model.named_parameters() if self._trains(name)]
        settings = loaded.training.job.training
        self.optimizer = torch.optim.AdamW(weights, weight_decay=settings.weight_decay, eps=EPSILON, fused=True)
        self.clipped = weights

    def _trains(self, name: str) -> bool:
        """Whether the optimizer has this weight; gradients are computed for all of them, as in open-unlearning."""
        layer = self.loaded.training.run.layers[0] if self.line.only_down else 0
        chosen = [f"layers.{number}.mlp.down_proj" for number in range(max(0, layer - 2), layer + 1)]
        return not self.line.only_down or any(part in name for part in chosen)

    def step(self, index: int) -> None:
        training = self.loaded.training
        items = training.views.batch(training.plan, index)
        batches = {view: padded([item.example for item in rows]) for view, rows in items.items()}
        self.line.loss(self, batches).backward()
        nn.utils.clip_grad_norm_(self.clipped, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(training.job, index, training.run.steps)
        self.optimizer.step()
        self.model.zero_grad()


def main() -> None:
    given = options(__doc__).parse_args()
    with world(given) as made:
        lines = [line for line in LINES if given.only in line.name]
        show((measure(made, line, given) for line in lines), given)


def measure(made: World, line: Line, given: argparse.Namespace) -> Result:
    job = TrainJob.from_json(
        {
            "start_model": made.model,
            "output_dir": "not written",
            "benchmark": {"name": made.benchmark.name},
            "method": {"name": line.method, "params": dict(line.params)},
            "learning_rate": line.rate,
            "training": {
                "max_steps": given.pairs + COUNTED + 1,
                "global_batch_size": ROWS,
                "warmup_share": 0.0,
                "adam_epsilon": EPSILON,
            },
        }
    )
    loaded = assemble(job, made.benchmark, DataCache())
    before = flat(loaded.model)
    plain, history = Plain(loaded, line, reference=line.method != "graddiff" or "kl" in line.name), History()
    done = {"ours": 0, "plain": 0}

    def ours() -> None:
        train_step(loaded.training, done["ours"], history, checked=True)
        done["ours"] += 1

    def theirs() -> None:
        plain.step(done["plain"])
        done["plain"] += 1

    timed = pairs(given, ours, theirs, warm=COUNTED)
    moved, other = flat(loaded.model) - before, flat(plain.model) - before
    apart = 1 - float(functional.cosine_similarity(moved.double(), other.double(), dim=0))
    return timed.result(name=line.name, difference=apart, equal="1 - cosine of moves", aim=line.aim)


def flat(model: PreTrainedModel) -> Tensor:
    return torch.cat([weight.detach().flatten().clone() for weight in model.parameters()])


# --- losses, as open-unlearning writes them -----------------------------------------------------------------------


def nll(model: PreTrainedModel, batch: Batch) -> Tensor:
    return model(**batch).loss


def sums(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Negative log-likelihood of each sequence [B]."""
    logits, labels = model(**batch).logits[..., :-1, :].contiguous(), batch["labels"][..., 1:].contiguous()
    return nn.CrossEntropyLoss(ignore_index=-100, reduction="none")(logits.transpose(-1, -2), labels).sum(-1)


def frozen_sums(plain: Plain, batch: Batch) -> Tensor:
    with torch.no_grad():
        return sums(plain.frozen, batch)


def divergence(plain: Plain, batch: Batch, *, everywhere: bool) -> Tensor:
    """KL from the frozen model: at all places and rows, or at those that predict an answer."""
    with torch.no_grad():
        other = plain.frozen(**batch).logits.log_softmax(-1)
    own = plain.model(**batch).logits.log_softmax(-1)
    if everywhere:
        own, other = own.view(-1, own.shape[-1]), other.view(-1, own.shape[-1])
        return functional.kl_div(own, other, reduction="batchmean", log_target=True)
    known = (batch["labels"][:, 1:] != -100).float()
    values = functional.kl_div(own, other, reduction="none", log_target=True).sum(-1)[:, :-1]
    return (values * known).sum() / known.sum()


def graddiff(plain: Plain, batches: Batches) -> Tensor:
    return -nll(plain.model, batches["forget"]) + nll(plain.model, batches["retain"])


def graddiff_kl(plain: Plain, batches: Batches) -> Tensor:
    return -nll(plain.model, batches["forget"]) + divergence(plain, batches["retain"], everywhere=False)


def npo_forget(plain: Plain, batch: Batch) -> Tensor:
    margin = sums(plain.model, batch) - frozen_sums(plain, batch)
    return -2 / 0.1 * functional.logsigmoid(0.1 * margin).mean()


def npo(plain: Plain, batches: Batches) -> Tensor:
    return npo_forget(plain, batches["forget"]) + nll(plain.model, batches["retain"])


def npo_compat(plain: Plain, batches: Batches) -> Tensor:
    return npo_forget(plain, batches["forget"]) + divergence(plain, batches["retain"], everywhere=True)


def dpo(plain: Plain, batches: Batches) -> Tensor:
    won = sums(plain.model, batches["forget_idk"]) - frozen_sums(plain, batches["forget_idk"])
    lost = sums(plain.model, batches["forget"]) - frozen_sums(plain, batches["forget"])
    return -2 / 0.1 * functional.logsigmoid(0.1 * (lost - won)).mean() + nll(plain.model, batches["retain"])


def simnpo(plain: Plain, batches: Batches) -> Tensor:
    batch = batches["forget"]
    means = sums(plain.model, batch) / (batch["labels"] != -100).sum(-1)
    return 0.125 * -functional.logsigmoid(4.5 * means).mean() * 2 / 4.5 + nll(plain.model, batches["retain"])


def undial(plain: Plain, batches: Batches, *, everywhere: bool = False) -> Tensor:
    batch = batches["forget"]
    logits, labels = plain.model(**batch).logits[..., :-1, :].contiguous(), batch["labels"][..., 1:].contiguous()
    with torch.no_grad():
        teacher = plain.frozen(**batch).logits[..., :-1, :].contiguous()
    mask = torch.zeros_like(teacher)
    places = torch.arange(len(mask))[:, None, None], torch.arange(mask.shape[1])[None, :, None]
    mask[(*places, labels.unsqueeze(-1))] = 1.0
    soft = functional.softmax(teacher - mask * 10.0, dim=-1)
    losses = nn.CrossEntropyLoss(reduction="none")(logits.view(-1, logits.shape[-1]), soft.view(-1, soft.shape[-1]))
    known = (labels != -100).float().flatten()
    return losses.mean() if everywhere else (losses * known).sum() / known.sum()


def undial_compat(plain: Plain, batches: Batches) -> Tensor:
    return undial(plain, batches, everywhere=True)


def undial_nll(plain: Plain, batches: Batches) -> Tensor:
    return undial(plain, batches) + nll(plain.model, batches["retain"])


def rmu(plain: Plain, batches: Batches) -> Tensor:
    """States are caught on a pass through the whole model, and compared at the places that predict an answer."""
    run = plain.loaded.training.run
    generator = MicroStep(run, 0, {}, joint=False).generator("direction", same_every_step=True)
    states = caught(plain.model, batches["forget"], run.layers[0])
    target = 6.5 * random_direction(states.shape[-1], generator)
    forget = at_answers((states - target).square().mean(-1), batches["forget"])
    with torch.no_grad():
        before = caught(plain.frozen, batches["retain"], run.layers[0])
    now = caught(plain.model, batches["retain"], run.layers[0])
    return forget + 1200.0 * at_answers((now - before).square().mean(-1), batches["retain"])


def caught(model: PreTrainedModel, batch: Batch, layer: int) -> Tensor:
    found: list[Tensor] = []
    block = model.get_submodule(f"model.layers.{layer}")

    def keep(module: nn.Module, args: object, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    handle = block.register_forward_hook(keep)
    model(**batch)
    handle.remove()
    return found[0]


def at_answers(values: Tensor, batch: Batch) -> Tensor:
    known = (batch["labels"][:, 1:] != -100).float()
    return (values[:, :-1] * known).sum() / known.sum()


UNDIAL_RATE = 1e-2
"""On a random model UNDIAL's gradient is so small that at 1e-5 the weights' own rounding would be compared."""
OPEN_UNLEARNING = {"compat": "open-unlearning"}
LINES: Sequence[Line] = (
    Line("graddiff (nll)", "graddiff", {"retain": "nll"}, graddiff, 2),
    Line("graddiff (kl)", "graddiff", {"retain": "kl"}, graddiff_kl, 3),
    Line("npo", "npo", {}, npo, 3),
    Line("dpo", "dpo", {}, dpo, 3),
    Line("simnpo", "simnpo", {}, simnpo, 3),
    Line("undial, retain nll", "undial", {"retain": "nll"}, undial_nll, 3),
    Line("undial", "undial", {}, undial, 5, rate=UNDIAL_RATE),
    Line("rmu, all weights", "rmu", {"trainable": "all"}, rmu, 6),
    Line("rmu, down projections", "rmu", {}, rmu, 10, only_down=True),
    Line("npo (kl), compat", "npo", {"retain": "kl", **OPEN_UNLEARNING}, npo_compat, 1.5),
    Line("undial, compat", "undial", dict(OPEN_UNLEARNING), undial_compat, 1.5, rate=UNDIAL_RATE),
)

if __name__ == "__main__":
    main()
