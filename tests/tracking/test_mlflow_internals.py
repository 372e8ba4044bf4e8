"""Each name of MLflow's that is not promised is one of the MLflow that is installed."""

import json
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.study_events import started, study_config
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.mlflow import mlflow_internals
from ucluster_tune.tracking.mlflow.pages import (
    comparison_page,
    curves_page,
    runs_page,
    trials_view,
)

SPEC = find_spec("mlflow")
assert SPEC is not None
assert SPEC.origin is not None
MLFLOW = Path(SPEC.origin).parent
ENVIRONMENT = {
    **mlflow_internals.NO_REPORTS,
    **mlflow_internals.QUIET,
    **mlflow_internals.NO_GENAI,
    mlflow_internals.SERVER_STORE: "",
}


@pytest.mark.parametrize("name", sorted(ENVIRONMENT))
def test_variable_is_read_by_the_installed_mlflow(name: str) -> None:
    elsewhere = {"DO_NOT_TRACK": "telemetry/utils.py"}
    elsewhere[mlflow_internals.SERVER_STORE] = "cli/__init__.py"
    text = (MLFLOW / elsewhere.get(name, "environment_variables.py")).read_text()
    assert f'"{name}"' in text


def test_columns_that_are_changed_are_those_of_the_tables() -> None:
    from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlRun
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    assert "artifact_location" in SqlExperiment.__table__.columns
    assert SqlExperiment.__tablename__ == "experiments"
    assert "artifact_uri" in SqlRun.__table__.columns
    assert SqlRun.__tablename__ == "runs"
    assert "engine" in SqlAlchemyStore.__init__.__code__.co_names


def test_what_pages_say_is_known_to_the_installed_interface() -> None:
    code = b"".join(file.read_bytes() for file in MLFLOW.glob("server/js/build/static/js/*.js"))
    record = StudyRecord(started(study_config()))
    state = json.loads(trials_view(record, "abc"))
    addresses = [
        curves_page("http://h:1", "7", ["a"]),
        comparison_page("http://h:1", "7", ["a"]),
        runs_page("http://h:1", "7", "key"),
    ]
    asked = [parse_qs(urlsplit(page).fragment.partition("?")[2]) for page in addresses]
    pages = [urlsplit(page).fragment.partition("?")[0].rpartition("/")[2] for page in addresses]
    (tag, kind), *_ = mlflow_internals.MODEL_TRAINING.items()
    names = {*state, *(name for query in asked for name in query), *pages, tag, kind}
    names |= {mlflow_internals.SHARED_VIEW, state["startTime"], state["lifecycleFilter"]}
    assert [name for name in sorted(names) if name.encode() not in code] == []
