"""Every attack the tool knows, in one table. Reading it imports no model library.

`family` groups attacks for Rob, which is a minimum over families. `cost` is in evaluations (one forward pass over the
benchmark's evaluation rows) and training steps, beyond the evaluation of each state itself.
"""

from __future__ import annotations

import difflib
import inspect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.abliterate_params import AbliterateParams
from unlearn_sweep.evaluators.attacks.attack import Attack
from unlearn_sweep.evaluators.attacks.attack_params import AttackParams, AttackWork, work_in_turn
from unlearn_sweep.evaluators.attacks.enhanced_gcg_params import EnhancedGcgParams
from unlearn_sweep.evaluators.attacks.few_shot_params import FewShotParams, InContextParams
from unlearn_sweep.evaluators.attacks.finetune_params import FinetuneParams
from unlearn_sweep.evaluators.attacks.gcg_params import GcgParams
from unlearn_sweep.evaluators.attacks.logit_lens_params import LogitLensParams
from unlearn_sweep.evaluators.attacks.paraphrase_params import ParaphraseParams
from unlearn_sweep.evaluators.attacks.prefill_params import PrefillParams
from unlearn_sweep.evaluators.attacks.prune_params import PruneParams
from unlearn_sweep.evaluators.attacks.quantize_params import QuantizeParams
from unlearn_sweep.evaluators.attacks.relearn_params import RelearnParams
from unlearn_sweep.evaluators.attacks.rwku_prompts_params import RwkuPromptsParams
from unlearn_sweep.evaluators.attacks.sample_params import SampleParams
from unlearn_sweep.evaluators.attacks.soft_prompt_params import SoftPromptParams
from unlearn_sweep.evaluators.attacks.think_params import ThinkParams
from unlearn_sweep.evaluators.cards import AttackCard
from unlearn_sweep.plugins import Catalog


class ChainParams(AttackParams):
    """Attacks one after the other, each `{name: params}`. A bare list stands for `{steps: list}`."""

    steps: list[dict[str, dict[str, Any]]] = Field(
        min_length=2, description="attacks in order, each {name: {its parameters}}"
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_list(cls, value: Any) -> Any:
        return {"steps": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _check_links(self) -> ChainParams:
        for place, step in enumerate(self.steps):
            if len(step) != 1:
                raise ValueError(f"steps[{place}] must name one attack as {{name: params}}; got {sorted(step)}")
        for name, params in self.links():
            validate(name, params)
        return self

    def links(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Name and parameters of each attack, in order."""
        return [next(iter(step.items())) for step in self.steps]

    def work(self) -> AttackWork:
        return work_in_turn([validate(name, params).work() for name, params in self.links()])

    @property
    def leaves_plain_model(self) -> bool:
        return self.plain_links() == len(self.steps)

    @property
    def strongest(self) -> float | None:
        name, params = self.links()[-1]
        return validate(name, params).strongest

    @property
    def forget_facts(self) -> int:
        return max(validate(name, params).forget_facts for name, params in self.links())

    @property
    def facts_are_judged(self) -> bool:
        return any(validate(name, params).facts_are_judged for name, params in self.links())

    def plain_links(self) -> int:
        """How many attacks at the chain's beginning leave an ordinary model, which can be kept between two runs."""
        plain = (leaves_plain_model(name, params) for name, params in self.links())
        return sum(1 for _ in itertools.takewhile(bool, plain))


CHAIN = "chain"
"""The attack that is composed of others."""

CARDS = (
    AttackCard(
        name="prefill",
        summary="gold answer tokens, or an affirmative opening, are put into the prompt; the rest is scored",
        family="prompt",
        threat="may write the beginning of the model's answer (raw prompt access)",
        params=PrefillParams,
        target="unlearn_sweep.evaluators.attacks.prefill:Prefill",
        source="Andriushchenko et al., arXiv 2404.02151",
        cost="none",
    ),
    AttackCard(
        name="few_shot",
        summary="forgotten facts of one half are answered before the question; the other half is scored",
        family="prompt",
        threat="sends prompts; knows some of the forgotten facts",
        params=FewShotParams,
        target="unlearn_sweep.evaluators.attacks.few_shot:FewShot",
        source="Lynch et al., arXiv 2402.16835",
        cost="none; prompts are longer by the demonstrations",
    ),
    AttackCard(
        name="in_context",
        summary="facts that were kept are answered before the question (in-context retain)",
        family="prompt",
        threat="sends prompts; knows some facts that were kept",
        params=InContextParams,
        target="unlearn_sweep.evaluators.attacks.few_shot:FewShot",
        source="JensUn (Singh et al., 2025): three retain pairs",
        cost="none; prompts are longer by the demonstrations",
    ),
    AttackCard(
        name="paraphrase",
        summary="the question in other words; with several wordings, the one under which the gold answer is likeliest",
        family="prompt",
        threat="sends prompts; worst case over wordings, chosen with the gold answer in hand",
        params=ParaphraseParams,
        target="unlearn_sweep.evaluators.attacks.paraphrase:Paraphrase",
        source="JensUn (Singh et al., 2025): worst case over paraphrases",
        cost="one evaluation a wording tried, none for one wording",
    ),
    AttackCard(
        name="rwku_prompts",
        summary="the question in RWKU's nine adversarial kinds: injection, role play, choices, reversal and others",
        family="prompt",
        threat="sends prompts; for background hints knows some of the forgotten facts",
        params=RwkuPromptsParams,
        target="unlearn_sweep.evaluators.attacks.rwku_prompts:RwkuPrompts",
        source="RWKU (Jin et al.), arXiv 2406.10890, level 3; wordings of this project",
        cost="none; with aggregate: worst, an evaluation of the forget rows for each kind",
    ),
    AttackCard(
        name="think",
        summary="thinking is enabled: the model writes its thoughts first, and what comes after them is scored",
        family="prompt",
        threat="sends prompts with thinking enabled; needs a chat template with an argument for it",
        params=ThinkParams,
        target="unlearn_sweep.evaluators.attacks.think:Think",
        source="R-TOFU (Yoon, Jeung and No), arXiv 2505.15214",
        cost="one generation of the longest thought for each forget row",
    ),
    AttackCard(
        name="sample",
        summary="the question is asked several times at a temperature; the answer that gives most away is scored",
        family="prompt",
        threat="sends prompts and reads several sampled answers to each; can tell the right one (leak@k)",
        params=SampleParams,
        target="unlearn_sweep.evaluators.attacks.sample:Sample",
        source="leak@k (Reisizadeh et al.), arXiv 2511.04934",
        cost="as many answers drawn for each forget row as `drawn` says",
    ),
    AttackCard(
        name="quantize",
        summary="every linear weight but the head rounded to few bits: symmetric round-to-nearest, or GPTQ",
        family="quantize",
        threat="has the weights; no training, no data (gptq: some rows that were kept)",
        params=QuantizeParams,
        target="unlearn_sweep.evaluators.attacks.quantize:Quantize",
        source="Zhang et al., arXiv 2410.16454; GPTQ: Frantar et al., arXiv 2210.17323",
        cost="none; with the original model at hand, one more load to compare codes; gptq: half an evaluation of the "
        "calibration rows for each block",
    ),
    AttackCard(
        name="relearn",
        summary="training on half of the forget facts, or on another view; facts trained on are not scored",
        family="relearn",
        threat="has the weights and some of the forgotten facts, or related text",
        params=RelearnParams,
        target="unlearn_sweep.evaluators.attacks.relearn:Relearn",
        source="Full-Stack evaluation, arXiv 2510.07626; Hu et al., arXiv 2406.13356",
        cost="a private copy; as many training steps as the last of the curve",
    ),
    AttackCard(
        name="finetune",
        summary="training on an unrelated task; its held-out loss before and after shows that the tuning took",
        family="finetune",
        threat="has the weights; uses no forgotten fact (a harmless user)",
        params=FinetuneParams,
        target="unlearn_sweep.evaluators.attacks.finetune:Finetune",
        source="Full-Stack evaluation, arXiv 2510.07626: GSM8K, 250 steps, batch 32, rate 2e-5",
        cost="a private copy; as many training steps as the last of the curve",
    ),
    AttackCard(
        name="logit_lens",
        summary="the model is cut off behind an inner layer, chosen on half of the facts, and asked for the others",
        family="internal",
        threat="has the weights and some of the forgotten facts; no training",
        params=LogitLensParams,
        target="unlearn_sweep.evaluators.attacks.logit_lens:LogitLens",
        source="Lucki et al., arXiv 2409.18025 (block outputs)",
        cost="a private copy; half an evaluation of the attacker's rows for each layer",
    ),
    AttackCard(
        name="prune",
        summary="weights that half of the forgotten answers need and retained ones do not, or small ones, are zeroed",
        family="internal",
        threat="has the weights and some of the forgotten facts (by magnitude, wanda: none of them); no training",
        params=PruneParams,
        target="unlearn_sweep.evaluators.attacks.prune:Prune",
        source="Wei et al., arXiv 2402.05162; Lucki et al., arXiv 2409.18025; Wanda: Sun et al., arXiv 2306.11695",
        cost="a private copy and two scores a weight; one backward pass a sample",
    ),
    AttackCard(
        name="abliterate",
        summary="the direction that tells forget text from its reference is taken out of the residual stream",
        family="internal",
        threat="has the weights and some of the forgotten facts; with reference original, also the original model",
        params=AbliterateParams,
        target="unlearn_sweep.evaluators.attacks.abliterate:Abliterate",
        source="Arditi et al., arXiv 2406.11717; Lucki et al., arXiv 2409.18025",
        cost="a private copy; two evaluations of the samples, in weights one more for each layer",
    ),
    AttackCard(
        name="soft_prompt",
        summary="trained embeddings before every question, trained on half of the facts; wrong answers are the control",
        family="prompt",
        threat="may feed embeddings instead of tokens and differentiate the model; knows some of the forgotten facts",
        params=SoftPromptParams,
        target="unlearn_sweep.evaluators.attacks.soft_prompt:SoftPrompt",
        source="Schwinn et al., arXiv 2402.09063; warning of Chen et al., arXiv 2502.15836",
        cost="a private copy; one training step an iteration",
    ),
    AttackCard(
        name="gcg",
        summary="one text of ordinary tokens, searched by gradient on a few judged questions, put at all others",
        family="prompt",
        threat="differentiates the model to find the text, then only sends prompts; knows some of the forgotten facts",
        params=GcgParams,
        target="unlearn_sweep.evaluators.attacks.gcg:Gcg",
        source="Zou et al., arXiv 2307.15043; nanoGCG 0.3 defaults",
        cost="the highest: search_width x prompts sequences a step",
    ),
    AttackCard(
        name="enhanced_gcg",
        summary="gcg that also brings inner states back to the original model's; tokens may be added, cut and swapped",
        family="prompt",
        threat="has the original model and differentiates both to find the text, then only sends prompts; knows some "
        "of the forgotten facts",
        params=EnhancedGcgParams,
        target="unlearn_sweep.evaluators.attacks.enhanced_gcg:EnhancedGcg",
        source="Lucki et al., arXiv 2409.18025",
        cost="the highest: twice search_width x prompts sequences a step, through both models",
    ),
    AttackCard(
        name=CHAIN,
        summary="attacks one after the other, each on the model the one before left; prompt edits compose",
        family="chain",
        threat="those of its attacks together",
        params=ChainParams,
        target="unlearn_sweep.evaluators.attacks.chain:Chain",
        source="this project",
        cost="the sum of its attacks",
    ),
)


def _undeclared(card: AttackCard) -> str | None:
    """Return what the parameters of a plugin's attack leave out; None if nothing."""
    if not issubclass(card.params, AttackParams):
        return f"the parameters of {card.name!r} must be a class derived from AttackParams or WeightsParams"
    if inspect.isabstract(card.params):
        return f"the parameters of {card.name!r} need a method work() that returns an AttackWork (docs/extend.md)"
    return None


ATTACKS = Catalog("attacks", AttackCard, CARDS, objection=_undeclared)


def card(name: str) -> AttackCard:
    """The card of an attack.

    Raises:
        ValueError: no such attack; the message lists the names and the nearest one.
    """
    if name in ATTACKS:
        return ATTACKS[name]
    near = difflib.get_close_matches(name, ATTACKS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown attack {name!r}; known: {', '.join(ATTACKS)}{hint}")


def validate(name: str, params: Mapping[str, Any] | Sequence[Any]) -> AttackParams:
    """The parameters of an attack, checked and completed with its defaults; imports no model library.

    Raises:
        ValueError: no such attack.
        pydantic.ValidationError: unknown, missing or ill-typed parameters (a ValueError too).
        TypeError: the card's class of parameters is not derived from `AttackParams`.
    """
    checked = card(name).params.model_validate(dict(params) if isinstance(params, Mapping) else params)
    if not isinstance(checked, AttackParams):
        raise TypeError(f"the parameters of {name!r} are {type(checked).__name__}, which is no AttackParams")
    return checked


def leaves_plain_model(name: str, params: Mapping[str, Any] | Sequence[Any]) -> bool:
    """Whether the attack leaves an ordinary model asked by unchanged prompts, which can be saved and loaded again."""
    return validate(name, params).leaves_plain_model


def build(name: str, params: Mapping[str, Any] | Sequence[Any]) -> Attack:
    """The attack of this name with these parameters, ready to `run`. Errors as for `validate`."""
    return card(name).load()(validate(name, params))
