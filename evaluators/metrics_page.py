"""Renders docs/metrics.md from the metric table; `make docs` writes it."""

from __future__ import annotations

import sys

from unlearn_sweep.evaluators.cards import MetricCard
from unlearn_sweep.evaluators.catalog import AGAINST_HOLDOUT, COMPONENTS, METRICS

HEAD = """# Metrics

This page is written from the metric table. Change the table, then run
`python -m unlearn_sweep.evaluators.metrics_page > docs/metrics.md`.

A sweep file names metrics under `evaluators`: `ue` for unlearning effectiveness, `ut` for utility retention. Left
out, a benchmark's own are taken. How they become one number, in [0, 1], higher is better:

- **UE**: each metric on the forget rows is laid between the original model (0) and the gold model (1). Where lower is
  better that is `(original - value) / (original - gold)`; where gold's own value is best, it is
  `1 - abs(value - gold) / abs(original - gold)`, so that going beyond gold costs as well. Both are cut to [0, 1]. The
  mean of each group, then the harmonic mean over groups.
- **UT**: `(value - chance) / (original - chance)`, cut to [0, 1], on each utility split; the mean over splits and
  metrics.
- A metric whose anchors lie less than two bootstrap standard deviations apart has no score, and the report says so.
- A metric over whole splits (a distance between distributions, an area under a curve) has its noise from gold itself:
  gold's rows are drawn twice, apart, and the second draw is what another gold model would get. `forget_quality` counts
  as 1 from the median of that on, `forget_quality_p` from 0.05 on, and distances to gold's area or PrivLeak are
  shortened by it. Gold compared with itself would be perfect without any spread, where no model gets.
- One group at 0 makes the harmonic mean 0, so a group whose 0 may be chance counts as no less than what chance can take
  from it, times the mean of the other groups: with its noise and Student's t of 1% for that many facts,
  `t * noise - 1`, at most the noise. On enough rows that is nothing, and a 0 is a 0 ([what ideal and bad models
  score](ideal_model.md)).
- Facts are split in halves by hash: the search sees one, the report prints the other.

One teacher-forced pass over a split gives all metrics that need a likelihood, one generation all that need an answer;
rows that no metric of the sweep is for are not asked at all. A name that ends in `_ou` is computed as open-unlearning
does, deviations included, to be laid beside a published number; ours stands next to it. `_unstemmed` and `_f1` say
what ROUGE is meant. All logarithms are natural, but for entropies in bits.

## Words

`rouge*`, `knowmem`, `verbmem`, `answer_match`, `answer_contained`, `contained_worst`, `exact_match`, `answer_f1`,
`ngram_entropy` and `distinct_ngrams` count words. Texts are compared after Unicode normalisation (NFKC) and case
folding. Letters, digits and combining marks of every script make words; in scripts without spaces between words
(Chinese, Japanese, Thai, Lao, Khmer, Myanmar, Tibetan, ...) every character, with its combining marks, is a word. The
rule follows the script of each character, so mixed text needs no setting. On ASCII text ROUGE equals the `rouge-score`
package, which reads nothing but a-z and 0-9; on other text it differs from it, and from numbers published with it. The
stemmer changes words of a-z only. `clean_text` and `entailment` are as good as their classifier is in the language.

## A judge, and classifiers

`judge_*` and `win_rate` ask a language model, one answer a call, at temperature 0: one behind any OpenAI-compatible
endpoint, or one in this process. It is named in the environment only, so that no key can get into a file, a record or
a tracking server:

| variable | what |
|---|---|
| `UNLEARN_SWEEP_JUDGE_URL` | base address, up to and with `/v1` |
| `UNLEARN_SWEEP_JUDGE_MODEL` | the model's id there; pin a dated one |
| `UNLEARN_SWEEP_JUDGE_KEY` | the key, where one is wanted; sent over https, or to this machine, only |
| `UNLEARN_SWEEP_JUDGE_PRICES` | `0.15,0.60`: dollars for a million tokens read and written, to count the cost |
| `UNLEARN_SWEEP_JUDGE_FOLDER` | in place of address and model: folder of an instruct model with safetensors |
| `UNLEARN_SWEEP_JUDGE_CACHE` | folder of verdicts; left out: in the storage of the sweep |
| `UNLEARN_SWEEP_JUDGE_REASONING` | `1` for a model that thinks first: `max_completion_tokens` is sent, no temperature |
| `UNLEARN_SWEEP_JUDGE_TOKENS` | tokens an answer may have, thinking included; left out: 16, of a thinking model 4,096 |
| `UNLEARN_SWEEP_JUDGE_BODY` | JSON object of more fields to send: `{"reasoning_effort": "low"}` |
| `UNLEARN_SWEEP_JUDGE_RULES` | what the judge of `judge_*` is told: `holds` (default), `same_meaning`, a text file |

`holds` asks whether the response holds all that the question asks of the answer: JensUn's rules in our words.
`same_meaning` asks whether the two answers mean the same, and shows no question: GAO's semantic accuracy in our words.
A file is taken as it is, so that a project's own prompt can be used (JensUn's is `src/evals/judge_prompt.txt` of its
repository): it has to ask for YES or NO, or TRUE or FALSE, and is followed by one row as JSON. What differs from both
projects stays: one answer a call, as it was generated, and a failed call is no verdict. The rules are part of a stage's
key. J_avg of JensUn is `judge_accuracy` on split `retain` of `lkf`: the plain mean over wordings.

An endpoint that refuses `max_tokens` or `temperature` with a 400 is asked in the form of a thinking model from then on,
which is said once. A chain of thought in `<think>` tags before the verdict is left out.

Throttled and broken calls (408, 429, 5xx, no answer in 60 s, no chat completion) are repeated up to five times with
growing waits; at most eight calls run at once. A verdict is YES or NO (of two answers A, B or TIE) and nothing else. A
row without one is a missing value with its reason, never a "no": an outage must not look like forgetting. When more
than 5% of the rows are without one, the metric fails and says why; a refused key ends it at the first call. Equal
answers are judged once, in this sweep and the next. Model and prompt are part of the stage's key. Calls, tokens,
failures and, with prices, dollars stand in each trial's record and in sum in the report.

`win_rate` holds each answer on the utility splits against the original model's, in both orders, so that a judge who
prefers what it reads first gives 0.5; equal answers are a tie without a call. A row of which one call failed has no
value.

`entailment` wants `UNLEARN_SWEEP_NLI_MODEL`, a three-way classifier (`tasksource/deberta-small-long-nli` fits), and
`clean_text` wants `UNLEARN_SWEEP_GIBBERISH_MODEL`, one with a label "clean" (open-unlearning's is
`madhurjindal/autonlp-Gibberish-Detector-492513457`): a local folder, or `owner/name@revision` on the hub. Without it a
file that names the metric is refused, with the reason. Where neither judge nor classifier is to be had,
`answer_contained` and `contained_worst` go by a string rule, `ngram_entropy` and `distinct_ngrams` by counting.

## Tasks of lm-evaluation-harness

MMLU, TruthfulQA, MathQA, GSM8K, IFEval and every other task or group of the harness, on the model in memory, for UT:

```yaml
evaluators:
  lm_eval:
    mmlu: {limit: 20}                            # first 20 rows of each of its 57 subjects
    gsm8k: {num_fewshot: 5, limit: 200, metric: "exact_match,strict-match", max_new_tokens: 256}
    truthfulqa_mc2: null                         # as the task itself says
    wmdp_bio: {limit: 300, counts: false}        # beside choice_accuracy, and no part of UT
```

It needs `pip install 'unlearn-sweep[lm-eval]'`; without it such a file is refused. Each task is one part of UT, metric
`lm_eval` on split `task:NAME`, above chance: one in the number of choices of each row (TruthfulQA's second form: the
share of true ones), 0 where an answer is written, or what `chance` says. Its rows are kept with the others, under ids
that hold a hash of their content, and are halved and resampled like them. The rows of a group count alike, as in the
harness. Only metrics that are a mean over rows will do (of IFEval `prompt_level_*`), and higher has to be better;
names, metrics, filters and examples are checked when the file is read. After an attack that changes weights the tasks
are asked again, with the rest of utility.

With no network, `data` names local rows in the columns of the task's own data set: a file of the rows to ask, or a
folder with `<split>.jsonl` (or .json, .csv, .parquet), for subtasks `<configuration>/<split>.jsonl`; the split the
examples are from (`num_fewshot`) lies beside it. `evaluators.lm_eval_folder` is a folder of task definitions of your
own, as the harness reads them; functions in it are run, as the harness runs them. Rows from the hub are those of its
newest revision unless a definition fixes one, and `plan` says so.

## Overview

| metric | group | serves | range | best on forget rows | what it answers |
|---|---|---|---|---|---|
"""


def render() -> str:
    """The whole page as Markdown."""
    rows = "\n".join(overview(card) for card in METRICS.values())
    return f"{HEAD}{rows}\n\n" + "\n".join(section(card) for card in METRICS.values())


def overview(card: MetricCard) -> str:
    """One row of the overview table."""
    serves = ", ".join(name.upper() for name in card.serves)
    cells = (f"[`{card.name}`](#{card.name})", card.group, serves, bounds(card), best(card), card.summary)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def section(card: MetricCard) -> str:
    """One metric in full."""
    lines = [f"## {card.name}", "", card.summary, ""]
    lines += [f"- Range: {bounds(card)}; unit: {card.unit}; chance: {card.chance:g}"]
    if "ue" in card.serves:
        floor = "" if card.has_floor else "; needs a gold model, `floor: chance` will not do"
        lines.append(f"- On forget rows best: {best(card)}{floor}")
    if "ut" in card.serves:
        lines.append(f"- On utility rows best: {card.better_on_retain}")
    parts = COMPONENTS.get(card.name)
    made = f"; one number over whole splits, made of {', '.join(f'`{part}`' for part in parts)}" if parts else ""
    against = "; needs rows that no model saw (split holdout)" if card.name in AGAINST_HOLDOUT else ""
    lines.append(f"- For rows of kind {', '.join(card.kinds)}; computed from {NEEDS[card.needs]}{made}{against}")
    return "\n".join([*lines, f"- Source: {card.source}", ""])


NEEDS = {
    "likelihood": "a teacher-forced pass",
    "moments": "a teacher-forced pass, with the distribution at each place",
    "alternatives": "a teacher-forced pass over paraphrased and wrong answers as well",
    "choices": "a teacher-forced pass over the letters",
    "gradient": "a forward and a backward pass a row",
    "generation": "greedy answers",
    "judge": "greedy answers and a judge",
    "original": "greedy answers, and the original's",
    "comparison": "greedy answers, the original's, and a judge",
    "entailment": "greedy answers and an entailment model",
    "gibberish": "greedy answers and a classifier of gibberish",
    "tasks": "what each task asks",
}


def bounds(card: MetricCard) -> str:
    """The range in words: "0 to 1", "0 or more"."""
    low, high = card.range
    if low is None:
        return "any number"
    return f"{low:g} or more" if high is None else f"{low:g} to {high:g}"


def best(card: MetricCard) -> str:
    """Which value is best on the forget rows."""
    if "ue" not in card.serves:
        return "-"
    return "gold's own value" if card.better_on_forget == "gold" else card.better_on_forget


if __name__ == "__main__":
    sys.stdout.write(render())
