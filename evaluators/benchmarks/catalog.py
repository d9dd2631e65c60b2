"""Every benchmark the tool knows, in one table. Reading it imports no model library."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from unlearn_sweep.evaluators.benchmarks.authors import AuthorsParams
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.blur import HUB as BLUR_HUB
from unlearn_sweep.evaluators.benchmarks.blur import BlurParams
from unlearn_sweep.evaluators.benchmarks.custom import CustomParams
from unlearn_sweep.evaluators.benchmarks.limits import DataParams, limited
from unlearn_sweep.evaluators.benchmarks.lkf import LkfParams
from unlearn_sweep.evaluators.benchmarks.lume import GATED as GATED_LUME
from unlearn_sweep.evaluators.benchmarks.lume import HUB as LUME_HUB
from unlearn_sweep.evaluators.benchmarks.lume import LumeParams
from unlearn_sweep.evaluators.benchmarks.muse import MuseParams
from unlearn_sweep.evaluators.benchmarks.prompt_format import FORMAT_KEY, PromptSettings, in_format
from unlearn_sweep.evaluators.benchmarks.requests import REQUESTS_KEY, in_requests, only_requests
from unlearn_sweep.evaluators.benchmarks.rwku import RwkuParams
from unlearn_sweep.evaluators.benchmarks.tofu import TofuParams
from unlearn_sweep.evaluators.benchmarks.wmdp import GATED, WmdpParams
from unlearn_sweep.evaluators.benchmarks.written_rows import VIEWS_KEY, ReadView, with_written
from unlearn_sweep.evaluators.cards import BenchmarkCard, load_target
from unlearn_sweep.plugins import Catalog

BENCHMARKS = Catalog(
    "benchmarks",
    BenchmarkCard,
    (
        BenchmarkCard(
            name="authors",
            summary="fictitious authors made by this project; a model of 0.6 million parameters, trained on first use",
            params=AuthorsParams,
            target="unlearn_sweep.evaluators.benchmarks.authors:load",
            metrics=("probability", "exact_memorization", "extraction_strength", "truth_ratio", "answer_match"),
            licence="Apache-2.0",
            source="generated from a seed",
            splits="train: forget, retain; judged: forget, retain, in trained and in held-out wordings",
            original="trained on first use",
            gold="trained on first use",
        ),
        BenchmarkCard(
            name="tofu",
            summary="200 fictitious authors, 20 questions each; 1, 5 or 10 percent of them to be forgotten",
            params=TofuParams,
            target="unlearn_sweep.evaluators.benchmarks.tofu:load",
            sizes="unlearn_sweep.evaluators.benchmarks.tofu_sizes:stand_in",
            metrics=(
                "probability",
                "paraphrase_probability",
                "exact_memorization",
                "extraction_strength",
                "truth_ratio",
                "rouge",
                "model_utility",
            ),
            licence="MIT",
            source="Maini et al. 2024, arXiv 2401.06121",
            splits="train: forgetNN, retainNN; judged: their _perturbed files, real_authors and world_facts on demand",
            hub="locuslab/TOFU",
            local_option="path",
            original="open-unlearning/tofu_Llama-3.2-1B-Instruct_full",
            gold="open-unlearning/tofu_Llama-3.2-1B-Instruct_retain90 (retain95, retain99)",
        ),
        BenchmarkCard(
            name="muse",
            summary="news articles or the Harry Potter books, to be forgotten as text and as knowledge",
            params=MuseParams,
            target="unlearn_sweep.evaluators.benchmarks.muse:load",
            metrics=("verbmem", "knowmem", "mia_min_k_auc"),
            ut_metrics=("knowmem",),
            licence="CC BY 4.0",
            source="Shi et al. 2024, arXiv 2407.06460",
            splits="train: raw/forget, raw/retain1; judged: verbmem/forget, knowmem/forget_qa, retain_qa (behind the "
            "ten rows of *_icl), privleak/forget; held out: privleak/holdout",
            hub="muse-bench/MUSE-News, muse-bench/MUSE-Books",
            local_option="path",
            original="muse-bench/MUSE-News_target, muse-bench/MUSE-Books_target",
            gold="muse-bench/MUSE-News_retrain, muse-bench/MUSE-Books_retrain",
        ),
        BenchmarkCard(
            name="wmdp",
            summary="multiple-choice questions that stand for hazardous knowledge in biology or cybersecurity",
            params=WmdpParams,
            target="unlearn_sweep.evaluators.benchmarks.wmdp:load",
            metrics=("choice_accuracy",),
            ut_metrics=("choice_accuracy", "choice_mass"),
            licence="MIT",
            source="Li et al. 2024, arXiv 2403.03218; utility: MMLU, Hendrycks et al. 2021, cais/mmlu, MIT",
            splits="train: TOPIC-forget-corpus, TOPIC-retain-corpus; judged: wmdp-TOPIC/test (forget; 1,273 bio, "
            "1,987 cyber), MMLU all/test (utility); variants: EleutherAI/wmdp_bio_robust_mcqa (868, six categories), "
            "EleutherAI/wmdp_bio_cloze (1,076), wmdp-deduped (5 x 157)",
            access=f"open but for one corpus: {GATED}",
            hub="cais/wmdp, cais/wmdp-corpora, cais/mmlu (earlier revisions of the first have more questions)",
            local_option="path",
            original="HuggingFaceH4/zephyr-7b-beta, meta-llama/Meta-Llama-3-8B-Instruct (licence to be accepted), "
            "EleutherAI/deep-ignorance-unfiltered (bio)",
            gold="EleutherAI/deep-ignorance-e2e-strong-filter, pre-trained without the knowledge, for "
            "deep-ignorance-unfiltered; for the others none can exist: `gold: {floor: chance}`",
        ),
        BenchmarkCard(
            name="lkf",
            summary="lesser known facts, each in up to sixteen wordings, with and without other questions before it",
            params=LkfParams,
            target="unlearn_sweep.evaluators.benchmarks.lkf:load",
            metrics=("probability", "rouge", "contained_worst"),
            ut_metrics=("probability", "rouge"),
            licence="see the data sets' pages on the hub",
            source="JensUn, arXiv 2509.02820",
            splits="train: LKF-{forget,retain}_standard and _train_para; judged: LKF-{forget,retain}_eval_para; "
            "view relearn on demand",
            hub="nmndeep/LKF-forget_standard and its sisters",
            local_option="path",
            original="meta-llama/Llama-3.2-3B-Instruct (licence to be accepted)",
        ),
        BenchmarkCard(
            name="rwku",
            summary="famous people, probed by blanks, questions and adversarial prompts",
            params=RwkuParams,
            target="unlearn_sweep.evaluators.benchmarks.rwku:load",
            metrics=("rouge_unstemmed", "answer_contained"),
            ut_metrics=(
                "rouge_unstemmed",
                "choice_accuracy",
                "probability",
                "exact_match",
                "answer_f1",
                "ngram_entropy",
            ),
            licence="CC BY 4.0 (data), MIT (code)",
            source="Jin et al. 2024, arXiv 2406.10890",
            splits="train: train_original_passage of the subjects (forget) and of other targets (retain; RWKU gives no "
            "retain corpus); judged: forget_level1 to 3, mia_forget; utility: neighbor_level1 and 2, mia_retain, "
            "utility_general, _reason, _truthfulness, _factuality, _fluency",
            hub="jinzhuoran/RWKU",
            local_option="path",
            original="meta-llama/Meta-Llama-3-8B-Instruct (licence to be accepted), microsoft/Phi-3-mini-4k-instruct",
        ),
        BenchmarkCard(
            name="lume",
            summary="made documents, made biographies with personal data, real biographies; as text and as knowledge",
            params=LumeParams,
            target="unlearn_sweep.evaluators.benchmarks.lume:load",
            metrics=("lume_forget_aggregate",),
            ut_metrics=("regurgitation", "exact_answer"),
            licence="Apache-2.0",
            source="LUME, Ramakrishna et al. 2025, arXiv 2502.15097; SemEval-2025 task 4",
            splits="train and judged: forget_train, retain_train (or _validation), each task of retain a utility "
            "split; holdout on demand: nonmember",
            access=GATED_LUME,
            hub=LUME_HUB,
            local_option="path",
            original="llmunlearningsemeval2025organization/olmo-1B-model-semeval25-unlearning (given out by the same "
            "form; 7B: olmo-finetuned-semeval25-unlearning)",
        ),
        BenchmarkCard(
            name="blur",
            summary="queries near the border of what is to be forgotten, alone and combined, and texts to relearn by",
            params=BlurParams,
            target="unlearn_sweep.evaluators.benchmarks.blur:load",
            metrics=("answer_kept",),
            ut_metrics=("answer_kept",),
            licence="see the data set's page on the hub",
            source="BLUR, Hu et al. 2025, arXiv 2506.15699",
            splits="train: one's own forget and retain file, and views relearn_hi, relearn_mid, relearn_lo on demand; "
            "judged: TASK_forget, TASK_retain, and on demand TASK_paired_forget_retain (split combined)",
            hub=BLUR_HUB,
            local_option="path",
            original="that of the benchmark that is extended",
            gold="that of the benchmark that is extended, or gold: {floor: chance}",
        ),
        BenchmarkCard(
            name="custom",
            summary="one's own files: questions and answers, running text, or multiple choice",
            params=CustomParams,
            target="unlearn_sweep.evaluators.benchmarks.custom:load",
            metrics=("probability", "exact_memorization", "extraction_strength", "rouge"),
            licence="that of the files",
            source="JSON, JSON lines, CSV or parquet files; see own-data.md",
            splits="train: forget, retain; judged: forget, retain, and holdout where a file is given",
            original="model.path, or a small model trained on the files",
            gold="gold.path, a small model trained on the retain file, or gold: {floor: chance}",
        ),
    ),
)


def benchmark_card(name: str) -> BenchmarkCard:
    """The card of a benchmark.

    Raises:
        ValueError: no such benchmark; the message lists the names and the nearest one.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    near = difflib.get_close_matches(name, BENCHMARKS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown benchmark {name!r}; known: {', '.join(BENCHMARKS)}{hint}")


def hub_sets(name: str, params: Mapping[str, Any]) -> tuple[tuple[str, str | None], ...]:
    """The hub's data sets that a benchmark reads with these options, with their revisions. Errors as `load_benchmark`.

    Empty for benchmarks of plugins, which do not say.
    """
    options = {option: value for option, value in params.items() if option != FORMAT_KEY}
    given = benchmark_card(name).params.model_validate(options)
    return given.hub_sets() if isinstance(given, DataParams) else ()


def load_benchmark(name: str, params: Mapping[str, Any]) -> Benchmark:
    """The benchmark of this name with these options, validated by its card's model, in the prompt format among them.

    Views that are named under `VIEWS_KEY` are read into it: a training or attack that reads them names them. A training
    has the forget rows of the requests under `REQUESTS_KEY` alone.

    Raises:
        ValueError: no such benchmark, or a view that cannot be read.
        pydantic.ValidationError: unknown, missing or ill-typed options (a ValueError too).
    """
    return _loaded(name, params, benchmark_card(name).load())


def published_size(name: str, params: Mapping[str, Any]) -> Benchmark | None:
    """A benchmark of as many rows of the same mean length, with made-up texts; None where the size is not known.

    It is for plans while the rows are on the hub. Nothing is trained on it or measured by it.
    """
    card = benchmark_card(name)
    return _loaded(name, {**params, VIEWS_KEY: []}, load_target(card.sizes)) if card.sizes else None


def _loaded(name: str, params: Mapping[str, Any], load: Callable[[Any], Benchmark]) -> Benchmark:
    card, options = benchmark_card(name), dict(params)
    prompt = PromptSettings.model_validate(options.pop(FORMAT_KEY, {}))
    reads = [ReadView.model_validate(read) for read in options.pop(VIEWS_KEY, ())]
    trained: list[int] | None = options.pop(REQUESTS_KEY, None)
    given = card.params.model_validate(options)
    shared = given if isinstance(given, DataParams) else DataParams()
    rows = in_requests(with_written(load(given), reads), shared.requests)
    chosen = rows if trained is None else only_requests(rows, trained)
    return in_format(limited(chosen, shared.max_tokens), prompt)
