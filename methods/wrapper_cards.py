"""Cards of the wrappers: what is put around a method with `+`. No torch.

`cost` is a factor on the method's own. The order in a name means nothing: wrappers act by `PLACES`.
"""

from __future__ import annotations

from functools import partial

from unlearn_sweep.methods.cards import MethodCard, Param, Scalar

PLACES = ("irm", "lat", "sam", "rs", "gnr", "cr", "tar", "gao", "cir", "gru", "mudman", "surgery", "weight_avg")
"""First what adds terms, then the forward, then the forget gradient, then both gradients, then the weights."""

_wrapper = partial(MethodCard, kind="wrapper", family="robustness")
_SMOOTH = "Fan et al. 2025, arXiv 2502.05374"


def _number(
    name: str, default: float, search: tuple[float, float] | None, source: str, summary: str, *, zero: bool = True
) -> Param:
    return Param(
        name=name,
        default=default,
        scale="log",
        search=search,
        low=0,
        low_open=not zero,
        source=source,
        summary=summary,
    )


def _count(name: str, default: int, search: tuple[int, int] | None, source: str, summary: str, low: int = 1) -> Param:
    return Param(name=name, default=default, scale="int", search=search, low=low, source=source, summary=summary)


def _word(
    name: str, words: tuple[Scalar, ...], source: str, summary: str, search: tuple[Scalar, ...] | None = None
) -> Param:
    return Param(
        name=name, default=words[0], scale="choice", choices=words, search=search, source=source, summary=summary
    )


SAM = _wrapper(
    name="sam",
    summary="takes the forget gradient at the worst point near the weights, so that small changes do not undo it",
    paper=_SMOOTH,
    equation="g = g_f(w + rho g_f / |g_f|) + g_r(w)",
    needs=("grouped",),
    params=(
        _number(
            "sam_rho",
            0.01,
            (1e-3, 1e-1),
            "paper: 0.01 (MUSE), 0.1 (WMDP); Full-Stack searches [1e-3, 1e-1]",
            "length of the move over all trained weights",
        ),
    ),
    target="unlearn_sweep.methods.sam:SAM",
    cost=1.67,
)

RS = _wrapper(
    name="rs",
    summary="averages the forget gradient over random moves of the weights",
    paper=_SMOOTH,
    equation="g = mean_i g_f(w + std * n_i) + g_r(w)",
    needs=("grouped",),
    params=(
        _number("rs_std", 0.001, (1e-4, 1e-2), "proposal: the released std is absolute", "standard deviation an entry"),
        _count("rs_draws", 3, None, "released code: 3", "moves a step"),
    ),
    target="unlearn_sweep.methods.random_smoothing:RandomSmoothing",
    cost=3.0,
)

GNR = _wrapper(
    name="gnr",
    summary="penalises the norm of the forget gradient, by one finite difference",
    paper=_SMOOTH,
    equation="g = g_f(w) + weight * (g_f(w + r g_f / |g_f|) - g_f(w)) / r + g_r(w)",
    needs=("grouped",),
    params=(
        _number("gnr_weight", 0.01, (1e-3, 1.0), "released code: 0.01, without effect there", "weight of the penalty"),
        _number("gnr_radius", 0.01, None, "as the published radius of sam", "length of the difference", zero=False),
    ),
    target="unlearn_sweep.methods.gradient_norm:GradientNorm",
    cost=1.67,
)

CR = _wrapper(
    name="cr",
    summary="penalises how much the forget gradient changes nearby, by finite differences",
    paper=f"{_SMOOTH} (CR); the penalty of CURE, arXiv 1811.09716",
    equation="d = g_f(w + r g_f / |g_f|) - g_f(w); g = g_f(w) + weight * (H_f(w + r g_f / |g_f|) - H_f(w)) d / |d| "
    "+ g_r(w)",
    needs=("grouped",),
    params=(
        _number("cr_weight", 0.01, (1e-3, 1.0), "released code: 0.01, without effect there", "weight of the penalty"),
        _number("cr_radius", 0.01, None, "released code: 0.01", "length of the differences", zero=False),
    ),
    target="unlearn_sweep.methods.curvature:CurvatureRegularisation",
    cost=3.0,
)

IRM = _wrapper(
    name="irm",
    summary="ILU: stationary for another task too, so that later tuning on it does not move the model",
    paper="Wang et al. 2025, ILU, arXiv 2506.01339 (penalty as in IRMv1, arXiv 1907.02893)",
    equation="+ weight * (d/dw NLL_view(w * logits) at w = 1)^2",
    needs=(),
    params=(
        _number("irm_weight", 1.0, (0.1, 2.0), "Full-Stack searches [0.1, 2]", "weight of the penalty"),
        Param(
            name="irm_view",
            default="retain",
            scale="choice",
            source="the paper uses GSM8K: task:gsm8k",
            summary="the other task: a training view of the benchmark, or task:gsm8k, task:sst2, task:mnli, "
            "task:/path/to/file with columns question and answer",
        ),
        _count("irm_rows", 0, None, "Full-Stack: 48", "rows of a task a step; 0: as many as of the other views", low=0),
    ),
    target="unlearn_sweep.methods.irm:IRM",
    cost=1.0,
)

LAT = _wrapper(
    name="lat",
    summary="meets the forget objective under the worst small push on hidden states",
    paper="Sheshadri et al. 2024, arXiv 2407.15549",
    equation="forget terms at h_layer + push, push = argmin NLL_f within radius * |h|",
    needs=(),
    params=(
        Param(
            name="lat_layer",
            default=0.25,
            search=(0.15, 0.6),
            low=0,
            low_open=True,
            high=1,
            source="released code: layer 7 or 8 of 32",
            summary="where, as a share of the model's depth",
        ),
        _number("lat_radius", 0.1, (0.01, 1.0), "proposal: released epsilon 2 is absolute", "of the states' length"),
        _count("lat_steps", 4, (2, 16), "released code: 16", "steps of the adversary", low=0),
        _number("lat_rate", 0.5, None, "proposal", "length of an adversary's step, in radii", zero=False),
    ),
    target="unlearn_sweep.methods.lat:LAT",
    cost=3.0,
)

TAR = _wrapper(
    name="tar",
    summary="takes the forget gradient along an attacker's fine-tuning, so that it holds there too",
    paper="Tamirisa et al. 2024, arXiv 2408.00761",
    equation="g = scale * sum_k exp(rate (k - K)) g_f(w_k) + g_r(w), w_k after k Adam steps on NLL_f",
    needs=("grouped",),
    params=(
        _count(
            "tar_steps", 4, (2, 16), "released code: 64; less here, the cost is proportional", "attack steps", low=0
        ),
        _count("tar_every", 2, None, "released code: 4", "attacker's steps between two looks at the objective"),
        _number(
            "tar_learning_rate", 2e-5, (2e-6, 4e-5), "released code: 2e-6, 2e-5, 4e-5", "of the attacker", zero=False
        ),
        _number("tar_rate", 0.0625, None, "released code: 0.0625", "how much more later points weigh"),
        _number("tar_scale", 4.0, (0.5, 8.0), "released code: 4", "factor of the forget gradients at the looks"),
    ),
    target="unlearn_sweep.methods.tar:TAR",
    cost=5.0,
)

GAO = _wrapper(
    name="gao",
    summary="ascends on paraphrases of the forget rows, on the weights where their gradients agree in sign",
    paper="Beyond Lexical Forgetting (released code Zhong-Zhengyi/Ignore); the paper's text was not found",
    equation="g = g_f - rho * clamp(mean_k g_k, -1, 1) [agreeing signs >= votes] + g_r",
    needs=("grouped", "forget_paraphrase"),
    params=(
        _number("gao_rho", 0.5, (0.01, 2.0), "released code: 0.5", "weight of the agreed gradient"),
        _count("gao_paraphrases", 3, None, "released code: 6; a benchmark may have fewer", "wordings K", low=2),
        _count("gao_agree", 3, None, "released code: |mean sign| > 0.1, which is 4 votes of 6", "votes of K", low=1),
        _word("gao_scope", ("batch", "row"), "released code: row", "one mask a batch, or one a row, B times dearer"),
    ),
    target="unlearn_sweep.methods.gao:GAO",
    cost=3.5,
)

CIR = _wrapper(
    name="cir",
    summary="trains MLP matrices only, and takes out of their forget gradients what all forget tokens have in common",
    paper="Collapse of Irrelevant Representations, released code filyp/unlearning (after MUDMAN, arXiv 2506.12484)",
    equation="g_f(W) = sum_t P_g g_t (P_a a_t)^T; P takes out the mean and the first principal components of the steps "
    "before",
    needs=("grouped",),
    params=(
        _count("cir_inputs", 24, (8, 48), "released code: 24", "directions out of a layer's inputs", low=0),
        _count("cir_gradients", 36, (8, 72), "released code: 36", "directions out of its output gradients", low=0),
        Param(
            name="cir_refresh",
            default=0.1,
            low=0,
            low_open=True,
            high=1,
            source="released code: each epoch, the first of which only looks",
            summary="share of the training between two computations of the directions; nothing is forgotten before the "
            "first",
        ),
    ),
    target="unlearn_sweep.methods.cir:CIR",
    cost=1.2,
)

GRU = _wrapper(
    name="gru",
    summary="takes from the forget gradient what points against the retain gradient, smoothed over steps",
    paper="Wang et al. 2025, GRU, arXiv 2503.09117",
    equation="g = g_f - min(0, <g_f, m>) m / |m|^2, m <- gamma g_r + (1 - gamma) m; added: + g_r",
    needs=("grouped",),
    params=(
        Param(
            name="gru_gamma",
            default=0.8,
            search=(0.5, 1.0),
            low=0,
            low_open=True,
            high=1,
            source="open-unlearning's code: 0.8, searched in 0.8, 0.9, 0.95 and 1",
            summary="share of this step's retain gradient in the smoothed one; 1 does not smooth",
        ),
        _word(
            "gru_retain",
            ("limit", "added"),
            "paper and code: limit",
            "whether the retain gradient only limits the forget gradient or trains, too",
        ),
    ),
    target="unlearn_sweep.methods.gru:GRU",
    cost=1.0,
)

MUDMAN = _wrapper(
    name="mudman",
    summary="normalises the forget gradient and keeps it where it has the sign of the retain gradient",
    paper="Sondej et al. 2025, MUDMAN, arXiv 2506.12484 (masking and normalisation; its adversary is `tar`'s)",
    equation="g = length |m| / |g_f| * g_f [sign(g_f) = sign(m)] + m, m <- momentum m + (1 - momentum) g_r",
    needs=("grouped",),
    params=(
        _number(
            "mudman_length",
            1.0,
            (0.1, 10.0),
            "proposal: released steps are 0.1 for forget, 0.001 |m| for retain",
            "length of the forget gradient before masking, in lengths of m",
        ),
        Param(
            name="mudman_momentum",
            default=0.9,
            search=(0.0, 0.99),
            low=0,
            high=0.9999,
            source="released code: 0.9, searched in [0, 0.99]",
            summary="share of the steps before in the smoothed retain gradient",
        ),
    ),
    target="unlearn_sweep.methods.mudman:MUDMAN",
    cost=1.0,
)

SURGERY = _wrapper(
    name="surgery",
    summary="combines forget and retain gradients that disagree",
    paper="PCGrad, Yu et al. 2020, arXiv 2001.06782; NGDiff, Bu et al. 2024, arXiv 2410.22086",
    equation="protect_retain: g_f - min(0, <g_f, g_r>) g_r / |g_r|^2 + g_r; normalised: g_f / |g_f| + g_r / |g_r|",
    needs=("grouped",),
    params=(
        _word(
            "surgery_rule",
            ("protect_retain", "symmetric", "normalised"),
            "PCGrad, PCGrad both ways, NGDiff",
            "what happens to gradients in conflict",
            ("protect_retain", "symmetric", "normalised"),
        ),
        _word(
            "surgery_scope", ("global", "per_tensor"), "PCGrad: all weights at once", "one decision, or one a weight"
        ),
    ),
    target="unlearn_sweep.methods.surgery:Surgery",
    cost=1.0,
)

WEIGHT_AVG = _wrapper(
    name="weight_avg",
    summary="keeps a running mean of the weights instead of the last ones",
    paper=f"{_SMOOTH} (WA)",
    equation="from the share start on, average <- decay * average + (1 - decay) * w, or the mean of all w taken",
    needs=(),
    params=(
        Param(
            name="average",
            default="decayed",
            choices=("decayed", "uniform"),
            source="unlearn-smooth's code: uniform, from step 100 on, every 5 steps",
            summary="uniform: all weights that are taken count the same, and average_decay plays no part",
        ),
        Param(
            name="average_decay",
            default=0.95,
            search=(0.8, 0.99),
            low=0,
            high=0.9999,
            source="proposal: runs of some tens to hundreds of steps",
            summary="0 keeps the last weights",
        ),
        Param(
            name="average_start", default=0.5, low=0, high=1, source="proposal", summary="share of training before it"
        ),
        Param(
            name="average_every",
            default=1,
            low=1,
            source="unlearn-smooth's code: 5",
            summary="steps from one taking of the weights to the next",
        ),
    ),
    target="unlearn_sweep.methods.weight_average:WeightAverage",
    cost=1.0,
)
