"""The page of MLflow that shows a sweep: all trials with their objectives as columns, and charts to compare them.

MLflow keeps a shared view of its runs page as a tag of the experiment; a link names the tag. Without it, the page shows
names of runs and no number.
"""

from __future__ import annotations

import json

from unlearn_sweep.engine.tracking.runs import RunStore

LOCAL_UI = "http://127.0.0.1:5000"
"""Address of `mlflow ui` and `mlflow server`, if it is not started with another port."""
VIEW_TAG = "mlflow.sharedViewState."
KIND_TAG = "mlflow.experimentKind"
KIND = "custom_model_development"
"""Makes MLflow open the experiment on its training runs; by default it opens on an empty page for traces."""
COLUMNS = ("params.`method`", "metrics.`ue`", "metrics.`ut`", "metrics.`rob`", "tags.`on_front`")
WITHOUT_STAGES = "tags.kind != 'stage'"
COMPARED_RUNS = 100
SECTION = "objectives"


def runs_page(tracking_uri: str, experiment_id: str, sweep_id: str) -> str:
    """Return the address of the page, for a server at `tracking_uri` or, if that is a database, for `mlflow ui`."""
    server = tracking_uri.rstrip("/") if tracking_uri.startswith(("http://", "https://")) else LOCAL_UI
    return f"{server}/#/experiments/{experiment_id}/runs?viewStateShareKey={sweep_id}"


def share_view(store: RunStore, sweep_id: str) -> None:
    """Write the view of a sweep to its experiment unless it is there."""
    tags = store.client.get_experiment(store.experiment_id).tags
    wanted = {VIEW_TAG + sweep_id: json.dumps(_view()), KIND_TAG: tags.get(KIND_TAG, KIND)}
    for name, value in wanted.items():
        if tags.get(name) != value:
            store.client.set_experiment_tag(store.experiment_id, name, value)


def _view() -> dict[str, object]:
    """Return the state of the runs page, in the names of MLflow's own page.

    Sorted by a metric, the page lists all runs unfolded; in time order it would fold the trials away below the run of
    their sweep, and a shared view does not say which runs are unfolded. The filter leaves out the runs of stages: the
    page loads a hundred runs at a time, and trials would not be among them.
    """
    search = {
        "searchFilter": WITHOUT_STAGES,
        "orderByKey": "metrics.`rob`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
    }
    table = {
        "selectedColumns": list(COLUMNS),
        "runsHiddenMode": "SHOW_ALL",
        "groupBy": None,
        "hideEmptyCharts": True,
        "autoRefreshEnabled": True,
    }
    return search | table | _charts()


def _charts() -> dict[str, object]:
    """Return the charts of the page's chart view: all objectives side by side, and each pair of them."""
    parallel = {"type": "PARALLEL", "selectedParams": ["method"], "selectedMetrics": ["ue", "ut", "rob"]}
    pairs = [("ut", "rob"), ("ue", "rob"), ("ut", "ue")]
    scatter = [{"type": "SCATTER", "xaxis": _metric(x), "yaxis": _metric(y)} for x, y in pairs]
    shared = {"metricSectionId": SECTION, "deleted": False, "isGenerated": False, "runsCountToCompare": COMPARED_RUNS}
    cards = [{"uuid": f"{SECTION}-{number}", **shared, **card} for number, card in enumerate([parallel, *scatter])]
    section = {"uuid": SECTION, "name": "Objectives", "display": True, "isReordered": False, "deleted": False}
    return {
        "compareRunCharts": cards,
        "compareRunSections": [{**section, "isGenerated": False}],
        "isAccordionReordered": False,
    }


def _metric(name: str) -> dict[str, str]:
    return {"key": name, "type": "METRIC"}
