"""Addresses of the pages of MLflow's web interface that show a study; only text, no MLflow."""

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from ucluster_tune.study.record import StudyRecord

N_COMPARED = 50  # curves in one picture, and the page asks the server for each run's history


def curves_page(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """Return the page with the accuracy of all given trials by epoch, the reference dashed.

    Both are matched within batches, as the published 81 % is.

    Args:
        base: of the server, such as http://127.0.0.1:5000.
        experiment_id: of the runs.
        run_ids: of the trials, at least one.
    """
    query = {
        "runs": _json(list(run_ids)),
        "metric": _json("clustering_accuracy_batched"),
        "experiments": _json([experiment_id]),
        "plot_metric_keys": _json(["clustering_accuracy_batched", "reference_accuracy"]),
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


def runs_page(base: str, experiment_id: str, study_name: str) -> str:
    """Return the page with the table of a study's trials, the best first.

    >>> runs_page("http://h:5000/", "1", "jets").split("?")[0]
    'http://h:5000/#/experiments/1/runs'
    """
    query = {
        "searchFilter": f"tags.`ucluster_tune.study` = '{study_name}'",
        "orderByKey": "metrics.`clustering_accuracy`",
        "orderByAsc": "false",
        "workflowType": "machine_learning",
    }
    path = f"/#/experiments/{experiment_id}/runs"
    return f"{base.rstrip('/')}{path}?{urlencode(query, quote_via=quote)}"


def compared_runs(record: StudyRecord, at_most: int = N_COMPARED) -> list[str]:
    """Return the run ids of the study's trials, in order of trial; of many, the best ones."""
    lowest = (False, float("-inf"))
    tracked = [(trial, trial.run_id) for trial in record.trials.values() if trial.run_id]
    by_rank = sorted(tracked, key=lambda pair: pair[0].rank or lowest, reverse=True)
    return [run_id for _, run_id in sorted(by_rank[:at_most], key=lambda pair: pair[0].id)]


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
