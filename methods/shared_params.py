"""Parameters that many methods share: the same name, limits and meaning on every card. No torch import."""

from __future__ import annotations

from unlearn_sweep.methods.cards import Param, Scalar

RETAIN_TERMS = ("nll", "kl", "jsd", "embed_mse", "hidden_l2", "ap", "none")
"""Spelled out here too, since this file loads no torch; a test keeps both lists equal."""

TRAINING_PARAMS = frozenset({"learning_rate", "epochs"})
"""Parameters on a card that the training loop reads; no method's class has them."""

COMPAT = "compat"
"""The parameter that puts `methods.as_published` around a method; no method's class has it."""

KL_DIFFERS = (
    "with retain kl, open-unlearning counts prompt and padding too, gao divides by the vocabulary's size besides"
)

OUTSIDE_THE_LOSS = TRAINING_PARAMS | {COMPAT}
"""Parameters on a card that no method's class has."""


HIGHEST_RATE = 1.0
"""AdamW moves each weight by about the rate a step: above 1 nothing of a model is left, and a factor was mistyped."""


def learning_rate(default: float, search: tuple[float, float], source: str) -> Param:
    summary = "peak learning rate of AdamW, for full fine-tuning; LoRA wants about ten times more"
    return Param(
        name="learning_rate",
        default=default,
        scale="log",
        search=search,
        low=0,
        low_open=True,
        high=HIGHEST_RATE,
        source=source,
        summary=summary,
    )


def epochs(default: int, search: tuple[int, int], source: str) -> Param:
    summary = "passes over the forget set"
    return Param(name="epochs", default=default, scale="int", search=search, low=1, source=source, summary=summary)


def training(rate: float, rate_search: tuple[float, float], passes: int, source: str) -> tuple[Param, Param]:
    """Learning rate and epochs with their published values."""
    return learning_rate(rate, rate_search, source), epochs(passes, (1, 10), source)


def beta(default: float, search: tuple[float, float] | None, source: str, summary: str) -> Param:
    return Param(
        name="beta", default=default, scale="log", search=search, low=0, low_open=True, source=source, summary=summary
    )


def weight(name: str, default: float, search: tuple[float, float] | None, source: str, summary: str) -> Param:
    return Param(name=name, default=default, scale="log", search=search, low=0, source=source, summary=summary)


def forget_weight(default: float, source: str, search: tuple[float, float] | None = None) -> Param:
    """Kept at its default unless a paper tunes it: under AdamW only its ratio to the retain weight matters."""
    summary = "factor of the forget term; under AdamW only its ratio to retain_weight matters"
    return weight("forget_weight", default, search, source, summary)


def retain_weight(default: float, source: str, search: tuple[float, float] | None = (0.1, 10.0)) -> Param:
    return weight("retain_weight", default, search, source, "factor of the retain term; 0 does not read the retain set")


def retain(default: str, search: tuple[Scalar, ...] | None, source: str) -> Param:
    return Param(
        name="retain",
        default=default,
        scale="choice",
        search=search,
        choices=RETAIN_TERMS,
        source=source,
        summary="retain term: NLL of the answers; KL, JSD or hidden-state distance (embed_mse, hidden_l2) to the "
        "original model, which keeps that model loaded; or answer preservation (ap)",
    )


def balance(source: str, *, retained: str = "nll", search: tuple[Scalar, ...] = ("nll", "kl")) -> tuple[Param, ...]:
    """Forget weight 1, retain weight 1 and a retain term: what most methods publish."""
    return (forget_weight(1.0, source), retain_weight(1.0, source), retain(retained, search, source))


def optional_balance(source: str) -> tuple[Param, ...]:
    """The same for a method published without a retain term; the weight waits until one is chosen."""
    return (forget_weight(1.0, source), retain_weight(1.0, source, None), retain("none", ("none", "nll"), source))


def reduction(default: str, source: str) -> Param:
    return Param(
        name="reduction",
        default=default,
        scale="choice",
        choices=("sequence_sum", "sequence_mean", "token_mean_batch"),
        source=source,
        summary="what the sigmoid sees: an answer's summed or mean NLL, or the batch's mean (it depends on its split)",
    )


def compat(*projects: str, differs: str = "") -> Param:
    """Whose released code to follow; `differs` says what is otherwise there beyond the mean over micro-batches."""
    return Param(
        name=COMPAT,
        default="none",
        scale="choice",
        choices=("none", *projects),
        source="the projects' released code, see methods/as_published.py",
        summary="compute the loss as this project's code does, means over micro-batches included"
        + (f"; {differs}" if differs else ""),
    )
