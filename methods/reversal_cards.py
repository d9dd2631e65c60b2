"""Cards of the methods that first learn the forget rows better and then go the other way, and of UNDO. No torch.

Sources as in divergence_cards.
"""

from __future__ import annotations

from functools import partial

from unlearn_sweep.methods.cards import MethodCard, Param
from unlearn_sweep.methods.shared_params import optional_balance, training

_divergence = partial(MethodCard, kind="method", family="divergence")

TASK_VECTOR = _divergence(
    name="task_vector",
    summary="learns the forget answers better still, then steps from the start the other way",
    paper="Ilharco et al. 2022, arXiv 2212.04089",
    equation="start - strength * (trained on NLL_f - start)",
    needs=("forget",),
    params=(
        *training(1e-5, (1e-6, 1e-4), 5, "MUSE baselines: as its other methods, lr 1e-5"),
        Param(
            name="strength",
            default=1.0,
            search=(0.05, 2.0),
            low=0,
            source="Ilharco et al. tune it on held-out data",
            summary="how far the other way; 0 changes nothing",
        ),
    ),
    target="unlearn_sweep.methods.task_vector:TaskVector",
    cost=0.5,
    reverses=True,
)

WHP = _divergence(
    name="whp",
    summary="answers as if the subject were nothing special: what training on it once more would make likelier is "
    "taken off the original's logits",
    paper="Eldan and Russinovich 2023, arXiv 2310.02238",
    equation="forget_weight * NLL(first choice of z_ref - strength * relu(z_reinforced - z_ref)) + retain_weight * L_r",
    needs=("forget", "reference:logits", "teacher:reinforced"),
    params=(
        *training(1e-6, (1e-6, 1e-4), 2, "WHP paper, from memory and not re-read: lr 1e-6, 2 epochs"),
        Param(
            name="strength",
            default=5.0,
            search=(0.1, 5.0),
            low=0,
            source="WHP paper, from memory and not re-read: 5",
            summary="how much of what the reinforced model adds is taken off; 0 is the original",
        ),
        Param(
            name="labels",
            default="first_choice",
            scale="choice",
            search=("first_choice", "distribution"),
            choices=("first_choice", "distribution"),
            source="WHP paper: the first choice",
            summary="train towards the generic prediction's most likely token, or towards all of it",
        ),
        Param(
            name="reinforce_learning_rate",
            default=3e-6,
            scale="log",
            low=0,
            low_open=True,
            source="as strength: 3e-6",
            summary="learning rate of the reinforced model; it is trained once for all trials that share it",
        ),
        Param(
            name="reinforce_epochs",
            default=3,
            scale="int",
            low=1,
            source="as strength: 3",
            summary="passes of the reinforced model over the forget rows",
        ),
        *optional_balance("WHP paper: no retain term"),
    ),
    target="unlearn_sweep.methods.whp:WHP",
    cost=0.83,
)

UNDO = _divergence(
    name="undo",
    summary="behind a method (npo>undo): noises the weights of the model that it leaves, and distils that model into "
    "them, so that what was only suppressed is gone",
    paper="Lee et al. 2025, arXiv 2506.06278",
    equation="w <- (1 - alpha) w + alpha beta n once; then KL(teacher || model), the teacher before the noise",
    needs=("forget", "retain", "reference:logits", "noise"),
    params=(
        *training(2e-5, (5e-6, 1e-4), 5, "released code: 2e-5 on WMDP, up to 3000 steps on a pre-training mixture"),
        Param(
            name="alpha",
            default=0.25,
            search=(0.1, 0.8),
            low=0,
            high=1,
            source="released code: 0.25 on WMDP; the paper sweeps it from 0.1 to 0.8",
            summary="share of each weight that is lost; more is more robust and takes longer to distil",
        ),
        Param(
            name="beta",
            default=0.1,
            low=0,
            source="released code: 0.1; 0 in its first WMDP run, which shrinks the weights only",
            summary="length of the noise, in lengths of a fresh weight's",
        ),
        Param(
            name="distil_on",
            default="both",
            scale="choice",
            choices=("both", "retain"),
            source="the paper: text of both kinds",
            summary="training rows on which the teacher is imitated; retain: epochs are passes over the retain set",
        ),
    ),
    target="unlearn_sweep.methods.undo:UNDO",
    cost=1.33,
    follows=True,
)
