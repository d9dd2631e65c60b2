"""What the work of each kind of stage returns: the numbers of its `stage.json`, some of them in the trial's record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from unlearn_sweep.engine.store.sealed import Record


class StartOutcome(Record):
    """Outcome of creating a start model: the model folder, and no numbers."""


class ProbePoint(Record):
    """A look at the model during a training, by forward passes over a few rows.

    Attributes:
        share: Share of the training's steps; 0 is the model before the first step.
        step: Steps taken.
        forget: Mean probability of the forget rows' answers (metric `probability`), in [0, 1]; None if not finite.
        retain: The same of the retain rows.
        seconds: Duration of the probe.
        rows: Rows of each split that were read, at most.
    """

    share: float
    step: int
    forget: float | None
    retain: float | None
    seconds: float
    rows: int


class TrainOutcome(Record):
    """The result of a training. Loss values are means over the global batch, equal on every rank; None if not finite.

    Attributes:
        steps: Optimizer steps taken.
        planned_steps: Optimizer steps planned.
        resumed_at_step: Step at which an interrupted training resumed; 0 if it ran without interruption.
        epochs: Passes over the anchor view.
        seconds: Duration of all steps, including those before a resume, without probes.
        reference_seconds: Time spent on the frozen start model before the first step.
        tokens: Tokens fed through the trained model over all ranks, including prompts, excluding padding.
        terms: Last recorded value of each of the method's terms. "forget_cross_entropy" or "train_cross_entropy", in
            nats per token, is added if the method reads that view.
        curve: At most 200 points {"step": ..., term name: value, ...}.
        stopped_early: "diverged" or "beaten" if the training stopped early, else None. A beaten one leaves no weights.
        stop_reason: Why it stopped early, in words; None if it did not.
        weights_finite: Whether all trained weights are finite; None if none were written.
        relative_change: L2 norm of the weight change over that of the start weights. None if nothing could be compared,
            and on every rank except 0.
        parameters: Number of parameters of the model.
        peak_memory_mib: Allocator peak on a GPU; on a CPU, the highest resident size seen during the steps. In MiB.
        world_size: Number of ranks.
        backend: "torch", or "deepspeed ZeRO-" and the stage.
        dtype: Number format of the saved model.
        global_batch_rows: Rows of the anchor view in a full step.
        micro_batch_rows: Rows of a view that a rank held in one pass at the end: the setting, or fewer where memory
            gave out. None: its whole share of a step.
        mean_answer_tokens: Mean supervised tokens per row of the anchor view.
        conventions: What the values mean: "normalise", "epoch", and for each term what it is a mean of.
        probes: Looks at the model on the way (`search.stop_trainings`); empty if there were none.
    """

    steps: int
    planned_steps: int
    resumed_at_step: int = 0
    epochs: float
    seconds: float
    reference_seconds: float
    tokens: int
    terms: dict[str, float | None]
    curve: list[dict[str, float | None]]
    stopped_early: Literal["diverged", "beaten"] | None
    stop_reason: str | None
    weights_finite: bool | None
    relative_change: float | None = None
    parameters: int
    peak_memory_mib: float
    world_size: int
    backend: str
    dtype: str
    global_batch_rows: int
    micro_batch_rows: int | None = None
    mean_answer_tokens: float
    conventions: dict[str, str]
    probes: list[ProbePoint] = Field(default_factory=list)


class PeakMemory(Record):
    """Peak memory in MiB.

    Attributes:
        host: resident memory of the measuring process and its workers together. None if the system does not report it.
        accelerator: device memory reserved by torch's allocator. None if CUDA is not in use.
        accelerator_total: total memory of the device. None if CUDA is not in use.
    """

    host: float | None = None
    accelerator: float | None = None
    accelerator_total: float | None = None


class JudgeCost(Record):
    """Cost of one external judge in one stage.

    Attributes:
        rows: answers that were put to the judge.
        calls: requests to an endpoint.
        cached: questions answered before.
        empty: answers that need no judge.
        failed: answers without a verdict.
        prompt_tokens: tokens read by an endpoint.
        completion_tokens: tokens written by an endpoint.
        dollars: price of the calls; None if no prices are set.
        reasons: number of failures by reason.
    """

    rows: int = 0
    calls: int = 0
    cached: int = 0
    empty: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float | None = None
    reasons: dict[str, int] = Field(default_factory=dict)


JudgeCosts = Mapping[str, JudgeCost]
"""Cost by judge: "judge", "comparison", "entailment" or "gibberish". Empty if none was asked."""


class ThoughtCounts(Record):
    """Thoughts of the rows of one split.

    Attributes:
        rows: rows that were asked to think.
        with_thought: rows with a thought.
        cut_off: rows whose thought was not closed within the budget.
        with_answer: rows whose thought contains the whole reference answer.
        tokens: tokens of all thoughts.
    """

    rows: int
    with_thought: int
    cut_off: int
    with_answer: int
    tokens: int


class MeasureOutcome(Record):
    """Outcome of evaluating a model. The per-row metrics are in the stage's rows.

    Attributes:
        rows: number of rows in the table.
        forward_passes: forward passes of metrics and tasks.
        generated_tokens: tokens generated for metrics.
        dropped: number of rows left out, by reason.
        judging: cost of external judges.
        thoughts: counts of thoughts by split, of a model that thinks first. Empty if no row was asked to think.
        peak_memory: peak of the measuring process during the stage.
        processes: processes that computed rows: the measuring process, and workers (`evaluation: workers`) that helped.
    """

    rows: int
    forward_passes: int
    generated_tokens: int
    dropped: dict[str, int]
    judging: dict[str, JudgeCost]
    thoughts: dict[str, ThoughtCounts] = Field(default_factory=dict)
    peak_memory: PeakMemory
    processes: int = 1


class AttackState(Record):
    """One state of an attack: its strength in `unit`, and its notes.

    They are the attack's own, behind those on the thoughts of a model that thinks first.
    """

    strength: float
    unit: str
    notes: dict[str, float]


class LastState(Record):
    """The last state of an attack without its model, which is saved in a folder. Enough to resume a chain from it."""

    strength: float
    unit: str
    scored_groups: list[str] | None
    notes: dict[str, float]


class AttackOutcome(Record):
    """Outcome of an attack. The per-row metrics at each strength are in the stage's rows.

    Attributes:
        points: the states in the order in which the attack yields them.
        judging: cost of external judges over all states.
        peak_memory: peak of the attacking process during the stage.
        processes: processes that computed rows, as in `MeasureOutcome`, while the attack ran and was measured.
        last: the last state, if its model was saved for the next attack of a chain.
    """

    points: list[AttackState]
    judging: dict[str, JudgeCost]
    peak_memory: PeakMemory
    processes: int = 1
    last: LastState | None = None


class LinkOutcome(Record):
    """Outcome of a link of a chain: the last state of its attack. Its model is the stage's weights."""

    last: LastState
