"""How many trials fit, against trying to place every single worker."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ucluster_tune.config.capacity import (
    ClusterCapacity,
    NodeCapacity,
    n_trials_at_a_time,
)
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.config.plan import (
    Machine,
    fit_study,
    on_these_nodes,
    wait_for_nodes,
    with_workers,
)
from ucluster_tune.config.study import ResourcesConfig, StudyConfig
from ucluster_tune.config.trial import TrainingConfig
from ucluster_tune.errors import ConfigurationError, MachineError

HEAD, GPU_NODE = NodeCapacity(4, 0), NodeCapacity(8, 1)
LABORATORY = ClusterCapacity((HEAD, GPU_NODE, GPU_NODE))


def concurrent_trials(study, where):
    return fit_study(study, where).n_at_a_time


def study_with(n_trials=100, **resources):
    return StudyConfig.model_validate(
        {"data": {"path": "/jets"}, "budget": {"n_trials": n_trials}, "resources": resources}
    )


def most_by_trying(rooms, n_workers, placement):
    """The most trials that any way of giving each trial its nodes allows."""
    if placement == "strict_pack":
        ways = [tuple(n_workers * (i == j) for j in range(len(rooms))) for i in range(len(rooms))]
    else:
        most = 1 if placement == "strict_spread" else n_workers
        counts = itertools.product(range(most + 1), repeat=len(rooms))
        ways = [way for way in counts if sum(way) == n_workers]

    def most_from(left):
        after = [tuple(a - b for a, b in zip(left, way, strict=True)) for way in ways]
        return max((1 + most_from(rest) for rest in after if min(rest) >= 0), default=0)

    return most_from(tuple(rooms))


@given(
    rooms=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    n_workers=st.integers(1, 3),
    placement=st.sampled_from(["pack", "spread", "strict_pack", "strict_spread"]),
)
def test_as_many_trials_fit_as_can_be_placed(rooms, n_workers, placement):
    resources = ResourcesConfig(workers_per_trial=n_workers, placement=placement)
    nodes = [NodeCapacity(room, 0) for room in rooms]
    assert n_trials_at_a_time(resources, nodes) == most_by_trying(rooms, n_workers, placement)


def test_a_worker_is_on_one_node():
    assert concurrent_trials(study_with(cpus_per_worker=8.0), LABORATORY) == 2
    with pytest.raises(MachineError) as refused:
        concurrent_trials(study_with(cpus_per_worker=9.0), LABORATORY)  # of 20 CPUs in all
    assert str(refused.value) == (
        "a trial takes 9 CPUs and 0 GPUs, the cluster has 1 node of 4 CPUs, 0 GPUs; 2 nodes of"
        " 8 CPUs, 1 GPUs: lower resources.workers_per_trial, cpus_per_worker or gpus_per_worker"
    )


def test_gpus_limit_trials_too():
    assert concurrent_trials(study_with(gpus_per_worker=1.0), LABORATORY) == 2
    assert concurrent_trials(study_with(gpus_per_worker=0.25), LABORATORY) == 8
    pair = study_with(workers_per_trial=2, gpus_per_worker=1.0)
    assert concurrent_trials(pair, LABORATORY) == 1
    together = study_with(workers_per_trial=2, gpus_per_worker=1.0, placement="strict_pack")
    with pytest.raises(MachineError, match=r"\(strict_pack\).*or choose another resources\.plac"):
        concurrent_trials(together, LABORATORY)


def test_where_nodes_may_be_added_one_trial_more_than_fits_is_begun_and_none_is_refused():
    growing = ClusterCapacity((HEAD,), may_grow=True)
    assert concurrent_trials(study_with(gpus_per_worker=1.0), growing) == 1
    limited = study_with(gpus_per_worker=1.0, max_concurrent_trials=5)
    assert concurrent_trials(limited, growing) == 5
    assert concurrent_trials(study_with(), growing) == 5
    nodes = "(1 node of 4 CPUs, 0 GPUs; and what its autoscaler may add)"
    assert wait_for_nodes(limited, growing) == (
        "A trial takes 1 CPUs and 1 GPUs: no room yet, so trials wait until nodes are added"
        f" {nodes}"
    )
    assert wait_for_nodes(study_with(), growing) == (
        "A trial takes 1 CPUs and 0 GPUs: room for 4 at a time, and for more as nodes are added"
        f" {nodes}"
    )
    assert wait_for_nodes(study_with(n_trials=4), growing) is None


def workers(where, batch=512, **options):
    training = TrainingConfig(global_batch_size=batch)
    study = study_with(**options).model_copy(update={"training": training})
    study, why = with_workers(study, where)
    return study.resources.workers_per_trial, why


def test_workers_that_are_left_open_are_one_each_where_trials_fill_the_nodes():
    two = Machine(n_cpus=2, n_gpus=0)
    assert workers(two, n_trials=12) == (
        1,
        "2 trials side by side are faster than several workers each",
    )
    assert workers(Machine(1, 0)) == (1, "a second one does not fit")
    assert workers(Machine(7, 0), n_trials=4)[0] == 1


def test_workers_that_are_left_open_are_more_where_trials_leave_nodes_empty():
    assert workers(Machine(2, 0), max_concurrent_trials=1) == (
        2,
        "2 fit, and 1 trials run at a time",
    )
    node = NodeCapacity(8, 4)
    cluster = ClusterCapacity((node, node))
    assert workers(cluster, n_trials=3, gpus_per_worker=1.0)[0] == 2
    assert workers(cluster, n_trials=3, gpus_per_worker=1.0, placement="strict_pack")[0] == 2
    assert workers(cluster, n_trials=3, gpus_per_worker=1.0, placement="strict_spread")[0] == 2
    assert workers(cluster, n_trials=1, placement="strict_spread")[0] == 2


def test_workers_that_are_left_open_are_one_where_more_would_not_do():
    assert workers(Machine(8, 0), n_trials=1, batch=128)[0] == 2
    assert workers(Machine(8, 0), n_trials=1, batch=100) == (
        1,
        "a step of 100 jets leaves several fewer than 64 jets each",
    )
    assert workers(Machine(8, 2), n_trials=1, gpus_per_worker=0.5) == (
        1,
        "workers of a trial cannot share a GPU",
    )
    growing = ClusterCapacity((NodeCapacity(8, 0),), may_grow=True)
    assert workers(growing, n_trials=1) == (1, "the autoscaler adds nodes for more trials")


def test_number_of_workers_is_settled_with_the_study_and_what_was_told_stays():
    fitted = fit_study(study_with(max_concurrent_trials=1), Machine(2, 0))
    assert fitted.asked.resources.workers_per_trial == 2
    assert (fitted.n_at_a_time, fitted.fitted) == (1, {})
    told = study_with(workers_per_trial=3)
    assert with_workers(told, Machine(2, 0)) == (told, "")


def test_no_gpu_is_asked_for_where_there_is_none_and_the_cpu_will_do():
    wanted = study_with(gpus_per_worker=1.0)
    with pytest.raises(MachineError, match="a trial takes 1 CPUs and 1 GPUs, this machine has"):
        concurrent_trials(wanted, Machine(n_cpus=4, n_gpus=0))
    flexible = study_with(gpus_per_worker=1.0, cpu_fallback=True)
    assert concurrent_trials(flexible, Machine(n_cpus=4, n_gpus=0)) == 4
    assert on_these_nodes(flexible, Machine(4, 0)).resources.gpus_per_worker == 0
    assert on_these_nodes(wanted, Machine(4, 0)) is wanted
    assert on_these_nodes(flexible, LABORATORY) is flexible
    assert concurrent_trials(flexible, LABORATORY) == 2


@pytest.mark.parametrize(
    ("resources", "fault"),
    [
        ({"gpus_per_worker": 2.0}, "must be at most 1, since a worker trains on one GPU, got 2"),
        (
            {"gpus_per_worker": 0.5, "workers_per_trial": 2},
            "must be 0 or 1 with 2 workers_per_trial, since workers of a trial cannot share a GPU",
        ),
        ({"gpus_per_worker": 0.001}, "must be 0 or at least 0.01, got 0.001"),
        ({"placement": "packed"}, "Input should be 'pack', 'spread'"),
    ],
)
def test_resources_that_make_no_sense_are_refused(resources, fault):
    with pytest.raises(ValidationError, match=re.escape(fault)):
        study_with(**resources)


def test_faults_of_resources_name_their_place_in_the_file(tmp_path):
    file = tmp_path / "half.yaml"
    file.write_text(
        "data: {path: /jets}\n"
        "resources: {workers_per_trial: 2, gpus_per_worker: 0.5, placement: packed}\n"
    )
    with pytest.raises(ConfigurationError) as refused:
        load_study_config(file)
    places = [fault.partition(":")[0] for fault in refused.value.faults]
    assert sorted(places) == ["resources.gpus_per_worker", "resources.placement"]
    assert "did you mean pack" in str(refused.value) or "one of" in str(refused.value)


def test_what_was_asked_for_and_what_runs_are_both_kept():
    flexible = study_with(workers_per_trial=1, gpus_per_worker=1.0, cpu_fallback=True)
    study = fit_study(flexible, Machine(4, 0))
    assert study.asked is flexible
    assert study.fitted == {"resources.gpus_per_worker": 0.0}
    assert study.config.resources.gpus_per_worker == 0
    moved = study.reading("/made")
    assert (moved.asked.data.path, moved.config.data.path) == ("/made", "/made")
    assert moved.fitted == study.fitted
    assert fit_study(flexible, LABORATORY).fitted == {}
