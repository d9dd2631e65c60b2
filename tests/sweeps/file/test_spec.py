"""Oracles: what a valid file must become, written by hand; and that no file at all makes the checks themselves fail."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.model_folders import write_model_folder
from tests.sweeps.shipped_files import placed
from tests.sweeps.sweep_text import TWO_CPUS, sweep_text
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_settings import Budget
from unlearn_sweep.engine.search_space import Choice, Fixed, Integer, LogUniform, Uniform
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.methods.catalog import METHODS
from unlearn_sweep.sweeps.file.dimensions import published
from unlearn_sweep.sweeps.file.file_schema import ModelSection, RecipeSection, SearchSection, SweepFile
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import SweepSpec, load_spec, parse_spec
from unlearn_sweep.sweeps.file.yaml_lines import has, parse_document
from unlearn_sweep.sweeps.resolve import resolve

SHIPPED = sorted(Path("sweeps").glob("*.yaml"))


def spec_of(**parts: str) -> SweepSpec:
    return parse_spec(sweep_text(**parts), machine=TWO_CPUS)


def messages(**parts: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        spec_of(**parts)
    return [problem.text("x") for problem in caught.value.problems]


def test_shipped_files_are_valid(tmp_path: Path) -> None:
    assert {path.name for path in SHIPPED} >= {"quickstart.yaml", "quickstart_deepspeed.yaml", "tofu_tiny.yaml"}
    for path in SHIPPED:
        assert load_spec(placed(path, tmp_path / path.stem), cpus=2).file.name


def test_values_and_spaces_of_a_method() -> None:
    methods = """methods:
  npo:
    learning_rate: {log: [1e-5, 1e-3]}
    epochs: {int: [2, 6]}
    retain_weight: {uniform: [0, 2]}
    retain: {choice: [nll, kl]}
    forget_weight: {choice: [1]}
    beta: published"""
    (space,) = spec_of(methods=methods).spaces
    card = METHODS["npo"]
    beta = card.param("beta")
    assert beta is not None
    assert beta.search is not None
    assert space.params["learning_rate"] == LogUniform(1e-5, 1e-3)
    assert space.params["epochs"] == Integer(2, 6)
    assert space.params["retain_weight"] == Uniform(0.0, 2.0)
    assert space.params["retain"] == Choice(("nll", "kl"))
    assert space.params["forget_weight"] == Fixed(1.0)
    assert space.params["beta"] == LogUniform(*map(float, beta.search))  # pyright: ignore[reportArgumentType]
    assert list(space.params) == [param.name for param in card.params]


def test_an_abbreviated_parameter_is_told_with_the_name_that_it_stands_for() -> None:
    """Oracle: the written-out name."""
    (said,) = messages(methods="methods: {npo: {lr: 1e-5}}")
    assert "unknown parameter of npo" in said
    assert "nearest: learning_rate" in said
    (said,) = messages(attacks="attacks: [{relearn: {lr: 1e-5}}, {finetune: {bs: 4}}]")[:1]
    assert "nearest: learning_rate" in said
    (said,) = messages(methods="methods: {npo: {bs: 4}}")
    assert "nearest" not in said, "npo has no batch_size"


def test_what_is_left_out_is_the_default_and_nothing_searches_nothing() -> None:
    for nothing in ("methods: {npo: {}}", "methods: {npo: }"):
        (space,) = spec_of(methods=nothing).spaces
        assert space.params == {param.name: Fixed(param.default) for param in METHODS["npo"].params}


@pytest.mark.parametrize("name", [name for name, card in METHODS.items() if card.kind == "method"])
def test_published_spaces_are_those_of_the_cards(name: str) -> None:
    (space,) = spec_of(methods=f"methods: {{{name}: published}}").spaces
    assert space.params == {param.name: published(param) for param in METHODS[name].params}
    assert space.searched()


def test_the_sweeps_epochs_give_way_to_the_methods() -> None:
    spaces = spec_of(
        training="training: {epochs: 4}", methods="methods: {npo: {epochs: 7}, graddiff: published}"
    ).spaces
    assert [space.params["epochs"] for space in spaces] == [Fixed(7), Fixed(4)]


def test_a_range_of_one_value_is_that_value() -> None:
    (space,) = spec_of(methods="methods: {npo: {beta: {log: [0.1, 0.1]}, epochs: {int: [3, 3]}}}").spaces
    assert space.params["beta"] == Fixed(0.1)
    assert space.params["epochs"] == Fixed(3)


def test_metrics_left_out_are_the_benchmarks() -> None:
    spec = spec_of()
    assert set(spec.ue_metrics) | set(spec.ut_metrics) == set(spec.benchmark.card.metrics)


@pytest.mark.parametrize(
    ("parts", "word"),
    [
        ({"search": "search: {trials: 1}"}, "fewer trials than the 2 methods"),
        ({"search": "search: {sampler: grid}"}, "no number of points"),
        ({"search": "search: {sampler: grid, grid_points: 900}"}, "points"),
        ({"training": "training: {backend: deepspeed}"}, "needs training workers"),
        ({"training": "training: {workers: 3, resources_per_worker: {CPU: 0.1}}"}, "shared by 3 workers"),
        ({"training": "training: {workers: 1, resources_per_worker: {GPU: 0.5}}"}, "a part of a GPU"),
        ({"training": "training: {resources_per_worker: {CPU: 0}}"}, "asks for nothing"),
        ({"evaluation": "evaluation: {resources: {CPU: 4}}"}, "one trial needs 4 CPU"),
        ({"tracking": "tracking: {mlflow: ./mlruns}"}, "no longer takes a folder"),
        ({"tracking": "tracking: {mlflow: 'http://[x'}"}, "no address"),
        ({"storage": "storage: s3://bucket/runs"}, "an address, not a folder"),
        ({"storage": "storage: pyproject.toml/runs"}, "is a file"),
        ({"storage": 'storage: "a\\0b"'}, "not a path"),
        ({"gold": "gold: {train: {base: ./nowhere}}"}, "no such path"),
        ({"gold": "gold: {train: {base: a/b, config: {hidden_size: 8}}}"}, "not both"),
        ({"model": "model: {path: gpt2}"}, "neither a folder nor a hub id"),
        ({"name": "name: ../x"}, "not of the right form"),
        ({"name": "name: store"}, "used by the tool itself"),
        ({"seed": "seed: 99999999999"}, "out of range"),
        ({"methods": "methods: {npo: {epochs: {int: [1, 99999999999999999999]}}}"}, "out of range"),
    ],
)
def test_one_mistake_is_one_message(parts: dict[str, str], word: str) -> None:
    found = [text for text in messages(**parts)]
    assert any(word in text for text in found)
    assert len({text.split(": ")[1] for text in found}) == len(found)


def test_a_model_folder_is_looked_into(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file, word in [(None, "no config.json"), ("config.json", "no weights"), ("pytorch_model.bin", "pickled")]:
        if file:
            (folder / file).write_text("{}")
        with pytest.raises(SpecError) as caught:
            parse_spec(sweep_text(model="model: {path: ./model}", gold="gold: {path: org/gold}"), folder=tmp_path)
        assert word in caught.value.problems[0].message
    write_model_folder(folder)
    text = sweep_text(model="model: {path: model}", gold="gold: {path: org/gold@v1}")
    job = resolve(parse_spec(text, folder=tmp_path))
    assert job.original.path == str(folder)
    assert job.gold.path == "org/gold@v1"


def test_a_mistake_does_not_call_forth_others() -> None:
    """A wrong number of workers must not make the backend look as if it had none."""
    found = messages(training="training: {backend: deepspeed, workers: two, zero_stage: 2}")
    assert len(found) == 1
    assert "training.workers" in found[0]


def test_a_cluster_is_not_held_to_this_machine(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(sweep_text(training="training: {workers: 512, global_batch_size: 512}"))
    with pytest.raises(SpecError):
        load_spec(file, cpus=2)
    assert resolve(load_spec(file, cluster=True)).concurrent_trials is None
    assert resolve(load_spec(file, cpus=1024)).concurrent_trials == 2


KEYS = st.sampled_from(["log", "choice", "path", "train", "steps", "CPU", "x"])
values = st.recursive(
    st.sampled_from([None, True, 0, -1, 1, 2.5, 1e308, "", "x", "48h", "npo", "published", "a+b>c", "~", "/", "a\x00b"])
    | st.integers()
    | st.floats()
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["log", "choice", "path", "train", "steps", "CPU", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in below for found in places(item, (*path, key)))]


FULL = parse_document(
    sweep_text(
        model="model: {dtype: auto, path: x/y}",
        gold="gold: {train: {epochs: 3, base: x/y}}",
        training="training: {epochs: 3, workers: 0, resources_per_worker: {CPU: 1}, zero_stage: 1}",
        evaluators="evaluators: {ue: [probability], ut: [probability]}",
        attacks="attacks: [relearn, {quantize: {bits: 4}}, {chain: [{prefill: {}}, relearn]}]",
        search="search: {trials: 4, sampler: grid, grid_points: 3, constraints: {ut: '>= 0.5'}, budget: {}}",
        tracking="tracking: {mlflow: auto}",
        evaluation="evaluation: {resources: {CPU: 1}}",
    )
).data


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example([(("model", "path"), "a\x00b")])
@example([(("training",), {})])
@given(st.lists(st.tuples(st.sampled_from(places(FULL)[1:]), values), min_size=1, max_size=3))
def test_no_file_makes_the_checks_fail(edits: list[tuple[tuple[str | int, ...], Any]]) -> None:
    """Whatever stands anywhere, the answer is a spec that can be resolved, or mistakes that can be printed."""
    data = copy.deepcopy(FULL)
    for path, value in edits:
        replace_at(data, path, value)
    answer = job_or_mistakes(json.dumps(data).replace("NaN", ".nan").replace("Infinity", ".inf"))
    if isinstance(answer, SpecError):
        assert answer.problems
        assert all(problem.message for problem in answer.problems)
        assert json.loads(json.dumps(answer.as_json()))["valid"] is False
        assert all(line.isprintable() for line in answer.text().splitlines())
    else:
        # Compared as written: the place of an attack in the file is for messages and written nowhere.
        assert SweepJob.model_validate_json(answer.model_dump_json()).model_dump() == answer.model_dump()


def job_or_mistakes(text: str) -> SweepJob | SpecError:
    try:
        return resolve(parse_spec(text, machine=TWO_CPUS))
    except SpecError as error:
        return error


def replace_at(target: Any, path: tuple[str | int, ...], value: Any) -> None:
    """Put `value` at `path`, unless an edit before has taken the way to it."""
    for part in path[:-1]:
        if not has(target, part):
            return
        target = target[part]
    if has(target, path[-1]):
        target[path[-1]] = value


def test_the_documented_file_is_valid(tmp_path: Path) -> None:
    page = Path("docs/sweep_file.md").read_text()
    (tmp_path / "data" / "tofu").mkdir(parents=True)
    text = page.split("```yaml\n")[1].split("```")[0]
    assert parse_spec(text, folder=tmp_path).file.name == "tofu-forget10"


def test_every_key_is_documented() -> None:
    page = Path("docs/sweep_file.md").read_text()
    parts = (SweepFile, ModelSection, RecipeSection, TrainingSettings, SearchSection, Budget)
    missing = [name for part in parts for name in part.model_fields if name not in page]
    assert missing == []


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"methods": "methods: {npo: {learning_rate: 500}}"}, "methods.npo.learning_rate"),
        ({"methods": "methods: {npo: {learning_rate: {log: [1e-5, 5]}}}"}, "methods.npo.learning_rate"),
        ({"attacks": "attacks: [{relearn: {learning_rate: 500}}]"}, "attacks[0].relearn.learning_rate"),
        ({"model": "model: {train: {learning_rate: 5}}"}, "model.train.learning_rate"),
    ],
)
def test_a_learning_rate_above_one_is_a_mistake(part: dict[str, str], place: str, tmp_path: Path) -> None:
    """AdamW moves a weight by about the rate a step: nothing of a model is left."""
    with pytest.raises(SpecError) as refused:
        parse_spec(sweep_text(**part), folder=tmp_path)
    (problem,) = refused.value.problems
    assert problem.path.startswith(place)
    assert "1" in str(problem.allowed)
