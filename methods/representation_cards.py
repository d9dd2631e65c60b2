"""Cards of the methods that work on hidden states. No torch. Sources as in divergence_cards."""

from __future__ import annotations

from functools import partial

from unlearn_sweep.methods.cards import MethodCard, Param
from unlearn_sweep.methods.shared_params import compat, forget_weight, retain_weight, training, weight

_representation = partial(MethodCard, kind="method", family="representation")
_RMU = "RMU paper: zephyr-7B, layer 7 of 32, c 6.5, alpha 1200, lr 5e-5, 250 batches of 4"
_RATES = ("RMU paper: lr 5e-5; its 250 batches are one pass", 5e-5, (1e-6, 1e-3))
_RETAIN = ("embed_mse", "nll", "kl", "jsd", "none")


def layer(name: str, default: float, source: str, search: tuple[float, float] | None = (0.15, 0.6)) -> Param:
    summary = "where, as a share of the model's depth: of 32 blocks, 0.25 is the 8th"
    return Param(
        name=name, default=default, search=search, low=0, low_open=True, high=1, source=source, summary=summary
    )


def steering(name: str, default: float, search: tuple[float, float], source: str, summary: str) -> Param:
    return Param(name=name, default=default, scale="log", search=search, low=0, source=source, summary=summary)


def hidden_params(length: Param, source: str) -> tuple[Param, ...]:
    """What all steering methods share: where, how far, over which mean, which weights, what holds the rest."""
    reason, rate, rates = _RATES
    return (
        *training(rate, rates, 5, reason),
        layer("layer", 0.25, _RMU),
        length,
        Param(
            name="reduction",
            default="token_mean",
            scale="choice",
            choices=("token_mean", "sequence_mean", "mean_of_sums"),
            source="RMU released code: one mean; open-unlearning's code computes mean_of_sums, for comparison only",
            summary="mean over positions, or over sequences of their means",
        ),
        Param(
            name="trainable",
            default="down_projections",
            scale="choice",
            search=("down_projections", "up_to_layer"),
            choices=("down_projections", "up_to_layer", "all"),
            source="RMU paper: down projections of layers 5, 6, 7; open-unlearning trains all",
            summary="the weights that train: down projections of the last three blocks up to the layer, all up to the "
            "layer, or all",
        ),
        forget_weight(1.0, source),
        retain_weight(1200.0, source, (1.0, 1e4)),
        Param(
            name="retain",
            default="embed_mse",
            scale="choice",
            choices=_RETAIN,
            source=source,
            summary="retain term: the layer's states held (the forward stops there), or a term over the logits",
        ),
    )


RMU = _representation(
    name="rmu",
    summary="steers the forget states at one layer to a random direction, holds the retain states",
    paper="Li et al. 2024, WMDP, arXiv 2403.03218",
    equation="forget_weight * mean_t |h_f - steering * u|^2 / D + retain_weight * mean_t |h_r - h_ref|^2 / D",
    needs=("forget", "retain", "reference:hidden"),
    params=(
        *hidden_params(
            steering("steering", 6.5, (1.0, 500.0), _RMU, "length of the target; to be seen against the states' own"),
            _RMU,
        ),
        compat(
            "open-unlearning",
            "jensun",
            "gao",
            "wmdp",
            differs="both terms: the first three take an unshifted mask and mix sequences of unlike length, wmdp "
            "counts every place",
        ),
    ),
    target="unlearn_sweep.methods.rmu:RMU",
    cost=0.3,
)

ADAPTIVE_RMU = _representation(
    name="adaptive_rmu",
    summary="RMU whose target is a multiple of the original state's length, so that any layer works",
    paper="Huu-Tien et al. 2024, arXiv 2408.06223",
    equation="forget_weight * mean_t |h_f - scale |h_ref| u|^2 / D + retain_weight * mean_t |h_r - h_ref|^2 / D",
    needs=("forget", "retain", "reference:hidden"),
    params=hidden_params(
        steering("scale", 5.0, (1.0, 20.0), "Adaptive RMU ports: 5", "length of the target over the original state's"),
        "Adaptive RMU ports: as RMU",
    ),
    target="unlearn_sweep.methods.adaptive_rmu:AdaptiveRMU",
    cost=0.35,
)

RAD = _representation(
    name="rad",
    summary="moves the forget states along a random direction from where the original model has them",
    paper="Huu-Tien et al. 2025, arXiv 2501.19202 and its released code",
    equation="forget_weight * mean_t |h_f - (h_ref + steering * u)|^2 / D + retain_weight * mean_t |h_r - h_ref|^2 / D",
    needs=("forget", "retain", "reference:hidden"),
    params=hidden_params(
        steering("steering", 20.0, (1.0, 500.0), "released code: 20", "length of the step along the direction"),
        "released code: as RMU, alpha 1200",
    ),
    target="unlearn_sweep.methods.rad:RAD",
    cost=0.35,
)

RAB = _representation(
    name="rab",
    summary="takes out of the forget states their part along a random direction",
    paper="Huu-Tien et al. 2025, arXiv 2501.19202 and its released code",
    equation="forget_weight * mean_t |h_f - (h_ref - steering * <h_ref, u> u)|^2 / D + retain_weight * "
    "mean_t |h_r - h_ref|^2 / D",
    needs=("forget", "retain", "reference:hidden"),
    params=hidden_params(
        steering("steering", 1.0, (0.5, 50.0), "released code: the projection once", "how often the part is taken out"),
        "released code: as RMU, alpha 1200",
    ),
    target="unlearn_sweep.methods.rad:RAB",
    cost=0.35,
)

RR = _representation(
    name="rr",
    summary="circuit breakers: the forget states turn away from the original ones, the retain states stay",
    paper="Zou et al. 2024, arXiv 2406.04313",
    equation="strength * (1 - p) * mean_layers mean_t relu(cos(h_f, h_ref)) + strength * p * mean_layers mean_t "
    "|h_r - h_ref|, p = progress / 2",
    needs=("forget", "retain", "reference:hidden"),
    params=(
        *training(1e-4, (1e-5, 1e-3), 5, "RR released code: lr 1e-4 with LoRA, 150 steps"),
        weight("strength", 10.0, (1.0, 50.0), "RR released code: 10, 5 for Mistral", "common factor of both terms"),
        layer("lower_layer", 0.34, "RR released code: layer 10 of 32", None),
        layer("upper_layer", 0.66, "RR released code: layer 20 of 32", None),
    ),
    target="unlearn_sweep.methods.rr:RR",
    cost=1.33,
)
