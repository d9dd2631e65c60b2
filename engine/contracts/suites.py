"""The named checks of one card, which `unlearn-sweep check-plugin` runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from unlearn_sweep.engine.contracts import (
    attack_checks,
    benchmark_checks,
    method_checks,
    metric_checks,
    sampler_checks,
    wrapper_checks,
)
from unlearn_sweep.engine.contracts.toy_target import toy_target
from unlearn_sweep.engine.samplers.cards import SamplerCard
from unlearn_sweep.evaluators.attacks.attack_params import WeightsParams
from unlearn_sweep.evaluators.attacks.catalog import build as build_attack
from unlearn_sweep.evaluators.cards import AttackCard, BenchmarkCard, MetricCard
from unlearn_sweep.methods.cards import MethodCard

Check = tuple[str, Callable[[], None]]
"""The requirement in words, and a function that raises if it is violated."""
SPLITS: tuple[tuple[tuple[int, int], ...], ...] = (
    ((3, 2), (4, 5), (1, 1)),
    ((0, 2), (5, 0), (2, 2), (3, 3)),
    ((1, 0), (0, 0)),
)
"""Batches for `random_step`: for each row, the supervised tokens of its first and second answer."""
CARRIER = "graddiff"
"""The method that wrappers are applied to for their checks."""


def checks_of(
    card: object, *, cases: Sequence[Mapping[str, Any]] = ({},), identity: Mapping[str, Any] | None = None
) -> Iterator[Check]:
    """Yield every check for a card's kind.

    Args:
        card: The card of a method, metric, attack, benchmark or sampler.
        cases: For attacks, benchmarks and samplers: the parameters to check with.
        identity: For attacks: the parameters of strength 0; None skips that check.
    """
    if isinstance(card, MethodCard):
        yield from _method(card) if card.kind == "method" else _wrapper(card)
    elif isinstance(card, MetricCard):
        yield from _metric(card)
    elif isinstance(card, AttackCard):
        yield from _attack(card, cases, identity)
    elif isinstance(card, BenchmarkCard):
        yield from _benchmark(card, cases)
    elif isinstance(card, SamplerCard):
        yield from _sampler(card, cases)


def _cards(card: MethodCard) -> Iterator[Check]:
    yield "class and card have the same parameters", partial(method_checks.fields_are_the_parameters, card)
    for param in card.params:
        yield (
            f"{param.name}: default, limits and range agree",
            partial(method_checks.default_and_range_are_legal, param),
        )


def _method(card: MethodCard) -> Iterator[Check]:
    name = card.name
    yield from _cards(card)
    yield "learning_rate and epochs are on the card", partial(method_checks.training_parameters_are_on_the_card, card)
    yield (
        "needs on the card are those of the class",
        partial(method_checks.needs_on_the_card_are_those_of_the_defaults, card),
    )
    yield "padding and prompts do not matter", partial(method_checks.padding_and_prompts_do_not_matter, name)
    for number, lengths in enumerate(SPLITS):
        split = partial(method_checks.totals_and_counts_add_up_over_a_split, name, number, lengths, 1)
        yield f"two micro-batches give one batch, {len(lengths)} rows", split
    for values in method_checks.variants(name):
        yield from _terms(name, values)
    yield "the gradient is that of the value", partial(method_checks.the_gradient_is_that_of_the_value, name, {})


def _terms(name: str, values: Mapping[str, Any]) -> Iterator[Check]:
    named = ", ".join(f"{key}: {value}" for key, value in values.items()) or "defaults"
    yield (
        f"declared needs are what is asked for ({named})",
        partial(method_checks.needs_are_what_is_asked_for, name, values),
    )
    zero = partial(method_checks.nothing_supervised_is_a_zero_with_a_gradient, name, values)
    yield f"no supervised token: a zero with a gradient ({named})", zero
    yield (
        f"no row: a zero with a gradient ({named})",
        partial(method_checks.a_rank_without_rows_gives_a_zero, name, values),
    )


def _wrapper(card: MethodCard) -> Iterator[Check]:
    name = f"{CARRIER}+{card.name}"
    yield from _cards(card)
    yield (
        f"two micro-batches give one batch ({name})",
        partial(method_checks.totals_and_counts_add_up_over_a_split, name, 0, SPLITS[0], 1),
    )
    yield from _terms(name, {})
    yield f"reshaping keeps the shapes of the gradients ({name})", partial(wrapper_checks.reshaping_keeps_shapes, name)
    parts = partial(wrapper_checks.parts_are_reshaped_as_the_whole, name)
    yield f"parts of gradients are reshaped as whole ones ({name})", parts


def _metric(card: MetricCard) -> Iterator[Check]:
    target = toy_target
    yield "the card says all there is to know", lambda: metric_checks.the_card_says_all_there_is(card)
    yield "values are in the card's range", lambda: metric_checks.values_are_in_range(card, target())
    yield (
        "nothing measured has no value (NaN)",
        lambda: metric_checks.what_was_not_measured_has_no_value(card, target()),
    )
    yield "forgetting moves it as declared", lambda: metric_checks.forgetting_moves_it_the_declared_way(card, target())


def _attack(
    card: AttackCard, cases: Sequence[Mapping[str, Any]], identity: Mapping[str, Any] | None
) -> Iterator[Check]:
    for case in cases:
        named = ", ".join(f"{key}: {value}" for key, value in case.items()) or "defaults"
        private = isinstance(card.params.model_validate(dict(case)), WeightsParams)
        make = partial(build_attack, card.name, dict(case))
        yield f"strengths grow ({named})", lambda make=make: attack_checks.strengths_grow(toy_target(), make)
        yield (
            f"model and random states are left as found ({named})",
            lambda make=make: attack_checks.everything_is_left_as_found(toy_target(), make),
        )
        yield (
            f"it may be closed early ({named})",
            lambda make=make: attack_checks.closing_early_leaves_everything_as_found(toy_target(), make),
        )
        yield (
            f"one seed gives one result ({named})",
            lambda make=make: attack_checks.the_same_seed_gives_the_same_states(toy_target(), make),
        )
        yield (
            f"the last state stays valid ({named})",
            lambda make=make, private=private: attack_checks.the_last_state_outlives_the_attack(
                toy_target(), make, private=private
            ),
        )
        yield (
            f"works under no_grad and inference_mode ({named})",
            lambda make=make: attack_checks.works_under_no_grad_and_inference_mode(toy_target(), make),
        )
    if identity is not None:
        none = partial(build_attack, card.name, dict(identity))
        yield (
            "strength 0 changes no metric of any row",
            lambda: attack_checks.no_strength_changes_no_metric_of_any_row(toy_target(), none),
        )


def _benchmark(card: BenchmarkCard, cases: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    for case in cases:
        named = ", ".join(f"{key}: {value}" for key, value in case.items()) or "defaults"
        yield f"views, splits and rows ({named})", partial(benchmark_checks.rows_are_sound, card, case)
        yield f"loaded twice, it is the same ({named})", partial(benchmark_checks.two_loads_are_equal, card, case)
        yield (
            f"its metrics have values for its rows ({named})",
            partial(benchmark_checks.metrics_fit_the_rows, card, case),
        )


SAMPLER_CHECKS: Mapping[str, Callable[[SamplerCard, Mapping[str, Any]], None]] = {
    "its options are a model, and it has a point": sampler_checks.options_are_complete,
    "proposals are new and inside the space": sampler_checks.proposals_are_inside_the_space,
    "a method without ranges is proposed once": sampler_checks.a_method_without_parameters_is_proposed_once,
    "one seed gives one search": sampler_checks.one_seed_gives_one_search,
    "random states are left as found": sampler_checks.random_states_are_left_as_found,
    "failed and collapsed trials are no obstacle": sampler_checks.it_takes_failed_and_collapsed_trials,
    "it continues from the journal as if never stopped": sampler_checks.it_goes_on_from_the_journal,
    "it continues from the records alone": sampler_checks.it_goes_on_from_the_records,
}


def _sampler(card: SamplerCard, cases: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    for case in cases:
        named = ", ".join(f"{key}: {value}" for key, value in case.items()) or "defaults"
        for words, check in SAMPLER_CHECKS.items():
            yield f"{words} ({named})", partial(check, card, case)
