"""Cards of the methods that teach the forget questions another answer. No torch. Sources as in divergence_cards."""

from __future__ import annotations

from functools import partial

from unlearn_sweep.methods.cards import MethodCard, Param
from unlearn_sweep.methods.shared_params import (
    KL_DIFFERS,
    balance,
    beta,
    compat,
    forget_weight,
    reduction,
    retain_weight,
    training,
    weight,
)

_rejection = partial(MethodCard, kind="method", family="rejection")

IDK = _rejection(
    name="idk",
    summary="answers the forget questions with refusals",
    paper="Maini et al. 2024, TOFU, arXiv 2401.06121",
    equation="forget_weight * NLL(refusal) + retain_weight * L_r",
    needs=("forget_idk", "retain"),
    params=(
        *training(1e-5, (1e-6, 1e-4), 5, "TOFU paper: lr 1e-5, 5 epochs; RWKU 4e-7"),
        *balance("TOFU paper: refusals and retain answers together, NLL"),
    ),
    target="unlearn_sweep.methods.idk:IDK",
    cost=1.0,
)

IDK_AP = _rejection(
    name="idk_ap",
    summary="refusals on the forget questions; on the retain questions the answer is preferred to a refusal",
    paper="Yuan et al. 2024, arXiv 2410.08109",
    equation="forget_weight * NLL(refusal) + retain_weight * mean_b -(1/beta) log sigmoid(beta (S_refusal - S_answer))",
    needs=("forget_idk", "retain", "retain_idk"),
    params=(
        *training(1e-5, (1e-6, 1e-4), 5, "IDK+AP released TOFU recipe: lr 1e-5, 5 epochs"),
        beta(
            0.1,
            (0.01, 1.0),
            "IDK+AP paper 0.1; Full-Stack searches [0.01, 0.1]",
            "inverse temperature of the preference",
        ),
        reduction("sequence_sum", "IDK+AP paper"),
        forget_weight(1.0, "IDK+AP released TOFU recipe"),
        retain_weight(1.0, "IDK+AP released TOFU recipe"),
    ),
    target="unlearn_sweep.methods.idk_ap:IDKAP",
    cost=1.5,
)

DPO = _rejection(
    name="dpo",
    summary="prefers a refusal to the answer that should be forgotten",
    paper="Rafailov et al. 2023, arXiv 2305.18290; Maini et al. 2024, TOFU, arXiv 2401.06121",
    equation="forget_weight * mean_b -(2/beta) log sigmoid(beta (S_l - S_l_ref - S_w + S_w_ref)) + retain_weight * L_r",
    needs=("forget_idk", "forget", "retain", "reference:sequence_nll"),
    params=(
        *training(1e-5, (1e-6, 1e-4), 10, "open-unlearning base trainer: lr 1e-5, 10 epochs; RWKU 5e-6"),
        beta(
            0.1,
            (0.01, 1.0),
            "open-unlearning 0.1; Full-Stack searches [0.01, 0.1]",
            "inverse temperature of the likelihood ratio",
        ),
        reduction("sequence_sum", "DPO paper; open-unlearning"),
        *balance("open-unlearning DPO: both 1, NLL"),
        compat("open-unlearning", "gao", differs=KL_DIFFERS),
    ),
    target="unlearn_sweep.methods.dpo:DPO",
    cost=1.5,
)

ALTPO = _rejection(
    name="altpo",
    summary="prefers a plausible wrong answer (the row's perturbed answers; in the paper the model writes them) to the "
    "answer that should be forgotten",
    paper="Mekala et al. 2024, arXiv 2409.13474",
    equation="forget_weight * mean_b -(2/beta) log sigmoid(beta (S_l - S_l_ref - S_w + S_w_ref)) + retain_weight * L_r",
    needs=("forget_alternate", "forget", "retain", "reference:sequence_nll"),
    params=(
        *training(1e-5, (1e-6, 1e-4), 10, "AltPO paper: lr 1e-5, 2e-5, 5e-5; epochs as for DPO"),
        beta(0.1, (0.01, 1.0), "AltPO paper: 0.05, 0.1, 0.5", "inverse temperature of the likelihood ratio"),
        reduction("sequence_sum", "AltPO paper"),
        *balance("AltPO paper: retain weight 1, 2, 5, NLL"),
        compat("open-unlearning", differs=KL_DIFFERS),
    ),
    target="unlearn_sweep.methods.altpo:AltPO",
    cost=1.5,
)

RE_LEARN = _rejection(
    name="re_learn",
    summary="learns written vague answers to the forget questions, and holds the retain answers",
    paper="Xu et al. 2025, ReLearn, arXiv 2502.11190",
    equation="forget_weight * NLL(vague answers) + retain_weight * NLL_r + kl_weight * KL_r(original || model)",
    needs=("forget_vague", "retain", "reference:logits"),
    params=(
        *training(1e-5, (1e-6, 1e-4), 2, "released code: 1e-4 with LoRA, 2 epochs on TOFU"),
        Param(
            name="answers",
            default="written",
            scale="choice",
            choices=("written", "refusals"),
            source="paper: written by a language model",
            summary="written: the texts of view vague_answer; refusals: fixed ones, without a view",
        ),
        forget_weight(1.0, "released code, relearn_klr_gdr"),
        retain_weight(1.0, "released code, relearn_klr_gdr"),
        weight("kl_weight", 1.0, None, "released code, relearn_klr_gdr", "factor of the KL; 0 loads no original model"),
    ),
    target="unlearn_sweep.methods.re_learn:ReLearn",
    cost=1.17,
)

ELM = _rejection(
    name="elm",
    summary="answers as the original model would under a prompt that makes it a novice of the subject",
    paper="Gandikota et al. 2024, arXiv 2410.02760",
    equation="forget_weight * CE(top_k(p * (p_novice / p_expert)^eta_t), model) + retain_weight * "
    "NLL_r(original's first choice) + fluency_weight * NLL(text on another subject)",
    needs=("forget", "retain", "forget_continuation", "reference:logits"),
    params=(
        *training(5e-5, (1e-6, 1e-3), 3, "ELM released code: lr 5e-5 with LoRA rank 8, 3000 samples"),
        Param(
            name="eta",
            default=1000.0,
            scale="log",
            search=(10.0, 1e4),
            low=0,
            source="ELM released code: 1000",
            summary="weight of novice against expert at the end of an answer; it starts at 1",
        ),
        Param(
            name="temperature",
            default=1.2,
            low=0,
            low_open=True,
            source="ELM released code: 1.2",
            summary="divides the original model's logits",
        ),
        Param(
            name="top_k",
            default=50,
            scale="log_int",
            low=1,
            source="ELM released code: 50",
            summary="tokens that the target keeps; the vocabulary's size or more keeps all",
        ),
        Param(
            name="expert_prompt",
            default="You are an expert on this subject and answer exactly. ",
            scale="choice",
            source="in the spirit of the released templates, which name the concept's keywords: name yours",
            summary="stands before the question",
        ),
        Param(
            name="novice_prompt",
            default="You know nothing about this subject. ",
            scale="choice",
            source="as expert_prompt",
            summary="stands before the question",
        ),
        forget_weight(1.0, "ELM released code"),
        retain_weight(1.0, "ELM released code"),
        weight("fluency_weight", 1.0, None, "ELM released code: 1", "factor of the term that keeps answers fluent"),
        Param(
            name="fluency",
            default="continuation",
            scale="choice",
            choices=("continuation", "refusal"),
            source="ELM paper: continuations, there sampled",
            summary="what keeps answers fluent: the original's own text behind subject_change, or a refusal",
        ),
        Param(
            name="subject_change",
            default=" Let us talk about something else.",
            scale="choice",
            source="in the spirit of the released templates",
            summary="stands behind the question where the original goes on by itself",
        ),
    ),
    target="unlearn_sweep.methods.elm:ELM",
    cost=2.2,
)
