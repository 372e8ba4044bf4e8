"""A search on a cluster of three machines, from `ray up` to `ray down`, with all that befalls it.

The tests are the chapters of one story: each begins where the one before it ended. The machines
are hosts in namespaces (`tests.cluster.hosts`): a head and two workers of one CPU each, and a
laptop that is no part of the cluster and at which all commands are typed.
"""

import json
import re
import signal
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.cluster import hosts
from tests.cluster.hosts import HOME, Host, laboratory
from tests.cluster.launched_cluster import JETS, STUDIES, LaunchedCluster
from tests.small_study import small_study, write_small_dataset
from ucluster_tune.study.journal import read_record
from ucluster_tune.study.paths import StudiesFolder

NEEDS_HOSTS = hosts.why_not()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.hosts,
    pytest.mark.skipif(NEEDS_HOSTS is not None, reason=str(NEEDS_HOSTS)),
]

NAME = "story"
N_EPOCHS = 50_000  # it is stopped at the end
REFUSALS = ("401", "403", "UNAUTHENTICATED")
OF_TRIAL = ("ray::BaseHorovo", "ray::ResourceTr")  # as `ss` cuts them: workers, trainable
OF_RAY = re.compile(r"ray|gcs_server|dashboard|mlflow", re.IGNORECASE)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The hosts, before `ray up`; all are gone at the end, whatever happened."""
    with laboratory(tmp_path_factory.mktemp("lab")) as lab:
        write_small_dataset(lab.shared / "jets")
        made = LaunchedCluster(lab)
        study = small_study(
            Path(JETS),
            training={"n_epochs": N_EPOCHS, "n_pretraining_epochs": 2},
            failures={"max_retries": 0},
        )
        made.laptop.write_home("story.yaml", yaml.safe_dump(study))
        yield made


@pytest.fixture(autouse=True)
def in_order(request):
    """A chapter is not told where one before it failed."""
    session = request.session
    if session.testsfailed > getattr(session, "_failed_before_the_story", session.testsfailed):
        pytest.skip("an earlier chapter failed")
    session._failed_before_the_story = session.testsfailed


@pytest.fixture
def trial(cluster):
    """Gives the only trial as the study's record tells it now."""
    paths = StudiesFolder(cluster.laboratory.shared / "studies").study(NAME)
    return lambda: read_record(paths.record).trials["0001"]


def wait_until(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not in {timeout_s:g} s: {what}"
        time.sleep(0.3)


def workers_log(cluster: LaunchedCluster) -> str:
    study = cluster.laboratory.shared / "studies" / NAME
    return (study / "trials" / "0001" / "workers.log").read_text(encoding="utf-8")


def taking_part(cluster: LaunchedCluster) -> list[Host]:
    """The hosts on which the workers of the trial were last started."""
    names = re.findall(r"rank [01] of 2 on (\S+)", workers_log(cluster))[-2:]
    return [cluster.laboratory.hosts[name] for name in names]


def test_ray_up_starts_every_machine_with_a_token(cluster):
    told = cluster.up()
    assert "MLflow answers at http://127.0.0.1:5000" in told
    assert cluster.token not in told
    for host in cluster.nodes:
        assert (host.home / ".ray" / "auth_token").stat().st_mode & 0o077 == 0


def asked_by_a_stranger(
    cluster: LaunchedCluster, host: Host, ports: Iterable[int]
) -> list[dict[str, Any]]:
    """What ports of a host answer to the laptop, without the token and with a wrong one."""
    words = f"python -m tests.cluster.stranger {host.address}"
    asked = cluster.laptop.run(" ".join([words, *map(str, sorted(ports))]))
    told: list[dict[str, Any]] = json.loads(asked.stdout)
    return told


def test_only_ray_is_open_to_other_machines_and_only_with_the_token(cluster):
    listening = cluster.head.listening()
    for port in (8265, 5000):  # the Jobs interface, MLflow
        assert {address for address, other in listening if other == port} == {"127.0.0.1"}
    ports = {port for address, port in listening if address != "127.0.0.1"}
    told = asked_by_a_stranger(cluster, cluster.head, ports)
    assert len(told) == 2 * len(ports)
    n_refusing = 0
    for asked in told:
        for call, answer in asked["answers"].items():
            if answer.startswith(REFUSALS):
                n_refusing += 1
            else:  # numbers for a monitoring system, to which Ray helps everybody
                assert answer.startswith(("200 # HELP ", "405 ")), (asked["port"], call, answer)
    assert n_refusing > 20
    spoken = {asked["port"]: asked["speaks"] for asked in told}
    assert {spoken[6379], spoken[10001]} == {"gRPC"}
    cluster.head.run("ray status")  # is as well as before


def test_without_the_token_nothing_can_be_typed(cluster):
    laptop = cluster.laptop
    laptop.run("mv ~/.ray/auth_token ~/kept_token")
    try:
        code, _, err = cluster.type("cluster check", check=False)
        assert code == 1
        assert "refuses this machine: ~/.ray/auth_token is missing or is not the token" in err
        joined = laptop.run(f"ray status --address {cluster.head.address}:6379", check=False)
        assert joined.returncode
        assert "uthenticat" in joined.stdout + joined.stderr
    finally:
        laptop.run("mv ~/kept_token ~/.ray/auth_token")


def test_check_finds_each_planted_fault(cluster):
    forgetful, other = cluster.workers
    forgetful.forget_own_name()
    other.unmount_shared()
    planted = other.disk / "srv" / "planted" / "horovod-0.27.0.dist-info"
    planted.mkdir()
    (planted / "METADATA").write_text("Metadata-Version: 2.1\nName: horovod\nVersion: 0.27.0\n")
    try:
        code, out, err = cluster.type("cluster check story.yaml --json", 120, check=False)
        refused = cluster.type("run story.yaml", 120, check=False)
    finally:
        (planted / "METADATA").unlink()
        planted.rmdir()
        other.mount_shared()
        forgetful.forget_own_name(False)
    assert refused[0] == 1
    assert "the cluster is not fit for this search: " in refused[1] + refused[2]
    assert not (cluster.laboratory.shared / "studies" / NAME).exists()
    assert code == 1, err
    document = json.loads(out)
    faults = {(row["node"], row["check"]): row for row in document["checks"] if not row["ok"]}
    assert set(faults) == {
        ("worker1", "host name"),
        ("worker2", "Horovod"),
        ("worker2", "studies folder"),
        ("worker2", "data set"),
    }
    assert (
        f"{forgetful.address} worker1` to /etc/hosts" in faults["worker1", "host name"]["remedy"]
    )
    assert faults["worker2", "Horovod"]["found"] == "0.27.0"
    assert f"{STUDIES} does not exist there" in faults["worker2", "studies folder"]["found"]
    assert all(row["remedy"] for row in faults.values())
    checked = {(row["node"], row["check"]) for row in document["checks"]}
    for check in ("Ray", "network", "training"):
        assert {node for node, other in checked if other == check} == {
            "head",
            "worker1",
            "worker2",
        }


def test_search_spans_two_machines_and_outlives_the_laptop(cluster, trial):
    with cluster.start("run story.yaml") as running:
        running.wait_for("trial 0001 epoch 3/", 300)
        assert "On cluster ucluster-tune, head 10.77.0.11, since ray_cluster.yaml" in running.err
        running.kill()
    assert len({host.name for host in taking_part(cluster)}) == 2
    before = trial().epochs
    wait_until(lambda: trial().epochs > before + 3, 60, "epochs without the laptop")


def test_workers_listen_on_their_own_address_or_want_the_token(cluster):
    of_trial: list[tuple[Host, str, int]] = []

    def are_seen() -> bool:
        """A process that changes its title has another name for a moment."""
        of_trial[:] = [
            (host, address, port)
            for host in cluster.nodes
            for name, address, port in host.listeners()
            if name.startswith(OF_TRIAL)
        ]
        return len(of_trial) == 4

    wait_until(are_seen, 20, "a port of each process of the trial, and Horovod's list")
    own = [(host, address) for host, address, _ in of_trial if address != "*"]
    assert [address for _, address in own] == [own[0][0].address]  # Horovod's list of the workers
    rays = [(host, port) for host, address, port in of_trial if address == "*"]
    assert len(rays) == 3  # of each worker, and of the process that waits for them
    for host, port in rays:
        for told in asked_by_a_stranger(cluster, host, [port]):
            assert told["answers"]["CoreWorkerService/PushTask"] == "UNAUTHENTICATED"


def test_study_is_looked_at_from_the_laptop(cluster):
    document = json.loads(cluster.type(f"status {NAME} --json")[1])
    assert (document["state"], document["trials"][0]["outcome"]) == ("running", "running")
    (study,) = json.loads(cluster.type("list --json")[1])
    assert study["name"] == NAME
    assert "rank 1 of 2 on" in cluster.type(f"logs {NAME} --trial 0001 --lines 10000")[1]


def test_pages_of_the_cluster_are_seen_on_the_laptop_until_ctrl_c(cluster):
    laptop = cluster.laptop
    with cluster.start("ui --no-browser") as running:
        running.wait_for("Ctrl-C ends it.")
        lines = running.out.splitlines()
        short = urlsplit(lines[lines.index("Table of its trials:") + 1].strip())
        ask = (
            f"import http.client as web; c = web.HTTPConnection('{short.netloc}');"
            f" c.request('GET', '{short.path}'); print(c.getresponse().headers['Location'])"
        )
        address, _, page = laptop.run(f'python -c "{ask}"').stdout.strip().partition("/#/")
        assert page.startswith("experiments/")
        port = int(address.rpartition(":")[2])
        assert {where for where, other in laptop.listening() if other == port} == {"127.0.0.1"}
        ask = f"import urllib.request as web; print(web.urlopen('{address}/version').read())"
        assert version("mlflow") in laptop.run(f'python -c "{ask}"').stdout
        running.send(signal.SIGINT)
        assert running.end(20) == 0
    assert port not in {other for _, other in laptop.listening()}
    assert not [line for line in laptop.processes().values() if line.startswith("ssh ")]


def test_stop_and_resume_from_the_laptop_where_ctrl_c_ends_the_view_alone(cluster, trial):
    _, out, _ = cluster.type(f"stop {NAME}")
    assert f"Study {NAME} interrupted: 0 of 1 trials done" in out
    before = trial().epochs
    with cluster.start(f"resume {NAME}") as running:
        running.wait_for(f"trial 0001 epoch {before + 2}/", 120)
        running.send(signal.SIGINT)
        assert running.end(20) == 0
        assert (
            "The search goes on on cluster ucluster-tune. Back to it: ucluster-tune status story"
            " --follow\nStop it in order: ucluster-tune stop story\n"
        ) in running.err
    assert trial().restored_epochs == [before]
    before = trial().epochs
    wait_until(lambda: trial().epochs > before + 1, 60, "epochs after Ctrl-C")


def test_power_cut_in_mid_trial_is_no_failure_and_the_machine_comes_back(cluster, trial):
    lost = next(host for host in taking_part(cluster) if host is not cluster.head)
    before = trial().epochs
    lost.power_off()
    wait_until(lambda: trial().n_lost_nodes == 1, 90, "the loss is seen")
    lost.boot()
    wait_until(lambda: trial().epochs > before + 3, 90, "epochs elsewhere")
    assert lost not in taking_part(cluster)
    assert trial().restored_epochs[-1] >= before - 1
    assert (trial().outcome, trial().retry_causes) == ("running", [])
    cluster.wait_for_cpus(3)  # the autoscaler starts Ray there again


def test_cable_cut_for_20_s_is_nothing(cluster, trial):
    cut = next(host for host in taking_part(cluster) if host is not cluster.head)
    cut.cut_cable()
    time.sleep(20)
    cut.plug_in()
    before = trial().epochs
    wait_until(lambda: trial().epochs > before + 3, 60, "epochs after the cut")
    assert (trial().n_lost_nodes, trial().retry_causes) == (1, [])
    assert "/3.0 CPU" in cluster.status()


def test_cable_cut_for_ever_is_a_lost_node(cluster, trial):
    cut = next(host for host in taking_part(cluster) if host is not cluster.head)
    before = trial().epochs
    cut.cut_cable()
    wait_until(lambda: trial().n_lost_nodes == 2, 120, "the loss is seen")
    wait_until(lambda: trial().epochs > before + 3, 90, "epochs elsewhere")
    assert cut not in taking_part(cluster)
    assert (trial().outcome, trial().retry_causes) == ("running", [])


def test_head_that_lost_its_power_carries_its_studies_on_with_one_command(cluster, trial):
    cluster.head.power_off()
    before = trial().epochs
    code, _, err = cluster.type(f"status {NAME} --cluster ray_cluster.yaml", check=False)
    assert code == 1
    assert "10.77.0.11 does not answer by ssh" in err
    cluster.head.boot()
    cluster.up(n_workers=1)  # a cable is still cut
    document = json.loads(cluster.type(f"status {NAME} --json")[1])
    assert (document["state"], document["trials"][0]["epochs"]) == ("interrupted", before)
    _, out, _ = cluster.type("resume --all")
    assert f"Study {NAME} goes on as Ray job {NAME}-" in out
    wait_until(lambda: trial().epochs > before + 3, 90, "epochs on the head's new Ray")
    assert trial().restored_epochs[-1] >= before - 1
    cluster.type(f"stop {NAME}")
    document = json.loads(cluster.type(f"status {NAME} --json")[1])
    assert document["state"] == "interrupted"


def test_no_token_is_written_anywhere(cluster):
    """In no log of Ray or MLflow, in no study; but in the file where Ray wants it."""
    holders = []
    for host in cluster.laboratory.hosts.values():
        for file in host.disk.rglob("*"):
            if (
                file.is_file()
                and not file.is_symlink()
                and cluster.token in file.read_text("latin-1")
            ):
                holders.append(f"{host.name}:{file.relative_to(host.disk)}")
    for file in cluster.laboratory.shared.rglob("*"):
        if file.is_file() and cluster.token in file.read_text("latin-1"):
            holders.append(f"shared:{file}")
    own = f"{HOME}/.ray/auth_token".lstrip("/")
    assert sorted(holders) == sorted(f"{name}:{own}" for name in cluster.laboratory.hosts)


def test_ray_down_leaves_nothing(cluster):
    cluster.down()
    for host in cluster.workers:
        host.plug_in()  # the one whose cable is still cut would miss nobody for minutes

    def left() -> list[str]:
        return [
            f"{host.name}: {line}"
            for host in cluster.nodes
            for line in host.processes().values()
            if OF_RAY.search(line)
        ]

    deadline = time.monotonic() + 80
    while found := left():
        assert time.monotonic() < deadline, "\n".join(found)
        time.sleep(0.5)
    record = cluster.laboratory.shared / "studies" / NAME / "record.jsonl"
    assert record.exists()  # what the search has found stays
