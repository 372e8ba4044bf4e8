"""Pieces of row groups one after the other, though the storage is away now and then."""

from itertools import count

import numpy as np
import pytest

from tests.small_datasets import write_jets
from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.feeding.piece_stream import stream_pieces
from ucluster_tune.data.format.packed import concatenate
from ucluster_tune.data.reading.dataset import JetDataset, open_dataset
from ucluster_tune.data.reading.sharding import Piece
from ucluster_tune.errors import DataError, UnreachableError


class Clock:
    """Time that passes by pauses alone."""

    def __init__(self):
        self.now_s, self.pauses_s, self.n_signs = 0.0, [], 0

    def monotonic(self):
        return self.now_s

    def go_on(self):
        self.n_signs += 1

    def pause(self, seconds):
        self.pauses_s.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("ucluster_tune.storage.patience.time", clock)
    return clock


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Row groups of 16 jets, read in blocks of 3."""
    monkeypatch.setattr("ucluster_tune.data.format.parquet_files._JETS_AT_A_TIME", 3)
    return open_dataset(DataConfig(path=str(write_jets(tmp_path / "jets", 60))))


@pytest.fixture
def goes_away(monkeypatch):
    """Has the storage away at some of the times when blocks of jets are asked for."""

    def go_away(away):
        blocks_of, numbers = JetDataset.blocks_of, count(1)

        def blocks_between(*arguments):
            for jets in blocks_of(*arguments):
                if away(next(numbers)):
                    raise UnreachableError("s3://jets: does not answer")
                yield jets

        monkeypatch.setattr(JetDataset, "blocks_of", blocks_between)

    return go_away


PIECES = [Piece(2, 3, 14), Piece(0, 0, 16), Piece(3, 5, 6)]


@pytest.mark.parametrize("n_between", [2, 3, 5])
def test_a_jet_that_was_given_is_not_given_again(dataset, clock, goes_away, n_between):
    wanted = dataset.read_pieces("train", PIECES)
    goes_away(lambda n: n % n_between == 0)
    found = list(stream_pieces(dataset, "train", PIECES, clock, {}))
    assert np.array_equal(concatenate(found).features, wanted.features)
    assert np.array_equal(concatenate(found).mass_gev, wanted.mass_gev)
    assert len(clock.pauses_s) >= 2
    assert clock.n_signs == len(found)


def test_pauses_grow_while_the_storage_is_away_and_start_anew_once_it_answers(
    dataset, clock, goes_away
):
    goes_away(lambda n: n in (2, 3, 4, 6))
    list(stream_pieces(dataset, "train", PIECES, clock, {}))
    assert clock.pauses_s == [1.0, 2.0, 4.0, 1.0]


def test_a_storage_that_stays_away_is_left_in_the_end(dataset, clock, goes_away):
    goes_away(lambda n: n > 1)
    with pytest.raises(
        UnreachableError, match=r"does not answer; asked again for 300 s: carry on"
    ):
        list(stream_pieces(dataset, "train", PIECES, clock, {}))
    assert 200 < clock.now_s <= 300


def test_what_cannot_be_mended_by_waiting_is_told_at_once(dataset, clock, tmp_path):
    (tmp_path / "jets" / "train-00000.parquet").unlink()
    with pytest.raises(DataError, match="missing, though the manifest lists it"):
        list(stream_pieces(dataset, "train", PIECES, clock, {}))
    assert clock.pauses_s == []
