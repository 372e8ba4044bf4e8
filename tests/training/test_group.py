"""Training by a group of Horovod workers, each with jets of its own."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tests.small_datasets import write_jets
from tests.training.horovod_ranks import run_ranks
from tests.training.small_training import MODEL, make_trainer, small_config, train, without_times
from ucluster_tune.data.reading.dataset import open_dataset
from ucluster_tune.model.abcnet import build_abcnet
from ucluster_tune.training.checkpoint import read_checkpoint
from ucluster_tune.training.group import OneWorker

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

SEVERAL = 3
N_TRAIN, N_VALIDATION = 61, 32  # two and three ranks get uneven shares
SEVERAL_STEPS, SYNCHRONIZED, APART, STREAMED = 0, 1, 2, 3
N_JOBS = {1: 3, 2: 1, SEVERAL: 4}  # by world size; what two do otherwise, three do too
IN_SEVERAL_STEPS = [*((size, SEVERAL_STEPS) for size in N_JOBS), (SEVERAL, STREAMED)]
LIMIT_S = 240.0


def three_steps(folder):
    return small_config(
        folder, global_batch_size=64, n_pretraining_epochs=3, adam_epsilon=1e-2, learning_rate=0.1
    )


def with_batch_norm(config, synchronized):
    model = config.model.model_copy(update={"synchronized_batch_norm": synchronized})
    return config.model_copy(update={"model": model})


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """Three epochs over both phases in several steps each; three steps over all jets, with and
    without synchronised batch norm; and the first on streamed jets, which three workers alone
    train.

    In the second and third, a large epsilon keeps Adam from blowing up the rounding of small
    gradients.
    """
    folder = write_jets(tmp_path_factory.mktemp("data") / "jets", N_TRAIN, N_VALIDATION)
    return [
        (small_config(folder, n_epochs=3, n_pretraining_epochs=1), 3),
        *(
            (with_batch_norm(three_steps(folder), synchronized), 3)
            for synchronized in (True, False)
        ),
        (small_config(folder, n_epochs=3, n_pretraining_epochs=1, shuffle_buffer_jets=8), 3),
    ]


@pytest.fixture(scope="module")
def ranks(configs, tmp_path_factory):
    """By world size: for each of the configurations, what each rank wrote."""

    def read(folder, job, rank):
        stem = f"job-{job}-rank-{rank}"
        return SimpleNamespace(
            records=json.loads((folder / f"{stem}.json").read_text()),
            checkpoint=read_checkpoint(folder / f"{stem}.ckpt"),
            after_first_epoch=read_checkpoint(folder / f"{stem}-first.ckpt"),
        )

    written = {}
    for world_size, n_jobs in N_JOBS.items():
        folder = tmp_path_factory.mktemp(f"ranks-{world_size}")
        run_ranks(world_size, configs[:n_jobs], folder, LIMIT_S)
        written[world_size] = [
            [read(folder, job, rank) for rank in range(world_size)] for job in range(n_jobs)
        ]
    return written


@pytest.mark.parametrize(("world_size", "job"), IN_SEVERAL_STEPS)
def test_all_ranks_end_with_identical_weights(ranks, world_size, job):
    first, *others = (rank.checkpoint for rank in ranks[world_size][job])
    assert np.isfinite(first.parameters).all()
    for other in others:
        for name in ("parameters", "averages", "first_moment", "second_moment"):
            assert np.array_equal(getattr(first, name), getattr(other, name)), name


@pytest.mark.parametrize(("world_size", "job"), IN_SEVERAL_STEPS)
def test_all_ranks_make_the_same_steps(ranks, world_size, job):
    n_steps = {rank.checkpoint.n_steps for rank in ranks[world_size][job]}
    assert n_steps == {9}


@pytest.mark.parametrize(("world_size", "job"), IN_SEVERAL_STEPS)
def test_each_validation_jet_is_counted_once_on_all_ranks(ranks, configs, world_size, job):
    counts = open_dataset(configs[0][0].data).counts("validation")
    for rank in ranks[world_size][job]:
        assert rank.records == ranks[world_size][job][0].records
        for record in rank.records:
            assert np.sum(record["confusion"], axis=0).tolist() == list(counts.values())


def test_one_horovod_worker_is_one_plain_process(ranks, configs):
    """One code path: the same numbers with and without Horovod."""
    config, n_epochs = configs[SEVERAL_STEPS]
    records, checkpoints = train(make_trainer(config, OneWorker()), n_epochs)
    rank = ranks[1][SEVERAL_STEPS][0]
    assert rank.records == [json.loads(json.dumps(without_times(r))) for r in records]
    assert rank.checkpoint.n_steps == checkpoints[-1].n_steps
    # The processes have different numbers of threads, so that sums round differently.
    found, wanted = rank.checkpoint.parameters, checkpoints[-1].parameters
    assert np.abs(found - wanted).max() < 1e-4


class OneOfSeveral(OneWorker):
    """A worker that reads its share, but hears nothing of the others."""

    def __init__(self, rank, world_size):
        self.rank, self.world_size = rank, world_size


@pytest.fixture(scope="module")
def alone(configs):
    """The first step of each rank over its share of all jets, by itself."""
    return [
        train(make_trainer(configs[APART][0], OneOfSeveral(rank, SEVERAL)), 1)
        for rank in range(SEVERAL)
    ]


def test_gradient_is_the_mean_over_the_jets_of_all_ranks(ranks, configs, alone):
    """Adam's first moment after one step is a tenth of the gradient, which is a sum over jets.

    Ranks have unequal numbers of jets, so a plain mean over ranks would be another number.
    """
    n_jets = open_dataset(configs[APART][0].data).n_jets_by_rank("train", SEVERAL)
    assert len(set(n_jets)) > 1, "the shares must be uneven"
    gradients = [checkpoints[0].first_moment for _, checkpoints in alone]
    wanted = np.average(gradients, axis=0, weights=n_jets)
    unweighted = np.mean(gradients, axis=0)
    found = ranks[SEVERAL][APART][0].after_first_epoch.first_moment
    error = np.abs(found - wanted).max()
    assert error < 1e-5 * np.abs(wanted).max()
    assert error < 0.1 * np.abs(unweighted - wanted).max()


def test_batch_norm_averages_are_those_of_the_whole_batch(ranks):
    """Exactly so for the mean of the first layer, on whose input no batch norm acts."""
    averages = build_abcnet(MODEL).averages
    of_all, of_one = (
        averages.to_arrays(ranks[size][APART][0].after_first_epoch.averages)
        for size in (SEVERAL, 1)
    )
    name = "first_attention/edge/mean"
    assert np.abs(of_one[name]).max() > 1e-3
    assert np.abs(of_all[name] - of_one[name]).max() < 1e-6
    # Other ones are near: ranks see less than the whole batch, so their variances are smaller.
    variance = "first_attention/edge/variance"
    assert of_all[variance] == pytest.approx(of_one[variance], rel=0.1)


def departure(found, wanted):
    return np.abs(found - wanted).max() / np.abs(wanted).max()


def test_with_synchronised_batch_norm_ranks_follow_one_rank_to_rounding(ranks):
    """Three steps over the same jets, by one rank and by several with uneven shares of them."""
    one, several = ranks[1][SYNCHRONIZED][0], ranks[SEVERAL][SYNCHRONIZED][0]
    apart = ranks[SEVERAL][APART][0]
    start = build_abcnet(MODEL).initial_parameters(seed=1)
    moved = np.abs(one.checkpoint.parameters - start).max()
    assert moved > 0.01
    for name in ("parameters", "averages", "first_moment"):
        vectors = [getattr(r.checkpoint, name) for r in (several, one, apart)]
        assert departure(vectors[0], vectors[1]) < 2e-5, name
        assert departure(vectors[2], vectors[1]) > 1e-3, f"{name}: nothing to synchronise"
    for mine, theirs in zip(several.records, one.records, strict=True):
        assert mine["focal_loss"] == pytest.approx(theirs["focal_loss"], rel=1e-5)


def test_one_rank_has_nothing_to_synchronise(ranks):
    one, plain = ranks[1][SYNCHRONIZED][0].checkpoint, ranks[1][APART][0].checkpoint
    assert departure(one.parameters, plain.parameters) < 1e-6


def test_without_it_they_depart_as_far_as_their_own_moments_explain(ranks, configs, alone):
    """Each rank normalises with the moments of its own jets. Put together from ranks that hear
    nothing of each other, loss and gradient of the first step are those of the group."""
    n_jets = open_dataset(configs[APART][0].data).n_jets_by_rank("train", SEVERAL)
    losses = [records[0].focal_loss for records, _ in alone]
    explained = np.average(losses, weights=n_jets)
    found, one = (ranks[size][APART][0].records[0]["focal_loss"] for size in (SEVERAL, 1))
    assert found == pytest.approx(explained, rel=1e-5)
    assert abs(found - one) > 1e-4 * one
    synchronized = ranks[SEVERAL][SYNCHRONIZED][0].records[0]["focal_loss"]
    assert synchronized == pytest.approx(one, rel=1e-5)
