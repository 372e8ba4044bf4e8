"""Every jet once an epoch over all ranks, in as many steps on each, held or streamed."""

import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.interrupted_server import interruptible
from tests.s3_server import name_s3_server
from tests.small_datasets import ShamSearch, write_jets
from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.feeding.feed import JetFeed
from ucluster_tune.data.feeding.kept_jets import KeptJets
from ucluster_tune.data.format.packed import concatenate
from ucluster_tune.data.reading.dataset import open_dataset
from ucluster_tune.data.reading.sharding import epoch_batches, steps_per_epoch
from ucluster_tune.errors import DataError, UnreachableError

N_TRAIN = 83


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_jets(tmp_path_factory.mktemp("data") / "jets", N_TRAIN, row_group_size=7)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not [t.name for t in threading.enumerate() if t.name.startswith("read ")]


def opened(folder, **selection):
    return open_dataset(DataConfig(path=str(folder), **selection))


def make_feed(dataset, max_jets, rank=0, world_size=1, split="train", search=None):
    return JetFeed(
        dataset,
        split,
        rank,
        world_size,
        max_jets=max_jets,
        search=search or ShamSearch(),
        kept=KeptJets(),
        make_batch=lambda jets, chosen: jets.take(chosen),
    )


@pytest.mark.parametrize("world_size", [1, 3])
def test_part_of_the_training_jets_is_the_same_on_any_number_of_ranks(folder, world_size):
    dataset = opened(folder).training_on(30)
    assert dataset.n_jets("train") == sum(dataset.n_jets_by_rank("train", world_size)) == 30
    assert dataset.n_jets("test") == opened(folder).n_jets("test")
    shares = [dataset.read_share("train", rank, world_size) for rank in range(world_size)]
    masses = np.concatenate([share.mass_gev for share in shares])
    assert np.array_equal(masses, dataset.read_share("train").mass_gev)
    assert set(masses) < set(opened(folder).read_share("train").mass_gev)
    for max_jets in (10, 1000):  # streamed, and held
        feed = make_feed(dataset, max_jets)
        batches = taken(feed.shuffled(3, seed=1, epoch=1))
        assert sorted(np.concatenate([b.mass_gev for b in batches])) == sorted(masses)


def taken(block):
    """The jets of each batch of a block, and that their labels are those of the jets."""
    with block as batches:
        found = list(batches)
    for jets in found:
        assert np.array_equal(jets.mass_gev, jets.batch.mass_gev)
        assert np.array_equal(jets.jet_class, jets.batch.jet_class)
    return [jets.batch for jets in found]


def epoch_of(feed, n_steps, epoch=1, seed=1):
    return taken(feed.shuffled(n_steps, seed, epoch))


def masses(batches):
    return np.concatenate([jets.mass_gev for jets in batches]).tolist()


def same_jets(found, wanted):
    arrays = ("features", "n_rows", "n_padded", "mass_gev", "jet_class")
    return all(np.array_equal(getattr(found, name), getattr(wanted, name)) for name in arrays)


# A window of masses empties some row groups, and leaves different numbers in the others.
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n_jets=st.integers(20, 90),
    row_group_size=st.integers(1, 30),
    world_size=st.integers(1, 5),
    max_jets=st.integers(2, 120),
    batch_size=st.integers(2, 70),
    mass_max_gev=st.sampled_from([172.0, 200.0]),
)
def test_every_jet_once_an_epoch_over_all_ranks(
    tmp_path_factory, n_jets, row_group_size, world_size, max_jets, batch_size, mass_max_gev
):
    folder = write_jets(
        tmp_path_factory.mktemp("jets") / "jets", n_jets, row_group_size=row_group_size
    )
    dataset = opened(folder, mass_max_gev=mass_max_gev)
    n_steps = steps_per_epoch(dataset.n_jets_by_rank("train", world_size), batch_size)
    feeds = [make_feed(dataset, max_jets, rank, world_size) for rank in range(world_size)]
    assert len({feed.is_streamed for feed in feeds}) == 1
    ranks = [epoch_of(feed, n_steps) for feed in feeds]
    assert {len(batches) for batches in ranks} == {n_steps}
    for batches, feed in zip(ranks, feeds, strict=True):
        assert sum(map(len, batches)) == feed.n_jets
        assert max(map(len, batches)) - min(map(len, batches)) <= 1
        assert min(map(len, batches)) >= 1
    together = concatenate([jets for batches in ranks for jets in batches])
    whole = dataset.read_share("train")
    orders = [np.argsort(jets.mass_gev, kind="stable") for jets in (together, whole)]
    assert same_jets(together.take(orders[0]), whole.take(orders[1]))


def test_a_share_that_fits_comes_as_it_always_did(folder):
    dataset = opened(folder)
    feed = make_feed(dataset, N_TRAIN)
    assert not feed.is_streamed
    jets = dataset.read_share("train")
    wanted = [jets.mass_gev[c].tolist() for c in epoch_batches(N_TRAIN, 9, 5, 3, 0)]
    assert [b.mass_gev.tolist() for b in epoch_of(feed, 9, epoch=3, seed=5)] == wanted
    assert make_feed(dataset, N_TRAIN - 1).is_streamed


def test_ranks_agree_on_streaming_though_their_shares_differ(folder):
    """41 and 42 jets, of which 41 would fit."""
    dataset = opened(folder)
    feeds = [make_feed(dataset, 41, rank, 2) for rank in range(2)]
    assert [feed.n_jets for feed in feeds] == [41, 42]
    assert all(feed.is_streamed for feed in feeds)


def test_each_epoch_seed_and_rank_has_an_order_of_its_own_that_comes_again(folder):
    dataset = opened(folder)

    def order(rank, **options):
        return masses(epoch_of(make_feed(dataset, 20, rank, 2), 6, **options))

    first = order(0)
    assert order(0) == first, "another feed, the same order"
    feed = make_feed(dataset, 20, 0, 2)
    assert masses(epoch_of(feed, 6, epoch=2)) == order(0, epoch=2), "whatever was before"
    assert masses(epoch_of(feed, 6, epoch=1)) == first
    for other in (order(0, epoch=2), order(0, seed=2)):
        assert other != first
        assert sorted(other) == sorted(first)


def test_jets_are_mixed_across_row_groups(tmp_path):
    """Row groups of one class each: no batch is of one class, as neighbours in the file are."""
    folder = write_jets(tmp_path / "jets", 600, row_group_size=20)
    whole = opened(folder).read_share("train")
    place = {mass: index // 20 for index, mass in enumerate(whole.mass_gev.tolist())}
    batches = epoch_of(make_feed(opened(folder), 200), 30)
    groups = [len({place[mass] for mass in jets.mass_gev.tolist()}) for jets in batches]
    assert min(groups) >= 3, "five row groups are in a window"
    first, second = (
        [place[mass] for mass in masses(epoch_of(make_feed(opened(folder), 200), 30, epoch=e))]
        for e in (1, 2)
    )
    assert set(first[:100]) != set(second[:100]), "other row groups come first"


@pytest.mark.parametrize("max_jets", [2, 20, 60, 1000])
@pytest.mark.parametrize("batch_size", [1, 8, 64])
def test_in_order_jets_come_as_they_lie(folder, max_jets, batch_size):
    dataset = opened(folder)
    batches = taken(make_feed(dataset, max_jets, 1, 2).in_order(batch_size))
    share = dataset.read_share("train", 1, 2)
    assert same_jets(concatenate(batches), share)
    assert {len(jets) for jets in batches[:-1]} <= {batch_size}


def test_what_is_kept_of_an_epoch_fits_the_buffer(folder):
    dataset = opened(folder)
    assert make_feed(dataset, N_TRAIN).n_kept(12) == 12
    assert make_feed(dataset, 20).n_kept(12) == 12 * 20 // N_TRAIN
    assert make_feed(dataset, 2).n_kept(12) == 1


@pytest.mark.parametrize("max_jets", [20, 1000])
def test_neighbours_are_searched_for_once_a_jet_held_and_each_time_a_jet_streamed(
    folder, max_jets
):
    searched = []
    search = ShamSearch(on_call=lambda jets: searched.append(len(jets)))
    feed = make_feed(opened(folder), max_jets, search=search)
    for epoch in (1, 2):
        epoch_of(feed, 9, epoch)
    assert searched == [N_TRAIN] if max_jets == 1000 else sum(searched) == 2 * N_TRAIN
    assert max_jets == 1000 or max(searched) <= 10, "of the jets of a batch alone"


def test_files_are_read_while_a_batch_is_worked_on(folder):
    """Two batches wait, and more is read ahead for those that follow."""
    ready = threading.Semaphore(0)

    search = ShamSearch(on_call=lambda _jets: ready.release())
    with make_feed(opened(folder), 20, search=search).shuffled(9, 1, 1) as batches:
        next(batches)
        assert all(ready.acquire(timeout=10) for _ in range(3))


def test_a_file_that_vanishes_in_mid_epoch_is_told(tmp_path):
    folder = write_jets(tmp_path / "jets", N_TRAIN, row_group_size=7)
    with make_feed(opened(folder), 20).shuffled(9, 1, 1) as batches:
        next(batches)
        (folder / "train-00000.parquet").unlink()
        with pytest.raises(DataError, match=r"train-00000\.parquet: missing, though the manifest"):
            list(batches)


def test_a_file_that_changes_between_epochs_is_told(tmp_path):
    folder = write_jets(tmp_path / "jets", N_TRAIN, row_group_size=7)
    feed = make_feed(opened(folder), 20)
    epoch_of(feed, 9)
    file = folder / "train-00000.parquet"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(DataError, match="the manifest says"):
        epoch_of(feed, 9, epoch=2)
    write_jets(tmp_path / "others", N_TRAIN, row_group_size=7, max_constituents=5)
    size = open_dataset(DataConfig(path=str(folder.parent / "others"))).manifest.files[0].n_bytes
    assert size
    file.write_bytes(bytes(file.stat().st_size + 8))
    with pytest.raises(DataError, match="not a readable parquet file"):
        epoch_of(feed, 9, epoch=3)


@pytest.fixture
def s3_jets(folder, s3_service, monkeypatch):
    """The same jets in a bucket, behind a connection that can be cut."""
    monkeypatch.setattr("ucluster_tune.storage.locations._SILENCE_TIMEOUT_S", 1.0)
    monkeypatch.setattr("ucluster_tune.storage.locations._MAX_ATTEMPTS", 1)
    monkeypatch.setattr("ucluster_tune.data.feeding.piece_stream._FIRST_PAUSE_S", 0.1)
    s3_service.reset()
    with interruptible(s3_service.port) as line:
        name_s3_server(monkeypatch, line.endpoint)
        s3_service.make_bucket("jets")
        yield s3_service.upload(folder, "jets"), line


def test_jets_in_a_bucket_come_in_the_same_order(folder, s3_jets):
    uri, _ = s3_jets
    found, wanted = (epoch_of(make_feed(opened(place), 20), 9) for place in (uri, folder))
    assert all(same_jets(*pair) for pair in zip(found, wanted, strict=True))


def test_a_storage_that_is_away_for_a_while_costs_no_jet(folder, s3_jets):
    uri, line = s3_jets
    wanted = epoch_of(make_feed(opened(folder), 20), 9)
    found = []
    with make_feed(opened(uri), 20).shuffled(9, 1, 1) as batches:
        found.append(next(batches).batch)
        line.cut()
        threading.Timer(0.7, line.mend).start()
        found += [jets.batch for jets in batches]
    assert line.n_refused > 0, "nothing was asked for while the storage was away"
    assert all(same_jets(*pair) for pair in zip(found, wanted, strict=True))


def test_a_storage_that_stays_away_is_told_within_a_limit(s3_jets, monkeypatch):
    uri, line = s3_jets
    monkeypatch.setattr("ucluster_tune.data.feeding.piece_stream._PATIENCE_S", 0.5)
    started = time.monotonic()
    with make_feed(opened(uri), 20).shuffled(9, 1, 1) as batches:
        next(batches)
        line.cut()
        with pytest.raises(UnreachableError, match=r"does not answer.*asked again for 0\.5 s"):
            list(batches)
    assert time.monotonic() - started < 20
