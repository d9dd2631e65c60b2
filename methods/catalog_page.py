"""Renders docs/methods.md from the catalog; `make docs` writes it."""

from __future__ import annotations

from unlearn_sweep.methods.cards import MethodCard, Param
from unlearn_sweep.methods.catalog import FINETUNE, METHODS, WRAPPERS, limits

HEADER = """# Methods

Generated from the catalog by `python -m unlearn_sweep.methods.catalog_page > docs/methods.md`; do not edit.

## Conventions

- A batch has B sequences with N supervised (answer) tokens; prompt and padding positions never enter a loss.
- `NLL` is the mean over those tokens; `S_b` is the sum over sequence b, of `n_b` tokens; `p` is the model's probability
  of the answer's token; `_f` is the forget set, `_r` the retain set, `_ref` the original model before unlearning.
- `L_r` is the retain term: `nll` = NLL of the retain answers, `kl` = KL(original || model), `jsd` = Jensen-Shannon
  divergence to the original model, `embed_mse` = squared distance of the last hidden state to the original's,
  `hidden_l2` = distance of all hidden states to the original's, each a mean over retain answer tokens; `ap` = answer
  preservation at beta 0.1 (see idk_ap); `none`, or a weight of 0, does not read the retain set. `kl`, `jsd`,
  `embed_mse` and `hidden_l2` keep the original model loaded (with LoRA it is the same model, adapters off).
- `h` are hidden states behind one layer, at the positions that predict the answer; `u` is a random direction of length
  1, drawn once a training. Methods on hidden states run the model up to their layer only.
- Every mean is over the global batch of an optimizer step: gradient accumulation and the number of workers change
  nothing. The one exception is `reduction: token_mean_batch`, which puts a nonlinear function of the micro-batch's mean
  in the loss as some published code does; use it to compare, not to unlearn.
- All logarithms are natural; losses are computed in fp32 (fp64 where the model is fp64).
- Where published code has a known fault (padding in a KL, an unshifted mask, a reduction that mixes sequences), the
  formula of the paper is implemented; `compat` follows the code instead, see "As published" below. Hyperparameters
  with the same symbol mean different things in different repositories: read the equation, not the letter.
- Under AdamW a common factor of all weights does almost nothing, so by default a search moves one of the two weights.
- *Search* is the range that `published` searches; a parameter without one stays at its default.

## Overview

| method | family | what it does | reads | cost |
|---|---|---|---|---|
"""

WRAPPER_TABLE = """Put around any method with `+`; the cost is a factor on the method's own.

| wrapper | family | what it does | asks for | factor |
|---|---|---|---|---|
"""

FOOTER_COST = """
Cost is the time of one step relative to plain fine-tuning on the same forget and retain sequences, counted in forward
and backward passes. *Reads* lists the views at the defaults; `forget_idk` and `retain_idk` are the same questions with
a refusal, `forget_alternate` with another answer, `forget_vague` with a written one that gives nothing away;
`reference:sequence_nll` is one cached number a sequence, `reference:logits` and `reference:hidden` need the original
model in memory, `teacher:reinforced` another one beside it, trained on the forget rows in a stage of its own that
trials share; `grouped` takes forget and retain gradients apart; `state` is kept between steps and saved in checkpoints.
"""

AS_PUBLISHED = """## As published

`compat: open-unlearning` (or `jensun`, `gao`, `unlearn-smooth`, `unlearn-smooth-muse`, `wmdp`, `tar`) on a method
computes its loss as that project's released code does, so that its numbers can be met, and what its faults do can be
measured: a sweep may search `compat: {choice: [none, open-unlearning]}`. Every mean is then taken over a micro-batch,
as all of them do, and depends on `micro_batch_size`, padding and the number of workers. Each deviation gives the value
that the project's own code gave on the same tensors, but simnpo's, which is checked by hand
(`tests/methods/test_as_published.py`). The switch sets no other parameter: learning rates, weights and betas are yours
to give.

Not followed, since the result is another method's or nothing at all: the gradient-norm and curvature penalties of
unlearn-smooth (plain numbers without a gradient: its result is the method without them, and for the curvature the
method with its forget gradient twice, since a first backward pass is never cleared: `forget_weight: 2`) and its two
optimizer steps in random smoothing; PDU's dual step in every micro-batch; gao's paraphrase loss over 512 padded places;
ZeRO runs that lose gao's term; jensun's variants whose token ids are another text's than their name says (give
`target`).

"""

COMPOSITIONS = """## Compositions

A sweep file may name a method with wrappers, `npo+sam+irm`, or two methods in turn, `dpo>idk_ap`. The order of wrappers
means nothing: each acts at its own place (terms, then the forward, then the forget gradient, then both gradients, then
the weights). The parameters of all parts stand side by side; where both phases have a parameter of the same name, the
second's has its method in front (`idk_ap.beta`), and `switch_at` is the share of the steps after which the second
takes over, in the same training with the same optimizer and schedule.

`undo` behind a method, `npo>undo` or `rmu+lat>undo`, is a training of its own: it starts from the model that the other
one leaves and learns from it. All its parameters have `undo.` in front, its learning rate and epochs too. The first
training is a stage, `suppress`; its model stays in the store where no parameter of it is searched, so that trials share
it, and goes with its trial otherwise. Alone, `undo` noises the original and distils it: what the damage by itself does.

What is refused, when the file is read: two of `sam`, `rs`, `gnr`, `cr` and `tar` (each replaces the forget gradient);
two of `gru`, `mudman` and `surgery`, or one of them around a method without a retain term; phases of which one works on
hidden states and the other does not; `lat`, `cir` or `weight_avg` in a method of two phases; `cir` with what runs the
forget rows at other weights or states (`sam`, `rs`, `gnr`, `cr`, `tar`, `gao`, `lat`), with LoRA, or with recomputed
activations; `task_vector` as a phase, or inside a wrapper other than `sam`, `rs`, `gnr`, `cr` and `weight_avg` (it
turns the whole training round, and what they are for with it); more votes than wordings in `gao`, or more wordings than
the benchmark has.

Where each runs. All run on one process, under DistributedDataParallel and under DeepSpeed ZeRO 0 to 3, with or without
LoRA. For each way in which a gradient comes about, two ranks give the weights of one to 1e-6 under DDP and ZeRO 1, 2
and 3 (`tests/engine/training/test_backends.py`); with LoRA that is tested for npo and npo+sam.

| what a method asks for | memory beyond plain training, on every rank |
|---|---|
| one gradient (most methods) | nothing |
| `reference:sequence_nll` | one number a row |
| `reference:logits`, `reference:hidden` | the original model's weights; nothing with LoRA |
| `teacher:reinforced` | the weights of that model, whole, also with LoRA |
| `grouped`: `surgery`, `rs`, `gao` | two whole gradients, one more for each that is held, unsharded at any stage |
| `gru`, `mudman` | the same and one more, the smoothed retain gradient, in checkpoints too |
| `sam`, `gnr`, `cr`, `tar` | the same, and a copy of the trained weights while they are moved |
| `undo` | the weights of the model it learns from, also with LoRA |
| `cir` | for each MLP matrix the second moments of its inputs and outputs, a square matrix each, in float64 |
| `weight_avg` | a float32 copy of the trained weights |
| `lat` | one activation of the forget batch, and no weight gradient while the adversary works |

With LoRA all of these count adapters only. Under bfloat16 a move of `sam` is added to the float32 master weights;
`sam_realised_fraction` in a trial's record says how much of it the forward really saw.

Nobody has run any of this on a GPU yet; the tests are gloo on CPUs in float32, and bfloat16 where said.
"""


def render() -> str:
    """The whole page as Markdown."""
    rows = "\n".join(overview(card) for card in METHODS.values())
    sections = "\n".join(section(card) for card in (*METHODS.values(), FINETUNE))
    around = "\n".join(overview(card) for card in WRAPPERS.values())
    wrappers = "\n".join(section(card) for card in WRAPPERS.values())
    head = f"{HEADER}{rows}\n{FOOTER_COST}\n## Wrappers\n\n{WRAPPER_TABLE}{around}\n"
    return f"{head}\n{AS_PUBLISHED}{COMPOSITIONS}\n{sections}\n{wrappers}"


def overview(card: MethodCard) -> str:
    """One row of the overview table."""
    reads = ", ".join(f"`{need}`" for need in card.needs)
    return f"| [`{card.name}`](#{card.name}) | {card.family} | {cell(card.summary)} | {reads} | {card.cost:g} |"


def section(card: MethodCard) -> str:
    """One method: what it is and a table of its parameters."""
    params = "\n".join(param_row(param) for param in card.params)
    return f"""## {card.name}

{card.summary[0].upper()}{card.summary[1:]}.

- Source: {card.paper}
- Loss: `{card.equation}`
- Reads: {", ".join(card.needs)}; cost {card.cost:g}

| parameter | default | search | allowed | meaning | default from |
|---|---|---|---|---|---|
{params}
"""


def param_row(param: Param) -> str:
    """One row of a method's parameter table."""
    meaning = param.summary + (f" ({param.unit})" if param.unit else "")
    columns = (f"`{param.name}`", value(param.default), searched(param), allowed(param), meaning, param.source)
    return "| " + " | ".join(cell(column) for column in columns) + " |"


def searched(param: Param) -> str:
    """The published search range: "0.01 to 1 (log)", or the choices, or a dash."""
    if param.search is None:
        return "-"
    if param.scale == "choice":
        return ", ".join(value(choice) for choice in param.search)
    low, high = param.search
    return f"{value(low)} to {value(high)} ({param.scale})"


def allowed(param: Param) -> str:
    """Hard limits in words."""
    if param.choices:
        return ", ".join(value(choice) for choice in param.choices)
    return "any text that is not empty" if isinstance(param.default, str) else limits(param)


def value(scalar: object) -> str:
    """A scalar as a person writes it: 1e-5, not 1e-05; words as code."""
    if isinstance(scalar, float):
        return f"{scalar:g}".replace("e-0", "e-")
    return f"`{scalar}`" if isinstance(scalar, str) else str(scalar)


def cell(text: str) -> str:
    """`text` with the table's separator escaped."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(render(), end="")
