"""Which attacks train on the trial's workers, before the measuring process asks the states they leave."""

from __future__ import annotations

import tempfile
from pathlib import Path

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.optimizers.sign_sgd import SignSgdSettings
from unlearn_sweep.engine.stages.attack_run import AttackRequest
from unlearn_sweep.engine.stages.executor import Executor
from unlearn_sweep.engine.store.outcomes import AttackOutcome
from unlearn_sweep.engine.training.job import Choice, TrainJob
from unlearn_sweep.engine.training.settings import LoraSettings
from unlearn_sweep.evaluators.attacks.attack_params import AttackParams

ATTACK_TRAINING_CODE = "unlearn_sweep.engine.training.attack_training"
SOFT_PROMPT_CODE = "unlearn_sweep.engine.training.soft_prompt_training"


def trained_on_workers(job: SweepJob, attack: AttackSettings) -> Choice | None:
    """Return the attack whose training runs on the sweep's workers: this one or the last of a chain; None if none does.

    All but the last of a chain must be links, attacks that are stages of their own.
    """
    from unlearn_sweep.evaluators.attacks.catalog import CHAIN, ChainParams
    from unlearn_sweep.evaluators.attacks.training_params import TRAINS_ELSEWHERE, TRAINS_TOKENS_ELSEWHERE

    if job.attack_training == "measuring" or not job.training.workers:
        return None
    name, params = attack.name, attack.params
    if name == CHAIN:
        chain = ChainParams.model_validate(params)
        if chain.plain_links() < len(chain.steps) - 1:
            return None
        name, params = chain.links()[-1]
    elsewhere = TRAINS_ELSEWHERE | TRAINS_TOKENS_ELSEWHERE
    return Choice(name=name, params=dict(params)) if name in elsewhere else None


def training_code(job: SweepJob, attack: AttackSettings) -> list[str]:
    """Return the modules that an attack computes with beyond its own, where its training runs on workers."""
    from unlearn_sweep.evaluators.attacks.training_params import TRAINS_TOKENS_ELSEWHERE

    trained = trained_on_workers(job, attack)
    if trained is None:
        return []
    return [SOFT_PROMPT_CODE if trained.name in TRAINS_TOKENS_ELSEWHERE else ATTACK_TRAINING_CODE]


def carry_out(
    job: SweepJob, attack: AttackSettings, call: AttackRequest, folder: Path, executor: Executor
) -> AttackOutcome:
    """Run an attack: its training on workers where it has one there, the rest in the measuring process.

    The states lie in `folder` while they are asked, and are deleted then.
    """
    trained = trained_on_workers(job, attack)
    if trained is None:
        return executor.attack(call)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        states = Path(scratch, "states")
        executor.train(attack_train_job(job, trained, call, states), name=f"{job.name}-{attack.label}")
        return executor.attack(call.model_copy(update={"trained": str(states)}))


def attack_train_job(job: SweepJob, attack: Choice, call: AttackRequest, output: Path) -> TrainJob:
    """Return the training of an attack with the sweep's backend and memory options, and the attack's own recipe."""
    from unlearn_sweep.evaluators.attacks.catalog import validate

    recipe, learning_rate = _recipe(validate(attack.name, attack.params))
    common = {"epochs": None, "betas": (0.9, 0.999), "adam_epsilon": 1e-8}
    return TrainJob(
        start_model=call.model_path,
        tokenizer=call.tokenizer_path,
        output_dir=str(output),
        benchmark=Choice.model_validate(call.benchmark),
        method=Choice(name="finetune"),
        attack=attack,
        learning_rate=learning_rate or 1.0,  # the attack's own schedule sets each step's rate
        training=job.training.model_copy(update=common | recipe),
        seed=call.seed,
        dtype=job.dtype,
        attention=job.attention,
        threads=job.threads,
    )


def _recipe(params: AttackParams) -> tuple[dict[str, object], float]:
    """Return the settings of an attack's training, and its learning rate.

    Raises:
        TypeError: the attack does not train.
    """
    from unlearn_sweep.evaluators.attacks.soft_prompt_params import SoftPromptParams
    from unlearn_sweep.evaluators.attacks.training_params import TrainingParams

    if isinstance(params, SoftPromptParams):
        own: dict[str, object] = {
            "optimizer": "sign_sgd", "sign_sgd": SignSgdSettings(), "gradient_clip": None, "weight_decay": 0.0,
            "lora": None,
        }  # fmt: skip
        rate = params.step_size
    elif isinstance(params, TrainingParams):
        lora = LoraSettings(rank=params.lora_rank, alpha=float(params.lora_alpha)) if params.lora_rank else None
        own = {"optimizer": "adamw", "gradient_clip": 1.0, "weight_decay": params.weight_decay, "lora": lora}
        rate = params.learning_rate
    else:
        raise TypeError(f"{type(params).__name__} are no parameters of a training")
    return own | {"max_steps": max(1, params.curve[-1]), "global_batch_size": params.batch_size}, rate
