"""Addresses of the pages of MLflow's web interface that show a study; only text, no MLflow."""

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from ucluster_tune.study.record import StudyRecord

N_COMPARED = 50  # curves in one picture, and the page asks the server for each run's history


def curves_page(
    base: str, experiment_id: str, run_ids: Sequence[str], metric: str | None = None
) -> str:
    """Return the page with the accuracy of all given trials by epoch, and the reference.

    Both are matched within batches, as the published 81 % is.

    Args:
        base: of the server, such as http://127.0.0.1:5000.
        experiment_id: of the runs.
        run_ids: of the trials, at least one, and of the study, which has the reference.
        metric: in place of both, of jets without classes.
    """
    curves = [metric] if metric else ["clustering_accuracy_batched", "reference_accuracy"]
    query = {
        "runs": _json(list(run_ids)),
        "metric": _json(curves[0]),
        "experiments": _json([experiment_id]),
        "plot_metric_keys": _json(curves),
        "plot_layout": "{}",
        "x_axis": "step",
        "y_axis_scale": "linear",
        "line_smoothness": "1",
        "show_point": "false",
        "deselected_curves": "[]",
        "last_linear_y_axis_range": "[]",
        "workflowType": "machine_learning",
    }
    return f"{base.rstrip('/')}/#/metric?{urlencode(query, quote_via=quote)}"


def comparison_page(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """Return the page that compares runs: parallel coordinates, scatter and contour plots.

    >>> comparison_page("http://h:5000", "1", ["a"]).partition("&w")[0]
    'http://h:5000/#/compare-runs?runs=%5B%22a%22%5D&experiments=%5B%221%22%5D'
    """
    query = {
        "runs": _json(list(run_ids)),
        "experiments": _json([experiment_id]),
        "workflowType": "machine_learning",
    }
    return f"{base.rstrip('/')}/#/compare-runs?{urlencode(query)}"


def runs_page(base: str, experiment_id: str, key: str) -> str:
    """Return the page with the table of a study's trials, the best first: a view that is shared.

    Args:
        base: of the server.
        experiment_id: of the runs.
        key: of the view.

    >>> runs_page("http://h:5000/", "1", "jets-65e2b9").partition("&")[0]
    'http://h:5000/#/experiments/1/runs?viewStateShareKey=jets-65e2b9'
    """
    query = urlencode({"viewStateShareKey": key, "workflowType": "machine_learning"})
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def view_key(record: StudyRecord) -> str:
    """Return the key of a study's view, unlike that of another study of the same name."""
    return f"{record.name}-{record.study_id[:6]}"


def trials_view(record: StudyRecord, run_id: str) -> str:
    """Return the state of MLflow's interface that shows a study's trials and nothing else.

    The table has no row of the study's own run, is ordered as `status` ranks trials, and has
    accuracies and hyperparameters as columns.

    Args:
        record: of the study.
        run_id: of the study's run.
    """
    objective = record.objective
    beside = ["clustering_accuracy"] if record.is_labelled else []
    names = dict.fromkeys((objective.metric, *beside))
    # Of several seeds `best_` is the first one's, and `status` ranks by their mean.
    ranking = f"{'mean' if objective.seeds_per_trial > 1 else 'best'}_{objective.metric}"
    best = dict.fromkeys((ranking, *(f"best_{name}" for name in names), "best_epoch"))
    columns = [f"metrics.`{name}`" for name in best]
    last = ["clustering_accuracy_batched"] if record.is_labelled else ["silhouette", "stability"]
    columns += [*(f"metrics.`{name}`" for name in last), "tags.`ucluster_tune.outcome`"]
    columns += [f"params.`{name}`" for name in record.config.get("search_space", {})]
    return _json(
        {
            "searchFilter": f"tags.`mlflow.parentRunId` = '{run_id}'",
            "orderByKey": f"metrics.`{ranking}`",
            "orderByAsc": objective.direction == "minimize",
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "selectedColumns": columns,
        }
    )


def compared_runs(record: StudyRecord, at_most: int = N_COMPARED) -> list[str]:
    """Return the run ids of the study's trials, in order of trial; of many, the best ones."""
    lowest = (False, float("-inf"))
    tracked = [(trial, trial.run_id) for trial in record.trials.values() if trial.run_id]
    by_rank = sorted(tracked, key=lambda pair: pair[0].rank or lowest, reverse=True)
    return [run_id for _, run_id in sorted(by_rank[:at_most], key=lambda pair: pair[0].id)]


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
