"""What is told of a trial's process that failed; only Ray's errors are made up."""

import errno
import os
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError

from ucluster_tune.errors import TrialError
from ucluster_tune.search.process_loss import failure_of
from ucluster_tune.trial.failures import NodeLostError

ACTOR = "f" * 32
NODES = frozenset({"first", "second"})


def failed_trial(folder: Any, error: Exception | None) -> Any:
    """A trial as Tune leaves it when an actor's call raised an error."""
    (folder / "error.txt").write_text("Failure # 1\na traceback\n")
    if error is not None:
        (folder / "error.pkl").write_bytes(cloudpickle.dumps(error))
    return SimpleNamespace(
        pickled_error_file=str(folder / "error.pkl"), error_file=str(folder / "error.txt")
    )


def told(folder: Any, error: Exception | None, is_over: bool = True) -> tuple[str, str]:
    failure = failure_of(failed_trial(folder, error), NODES, lambda: is_over)
    return failure.kind.name, failure.cause


@pytest.fixture
def living(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """What Ray says of its nodes, one answer after another; the last one stays."""
    answers: list[set[str]] = [set(NODES)]

    def nodes() -> list[dict[str, Any]]:
        names = answers.pop(0) if len(answers) > 1 else answers[0]
        return [{"NodeID": name, "Alive": name in names} for name in NODES]

    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.nodes", nodes)
    monkeypatch.setattr("ucluster_tune.trial.processes.nodes._POLL_S", 0.0)
    return answers


def test_known_error_is_told_as_it_is(tmp_path, living):
    lost = RayTaskError("step", "a page of traceback", NodeLostError("a node was lost"))
    assert told(tmp_path, lost) == ("node_lost", "a node was lost")
    other = RayTaskError("step", "a page of traceback", TrialError("worker 1 died"))
    assert told(tmp_path, other) == ("program", "worker 1 died")


def test_error_that_nobody_foresaw_is_told_with_its_traceback(tmp_path, living):
    error = RayTaskError("step", "a page of traceback", ZeroDivisionError("zero"))
    assert told(tmp_path, error) == ("program", "Failure # 1\na traceback\n")
    at_its_start = RayActorError(actor_init_failed=True)
    assert told(tmp_path, at_its_start)[0] == "program"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_storage_that_takes_nothing_is_told_as_such(tmp_path, living, number):
    error = OSError(number, os.strerror(number), "/studies/jets/trials/0001/workers.log")
    kind, cause = told(tmp_path, RayTaskError("setup", "a page of traceback", error))
    assert kind == "checkpoint"
    assert cause.startswith(f"{error.filename}: cannot be written: {os.strerror(number)}; ")


def test_error_that_tune_does_not_keep_is_about_the_way_to_the_process(tmp_path, living):
    assert told(tmp_path, None)[0] == "worker_lost"


def test_process_that_died_alone_is_no_lost_node(tmp_path, living):
    living[:] = [{"first"}]  # another node is gone
    kind, cause = told(tmp_path, ActorDiedError())
    assert kind == "worker_lost"
    assert "crashed or was killed" in cause


def test_process_that_died_with_its_node_is_a_lost_node(tmp_path, living):
    error = RayActorError(ACTOR, "The actor died because its node has died. Node Id: 12")
    assert told(tmp_path, error)[0] == "node_lost"


def test_process_that_cannot_be_reached_is_waited_for_until_its_node_is_dead(tmp_path, living):
    living[:] = [set(NODES), set(NODES), {"second"}]
    error = ActorUnavailableError("socket closed", bytes.fromhex(ACTOR))
    assert told(tmp_path, error, is_over=False)[0] == "node_lost"


def test_process_that_cannot_be_reached_while_all_nodes_live_is_a_lost_process(tmp_path, living):
    error = ActorUnavailableError("socket closed", bytes.fromhex(ACTOR))
    assert told(tmp_path, error)[0] == "worker_lost"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Failure # 1\n1 worker(s) were killed due to the node running low on memory", "memory"),
        ("Failure # 1\nlow on memory\nFailure # 2\nno answer", "worker_lost"),
    ],
)
def test_process_that_ray_ended_for_want_of_memory_is_told_so(tmp_path, living, words, kind):
    """Tune keeps only the words: see `test_worker_that_ray_ends_for_want_of_memory_...`."""
    trial = failed_trial(tmp_path, None)
    (tmp_path / "error.txt").write_text(words)
    assert failure_of(trial, NODES, lambda: True).kind.name == kind


def test_error_is_told_once_where_a_later_failure_leaves_none(tmp_path, living):
    trial = failed_trial(tmp_path, RayActorError(ACTOR, "its node has died"))
    assert failure_of(trial, NODES, lambda: True).kind.name == "node_lost"
    assert failure_of(trial, NODES, lambda: True).kind.name == "worker_lost"
