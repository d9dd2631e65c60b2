"""Cards of the methods that push the forget answers' likelihood away. No torch import.

"open-unlearning" in a source is the repository locuslab/open-unlearning, "RWKU" its LLaMA-Factory fork, "Full-Stack"
arXiv 2510.07626. A search range that no source states is this project's proposal around the published value.
"""

from __future__ import annotations

from functools import partial

from unlearn_sweep.methods.cards import MethodCard, Param
from unlearn_sweep.methods.shared_params import (
    KL_DIFFERS,
    balance,
    beta,
    compat,
    forget_weight,
    optional_balance,
    reduction,
    retain,
    retain_weight,
    training,
    weight,
)

_BASE = "open-unlearning base trainer: lr 1e-5, 10 epochs"
_divergence = partial(MethodCard, kind="method", family="divergence")

GRAD_ASCENT = _divergence(
    name="grad_ascent",
    summary="gradient ascent on the forget answers; nothing holds the rest, and the loss has no bound",
    paper="Thudi et al. 2022, arXiv 2109.13398; Jang et al. 2022, arXiv 2210.01504",
    equation="-NLL_f",
    needs=("forget",),
    params=(*training(1e-5, (1e-8, 1e-5), 10, f"{_BASE}; RWKU 6e-8"), compat("open-unlearning", "jensun", "gao")),
    target="unlearn_sweep.methods.grad_ascent:GradAscent",
    cost=0.5,
)

GRADDIFF = _divergence(
    name="graddiff",
    summary="gradient ascent on the forget answers, descent on the retain answers",
    paper="Liu et al. 2022, arXiv 2203.12817; Yao et al. 2023, arXiv 2310.10683",
    equation="-forget_weight * NLL_f + retain_weight * L_r",
    needs=("forget", "retain"),
    params=(
        *training(1e-5, (1e-6, 1e-4), 10, _BASE),
        *balance("open-unlearning GradDiff: both 1, NLL; Full-Stack searches the retain weight in [1, 5]"),
        compat("open-unlearning", "jensun", "gao", differs=KL_DIFFERS),
    ),
    target="unlearn_sweep.methods.graddiff:GradDiff",
    cost=1.0,
)

KL_MIN = _divergence(
    name="kl_min",
    summary="gradient ascent on the forget answers, KL to the original model on the retain answers",
    paper="Maini et al. 2024, TOFU, arXiv 2401.06121",
    equation="-forget_weight * NLL_f + retain_weight * KL_r(original || model)",
    needs=("forget", "retain", "reference:logits"),
    params=(
        *training(1e-5, (1e-6, 1e-4), 5, "TOFU paper: lr 1e-5, 5 epochs"),
        forget_weight(1.0, "TOFU paper"),
        retain_weight(1.0, "TOFU paper"),
        compat("open-unlearning", "gao", differs=KL_DIFFERS),
    ),
    target="unlearn_sweep.methods.kl_min:KLMin",
    cost=1.17,
)

NPO = _divergence(
    name="npo",
    summary="negative preference optimisation: ascent that fades as an answer becomes less likely than it was",
    paper="Zhang et al. 2024, arXiv 2404.05868",
    equation="forget_weight * mean_b -(2/beta) log sigmoid(beta (S_b - S_b_ref)) + retain_weight * L_r",
    needs=("forget", "retain", "reference:sequence_nll"),
    params=(
        *training(1e-5, (1e-6, 1e-4), 10, f"{_BASE}; RWKU 2e-6"),
        beta(
            0.1,
            (0.01, 1.0),
            "open-unlearning 0.1, RWKU 0.2; Full-Stack searches [0.01, 0.1]",
            "inverse temperature of the likelihood ratio; towards 0 it becomes gradient ascent",
        ),
        reduction("sequence_sum", "NPO paper; open-unlearning"),
        *balance("open-unlearning NPO: both 1, NLL; Full-Stack searches the retain weight in [1, 5]"),
        compat(
            "open-unlearning",
            "jensun",
            "gao",
            "unlearn-smooth",
            "unlearn-smooth-muse",
            differs="gao and unlearn-smooth put one sigmoid around the batch's mean, unlearn-smooth-muse takes "
            f"differences of raw logits; {KL_DIFFERS}",
        ),
    ),
    target="unlearn_sweep.methods.npo:NPO",
    cost=1.0,
)

SIMNPO = _divergence(
    name="simnpo",
    summary="NPO without a reference model, on the mean over an answer's tokens",
    paper="Fan et al. 2024, arXiv 2410.07163",
    equation="forget_weight * mean_b -(2/beta) log sigmoid(beta (S_b/n_b - delta)) + retain_weight * L_r",
    needs=("forget", "retain"),
    params=(
        *training(1e-5, (1e-6, 1e-4), 10, _BASE),
        beta(
            4.5,
            (0.05, 10.0),
            "open-unlearning 4.5; the authors' TOFU code 2.5, their WMDP code 0.1",
            "inverse temperature of the mean NLL",
        ),
        Param(
            name="delta",
            default=0.0,
            search=(0.0, 2.0),
            low=0,
            unit="nats per token",
            source="open-unlearning; a model card that writes beta * nll - gamma means delta = gamma / beta",
            summary="mean NLL at which the sigmoid is one half",
        ),
        reduction("sequence_mean", "SimNPO paper; open-unlearning"),
        forget_weight(0.125, "open-unlearning 0.125; the authors' TOFU code 0.1375", (0.03, 2.0)),
        retain_weight(1.0, "open-unlearning; held while the forget weight is searched", None),
        retain("nll", ("nll", "kl"), "open-unlearning"),
        compat(
            "open-unlearning",
            "jensun",
            "gao",
            differs=f"open-unlearning counts one label too many where a sequence has no prompt; {KL_DIFFERS}",
        ),
    ),
    target="unlearn_sweep.methods.simnpo:SimNPO",
    cost=1.0,
)

WGA = _divergence(
    name="wga",
    summary="gradient ascent in which each token weighs its own probability to the power beta",
    paper="Wang et al. 2025, arXiv 2502.19301",
    equation="forget_weight * mean_t -p^beta NLL (weight held constant) + retain_weight * L_r",
    needs=("forget", "retain"),
    params=(
        *training(1e-5, (1e-6, 1e-4), 5, "open-unlearning WGA: lr 1e-5, 5 epochs"),
        Param(
            name="beta",
            default=1.0,
            scale="log",
            search=(0.1, 10.0),
            low=0,
            source="open-unlearning WGA",
            summary="power of the token's probability; 0 is gradient ascent",
        ),
        *balance("open-unlearning WGA: both 1, NLL"),
        compat("open-unlearning", differs=KL_DIFFERS),
    ),
    target="unlearn_sweep.methods.wga:WGA",
    cost=1.0,
)

SATIMP = _divergence(
    name="satimp",
    summary="gradient ascent weighted by a token's saturation and importance, p^beta1 (1 - p)^beta2",
    paper="Yang et al. 2025, arXiv 2505.11953",
    equation="forget_weight * mean_t -p^beta1 (1-p)^beta2 NLL (weight held constant) + retain_weight * L_r",
    needs=("forget", "retain"),
    params=(
        *training(1e-5, (1e-6, 1e-4), 5, "SatImp paper: lr 1e-5 (Llama-2-7B), 2e-5 (Phi-1.5); epochs by this project"),
        Param(name="beta1", default=5.0, search=(0.0, 8.0), low=0, source="SatImp paper", summary="power of p"),
        Param(name="beta2", default=1.0, search=(0.0, 8.0), low=0, source="SatImp paper", summary="power of 1 - p"),
        forget_weight(1.0, "open-unlearning SatImp class; its configuration file says 0.1"),
        retain_weight(0.1, "open-unlearning SatImp class; its configuration file says 1.0", (0.01, 10.0)),
        retain("nll", ("nll", "kl"), "open-unlearning SatImp"),
        compat("open-unlearning", differs=KL_DIFFERS),
    ),
    target="unlearn_sweep.methods.satimp:SatImp",
    cost=1.0,
)

CEU = _divergence(
    name="ceu",
    summary="cross-entropy to the model's own distribution with the true token taken out",
    paper="Yang 2025, arXiv 2503.01224",
    equation="forget_weight * mean_t CE(softmax(z, z_y = -inf), p) + retain_weight * L_r",
    needs=("forget",),
    params=(
        *training(1e-5, (1e-6, 1e-4), 10, _BASE),
        Param(
            name="skip_tokens",
            default=1,
            scale="int",
            low=0,
            unit="tokens",
            source="CE-U paper, training settings",
            summary="first tokens of each answer left out",
        ),
        *optional_balance("CE-U paper: no retain term"),
        compat("open-unlearning"),
    ),
    target="unlearn_sweep.methods.ceu:CEU",
    cost=0.5,
)

UNDIAL = _divergence(
    name="undial",
    summary="self-distillation towards the original model with the true token's logit lowered by beta",
    paper="Dong et al. 2024, arXiv 2402.10052",
    equation="forget_weight * mean_t CE(softmax(z_ref - beta onehot(y)), p) + retain_weight * L_r",
    needs=("forget", "reference:logits"),
    params=(
        *training(1e-4, (1e-6, 3e-4), 10, "UNDIAL paper: lr 1e-4 with LoRA r=8, 10 epochs; lower it without LoRA"),
        Param(
            name="beta",
            default=10.0,
            scale="log",
            search=(1.0, 50.0),
            low=0,
            source="UNDIAL paper: 10, searched over 3, 10, 30",
            summary="how far the true token's logit is lowered; 0 is self-distillation",
        ),
        *optional_balance("UNDIAL paper: retain weight 0"),
        compat(
            "open-unlearning",
            "gao",
            differs="prompt and padding count, and the logit of entry V - 100 is lowered at those places",
        ),
    ),
    target="unlearn_sweep.methods.undial:UNDIAL",
    cost=0.67,
)

_TARGET = Param(
    name="target",
    default="No idea",
    scale="choice",
    search=("No idea", " No idea", "#", ",", " "),
    source="JensUn paper; tokenised by the run's own tokenizer, a leading space is part of the text",
    summary="text whose tokens the forget answers should become",
)

JENSUN = _divergence(
    name="jensun",
    summary="Jensen-Shannon divergence: to a target text on the forget answers, to the original model on the rest",
    paper="Singh et al. 2025, arXiv 2509.02820",
    equation="forget_weight * mean_t JSD(p, onehot(target)) + retain_weight * L_r",
    needs=("forget", "retain", "reference:logits"),
    params=(
        *training(8e-6, (1e-6, 5e-5), 10, "JensUn released recipe: lr 8e-6, 10 epochs (Llama-3.2-3B-Instruct)"),
        _TARGET,
        *balance("JensUn released recipe: both 1, JSD", retained="jsd", search=("jsd", "nll")),
        compat("jensun", differs="probabilities are clamped at 1e-9, so a less likely target is not learnt"),
    ),
    target="unlearn_sweep.methods.jensun:JensUn",
    cost=1.17,
)

JENSUN_KL = _divergence(
    name="jensun_kl",
    summary="JensUn's ablation: cross-entropy to the target text, whose gradient does not vanish",
    paper="Singh et al. 2025, arXiv 2509.02820",
    equation="forget_weight * mean_t -log p(target) + retain_weight * L_r",
    needs=("forget", "retain", "reference:logits"),
    params=(
        *training(8e-6, (1e-6, 5e-5), 10, "JensUn released recipe: lr 8e-6, 10 epochs (Llama-3.2-3B-Instruct)"),
        _TARGET,
        *balance("JensUn released recipe: both 1, KL", retained="kl", search=("kl", "nll")),
        compat("jensun", differs="the probabilities of target and model are clamped at 1e-9"),
    ),
    target="unlearn_sweep.methods.jensun_kl:JensUnKL",
    cost=1.17,
)

PDU = _divergence(
    name="pdu",
    summary="flattens the logits on the forget answers while a dual variable holds the retain loss under a limit",
    paper="Entesari et al. 2025, arXiv 2506.05314",
    equation="forget_weight * mean_t (max z - mean z)^2 + d * NLL_r; d <- max(0, d + dual_step_size * (NLL_r - limit))",
    needs=("forget", "retain", "state"),
    params=(
        *training(1e-5, (1e-6, 1e-4), 10, "PDU released TOFU recipe: lr 1e-5; epochs from the base trainer"),
        forget_weight(1.0, "PDU released TOFU recipe"),
        Param(
            name="retain_limit",
            default=0.3,
            scale="log",
            search=(0.05, 2.0),
            low=0,
            low_open=True,
            unit="nats per token",
            source="PDU released TOFU recipe; take 1.05 to 1.5 times the original model's retain loss",
            summary="retain loss above which the dual variable grows",
        ),
        weight("dual_start", 100.0, (1.0, 200.0), "PDU released TOFU recipe: 50 to 100", "retain weight at the start"),
        weight(
            "dual_step_size",
            5.0,
            (0.1, 10.0),
            "PDU released TOFU recipe 5; its class default 1",
            "change of the retain weight in one optimizer step per nat over the limit",
        ),
        Param(
            name="dual_warmup",
            default=0.5,
            low=0,
            high=1,
            unit="fraction of training",
            source="PDU released TOFU recipe: 5 epochs, here of 10",
            summary="part of training in which the dual variable stays at its start",
        ),
        compat("open-unlearning", differs="the mask is not shifted against the logits"),
    ),
    target="unlearn_sweep.methods.pdu:PDU",
    cost=1.0,
)

ME = _divergence(
    name="me",
    summary="makes the next token of a forget answer uniform (ME+GD)",
    paper="Yuan et al. 2024, arXiv 2410.08109",
    equation="forget_weight * mean_t KL(uniform || p) + retain_weight * L_r, or the negative entropy for KL",
    needs=("forget", "retain"),
    params=(
        *training(1e-5, (1e-6, 1e-4), 5, "ME+GD released TOFU recipe: lr 1e-5, 5 epochs"),
        Param(
            name="measure",
            default="kl",
            scale="choice",
            choices=("kl", "entropy"),
            source="ME+GD: kl; TAR's tamper-resistance objective: entropy",
            summary="KL(uniform || p), or the negative entropy of p",
        ),
        forget_weight(0.1, "ME+GD released TOFU recipe (there over question tokens too)", (0.01, 10.0)),
        retain_weight(1.0, "ME+GD released TOFU recipe; held while the forget weight is searched", None),
        retain("nll", ("nll", "kl"), "ME+GD uses NLL"),
        compat("tar", differs="the negative entropy, with prompt and padding counted"),
    ),
    target="unlearn_sweep.methods.me:ME",
    cost=1.0,
)

LOG1MP = _divergence(
    name="log1mp",
    summary="the log(1 - p) away loss: bounded below, flat once a token is unlikely",
    paper="Mazeika et al. 2024, HarmBench, arXiv 2402.04249",
    equation="forget_weight * mean_t -log(1 - p) + retain_weight * L_r",
    needs=("forget", "retain"),
    params=(
        *training(1e-5, (1e-6, 1e-4), 10, "open-unlearning base trainer's values, by this project"),
        *balance("this project: both 1, NLL"),
    ),
    target="unlearn_sweep.methods.log1mp:Log1mP",
    cost=1.0,
)
