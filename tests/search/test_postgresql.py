"""MLflow's runs and Optuna's dashboards on a real PostgreSQL server, away for a while."""

import json
import logging
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial
from sqlalchemy.pool import NullPool

from tests import small_study
from tests.agreement import assert_mlflow_agrees, assert_optuna_agrees
from tests.postgresql_server import PostgresqlServer
from tests.study_events import study_config
from tests.told_study import ToldStudy
from ucluster_tune.config.study import TrackingConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.study.journal import read_record
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.tracking.dashboards import copy as dashboard_copy
from ucluster_tune.tracking.dashboards.stores import DashboardDatabase
from ucluster_tune.tracking.mlflow.check import check_tracking
from ucluster_tune.tracking.mlflow.server import choose_port
from ucluster_tune.tracking.mlflow.tracker import Tracker

SERVER_SCRIPT = Path(__file__).parents[2] / "scripts" / "mlflow_server.sh"
SPACE = {"loss.clustering_weight": {"type": "float", "low": 0.1, "high": 10.0, "log": True}}


def wait_until(happens: Callable[[], Any], timeout_s: float = 100) -> None:
    deadline = time.monotonic() + timeout_s
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def opened(server: PostgresqlServer, url: str) -> optuna.storages.RDBStorage:
    """The storage, as a dashboard opens it; its connections end after use."""
    return optuna.storages.RDBStorage(
        server.with_password(url), engine_kwargs={"poolclass": NullPool}
    )


def trials(server: PostgresqlServer, store: DashboardDatabase, url: str) -> list[FrozenTrial]:
    """The trials that a dashboard shows."""
    return optuna.load_study(study_name=store.name, storage=opened(server, url)).trials


def shown(server: PostgresqlServer, store: DashboardDatabase, url: str) -> list[str]:
    """The states of the trials that a dashboard shows."""
    return [trial.state.name for trial in trials(server, store, url)]


def n_written(store: DashboardDatabase) -> int:
    found = store.find()
    return len(found[2]) if found else 0


def run(study: ToldStudy, trial: str) -> None:
    """Tell of a whole trial."""
    point = study.ask(trial)
    study.report(trial, 1, float(point["loss.clustering_weight"]))
    study.tell(trial, "complete")


@pytest.mark.slow
def test_a_server_that_is_away_for_a_while_is_caught_up(
    postgresql_server: PostgresqlServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(dashboard_copy, "_RETRY_AFTER_S", 0.3)
    url = postgresql_server.make_database()
    store = DashboardDatabase(url, "jets", "0123456789")
    sampler = ToldStudy(study_config(search_space=SPACE), None, store)
    run(sampler, "0001")
    sampler.ask("0002")
    wait_until(lambda: n_written(store) == 2)
    postgresql_server.stop()
    try:
        with caplog.at_level(logging.WARNING):
            sampler.report("0002", 1, 0.5)
            run(sampler, "0003")
            wait_until(lambda: caplog.records)
    finally:
        postgresql_server.start()
    wait_until(lambda: n_written(store) == 3)
    sampler.report("0002", 2, 0.6)
    sampler.tell("0002", "stopped_early")
    sampler.close()
    assert shown(postgresql_server, store, url) == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert trials(postgresql_server, store, url)[1].intermediate_values == {1: 0.5, 2: 0.6}
    assert postgresql_server.password not in caplog.text


@pytest.mark.slow
def test_studies_of_one_name_do_not_meet_and_each_goes_on_where_it_was(
    postgresql_server: PostgresqlServer,
) -> None:
    url = postgresql_server.make_database()
    config = study_config(search_space=SPACE)
    stores = [DashboardDatabase(url, "jets", study_id) for study_id in ("1" * 32, "2" * 32)]
    studies = [ToldStudy(config, None, store) for store in stores]
    for study in studies:
        run(study, "0001")
        run(study, "0002")
        study.close()
    again = ToldStudy(config, studies[0].record, stores[0])
    again.ask("0003")
    again.close()
    shorter = ToldStudy(config)
    run(shorter, "0001")
    ToldStudy(config, shorter.record, stores[1]).close()
    assert shown(postgresql_server, stores[0], url) == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert shown(postgresql_server, stores[1], url) == ["COMPLETE"]  # as its record says
    stores[0].delete()
    assert optuna.get_all_study_names(opened(postgresql_server, url)) == [stores[1].name]


def test_a_database_that_cannot_be_used_is_told_with_the_way_out(
    postgresql_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = postgresql_server.make_database()
    start = time.monotonic()
    port = f":{postgresql_server.port}"
    for wrong, message in {
        url + "x": r"database \"made\d+x\" does not exist; make it with PostgreSQL's `createdb`",
        url.replace(port, ":1"): "cannot be reached: Connection refused; start it",
        url.replace("+pg8000", ""): r"write postgresql\+pg8000://",
        url.replace("physicist@", "nobody@"): "wants a password, and none was found",
    }.items():
        with pytest.raises(StudyError, match=message):
            Tracker.open(TrackingConfig(uri=wrong), tmp_path)
    monkeypatch.setenv("PGPASSWORD", "hush")
    with pytest.raises(StudyError, match="password authentication failed") as caught:
        Tracker.open(TrackingConfig(uri=url), tmp_path)
    assert "hush" not in str(caught.value)
    assert time.monotonic() - start < 10  # MLflow itself would try for minutes
    rows = check_tracking(TrackingConfig(uri=url, optuna_storage=url), tmp_path)
    assert [(row.check, row.ok) for row in rows] == [("MLflow", False), ("Optuna", False)]
    monkeypatch.delenv("PGPASSWORD")
    rows = check_tracking(TrackingConfig(uri=url, optuna_storage=url), tmp_path)
    assert [(row.check, row.ok) for row in rows] == [("MLflow", True), ("Optuna", True)]


@pytest.mark.cluster
def test_search_with_an_optuna_database_that_is_away_does_not_begin(
    jets_parquet: Path, tmp_path: Path
) -> None:
    file = small_study.write_study(
        tmp_path / "jets.yaml",
        jets_parquet,
        tracking={"optuna_storage": "postgresql+pg8000://ann@127.0.0.1:1/optuna"},
    )
    done = small_study.call("run", file, "--studies-dir", tmp_path / "studies")
    assert done.returncode == 1
    assert "Optuna's database postgresql+pg8000://ann@127.0.0.1:1/optuna" in done.stderr
    assert "cannot be reached" in done.stderr
    assert not (tmp_path / "studies" / "jets").exists()


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Where Ray keeps its logs; a short path, since sockets lie there."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.cluster
def test_search_outlasts_its_databases_absence_and_no_password_is_left_anywhere(
    postgresql_server: PostgresqlServer, jets_parquet: Path, tmp_path: Path, ray_folder: Path
) -> None:
    runs, dashboards = postgresql_server.make_database(), postgresql_server.make_database()
    file = small_study.write_study(
        tmp_path / "jets.yaml",
        jets_parquet,
        search_space=SPACE,
        budget={"n_trials": 2},
        resources={"workers_per_trial": 1, "max_concurrent_trials": 1},
        tracking={"uri": runs},
    )
    paths = StudiesFolder(tmp_path / "studies").study("jets")
    search = small_study.RunningCommand(
        tmp_path,
        *("run", file, "--studies-dir", tmp_path / "studies"),
        UCLUSTER_TUNE_OPTUNA_STORAGE=postgresql_server.with_password(dashboards),
        RAY_TMPDIR=str(ray_folder),
    )

    def epochs(trial: str) -> int:
        lines = paths.record.read_text().splitlines() if paths.record.exists() else []
        events = [json.loads(line) for line in lines]
        return sum(e["event"] == "epoch" and e["trial"] == trial for e in events)

    try:
        wait_until(lambda: epochs("0001") > 0)
        assert not small_study.processes_mentioning(postgresql_server.password)
        postgresql_server.stop()
        try:
            wait_until(lambda: epochs("0002") > 0)
        finally:
            postgresql_server.start()
        assert search.end() == 0, search.err.read_text()
    finally:
        search.kill()

    record = read_record(paths.record)
    assert record.state == "complete"
    assert "MLflow is behind the record" in paths.log.read_text()
    assert "for dashboards, is behind the search" in paths.log.read_text()
    assert "is behind" not in search.err.read_text()  # all was sent in time
    assert_mlflow_agrees(record)
    store = DashboardDatabase(dashboards, "jets", record.study_id)
    assert_optuna_agrees(record, postgresql_server.with_password(dashboards), store.name)
    assert not paths.optuna_db.exists()

    written = [path for folder in (tmp_path / "studies", ray_folder) for path in folder.rglob("*")]
    texts = [path.read_bytes() for path in [*written, search.out, search.err] if path.is_file()]
    texts += [postgresql_server.dump(url).encode() for url in (runs, dashboards)]
    assert len(texts) > 20
    assert not any(postgresql_server.password.encode() in text for text in texts)

    deleted = small_study.call(
        *("delete", "jets", "--yes", "--studies-dir", tmp_path / "studies"),
        variables={"UCLUSTER_TUNE_OPTUNA_STORAGE": dashboards},
    )
    assert deleted.returncode == 0, deleted.stderr
    assert f"study {store.name} of {dashboards}: deleted" in deleted.stdout
    assert optuna.get_all_study_names(opened(postgresql_server, dashboards)) == []


@pytest.mark.slow
def test_the_mlflow_server_of_a_cluster_takes_the_password_from_its_file(
    postgresql_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url, port = postgresql_server.make_database(), choose_port("127.0.0.1", None)
    variables = {"MLFLOW_BACKEND_STORE_URI": url, "UCLUSTER_TUNE_MLFLOW_PORT": str(port)}

    def start(**others: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SERVER_SCRIPT, tmp_path / "mlflow", tmp_path / "artifacts"],
            env=small_study.environment() | variables | others,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    refused = start(PGPASSWORD="hush")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: MLflow's database postgresql+pg8000://physicist@127")
    assert refused.stderr.count("\n") == 1
    address = f"http://127.0.0.1:{port}"
    try:
        started = start()
        assert started.returncode == 0, started.stderr
        assert started.stdout.startswith(f"MLflow answers at {address}, its log is ")
        assert start().stdout == f"MLflow answers at {address} already\n"
        assert not small_study.processes_mentioning(postgresql_server.password)
        tracker = Tracker.open(TrackingConfig(uri=address), tmp_path)
        run_id = tracker.start_study("jets", {}, {"study_id": "0123"})
    finally:
        for process in small_study.processes_mentioning(f"--port {port}"):
            process.kill()
    assert run_id in postgresql_server.dump(url)
    log = (tmp_path / "mlflow" / "mlflow.log").read_text()
    assert postgresql_server.password not in log + started.stdout + started.stderr
