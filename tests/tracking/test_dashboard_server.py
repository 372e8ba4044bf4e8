"""Optuna's dashboard shows a study, and says what is missing."""

import json
import sys
import threading
from pathlib import Path
from urllib.request import urlopen

import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from ucluster_tune.errors import StudyError
from ucluster_tune.tracking.dashboards.server import dashboard_server
from ucluster_tune.tracking.dashboards.stores import DashboardFile


def test_a_study_is_on_its_page(tmp_path: Path) -> None:
    store = DashboardFile(tmp_path / "optuna.db", "jets")
    storage, study_id = store.create([StudyDirection.MAXIMIZE])
    storage.create_new_trial(study_id, create_trial(state=TrialState.COMPLETE, value=0.7))
    with dashboard_server(store, "127.0.0.1", 0) as (server, address):
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        try:
            with urlopen(address, timeout=20) as answer:
                assert b"<html" in answer.read()
            asked = address.replace("/dashboard/", "/api/")
            with urlopen(asked, timeout=20) as answer:
                study = json.load(answer)
            assert study["name"] == "jets"
            assert [trial["values"] for trial in study["trials"]] == [[0.7]]
        finally:
            server.shutdown()
            serving.join(20)


def test_a_study_without_a_file_is_told(tmp_path: Path) -> None:
    store = DashboardFile(tmp_path / "optuna.db", "jets")
    with (
        pytest.raises(StudyError, match=r"holds no study yet; `ucluster-tune repair"),
        dashboard_server(store, "127.0.0.1", 0),
    ):
        pytest.fail("nothing is to be shown")


def test_what_is_to_be_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    store = DashboardFile(tmp_path / "optuna.db", "jets")
    with (
        pytest.raises(StudyError, match="optuna-dashboard is not installed"),
        dashboard_server(store, "127.0.0.1", 0),
    ):
        pytest.fail("nothing is to be shown")
