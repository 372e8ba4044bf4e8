"""Small parquet data sets of made-up jets, written by the package's own writer."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from ucluster_tune.data.format.packed import pack_lists
from ucluster_tune.data.format.schema import SPLITS, jets_table
from ucluster_tune.data.making.writer import write_dataset

MASSES_GEV = {"w": 80.0, "z": 91.0, "t": 170.0, "q": 30.0, "g": 40.0}
SCALES = {"w": 0.1, "z": 0.2, "t": 0.4, "q": 0.05, "g": 0.3}


def made_up_jets(n_jets, classes=("w", "z", "t"), seed=0, max_constituents=12):
    """Jets of each class in turn; angles are the wider the heavier the class."""
    generator = np.random.default_rng(seed)
    jet_class = [classes[index % len(classes)] for index in range(n_jets)]
    n_real = generator.integers(2, max_constituents, n_jets)
    scale = np.repeat([SCALES[name] for name in jet_class], n_real)[:, None]
    features = generator.normal(size=(n_real.sum(), 8)) * scale
    features[:, 2] = -np.abs(features[:, 2]) - 0.1  # ln(pt_rel) of a real one is below zero
    jet = np.repeat(np.arange(n_jets), n_real)
    features[:, 6] = features[np.lexsort((-features[:, 6], jet)), 6]  # in descending pt
    features[:, 7] = features[:, 7].clip(-1, 1)  # as tanh is
    mass_gev = np.array([MASSES_GEV[name] for name in jet_class]) + generator.normal(size=n_jets)
    return jets_table(jet_class, mass_gev, n_real, features)


def without_classes(table):
    """The same jets, of which nobody knows the class."""
    name = table.schema.names.index("jet_class")
    nothing = pa.nulls(table.num_rows, pa.string())
    return table.set_column(name, table.schema.field(name), nothing)


def write_tables(folder, tables, row_group_size=16):
    write_dataset(
        folder,
        tables,
        name="made up",
        source="a test",
        command="pytest",
        settings={},
        row_group_size=row_group_size,
    )
    return folder


def write_jets(
    folder, n_train=60, n_validation=30, n_test=30, row_group_size=16, is_labelled=True, **options
):
    """A data set of all three splits; returns its folder."""
    numbers = dict(zip(SPLITS, (n_train, n_validation, n_test), strict=True))
    tables = {
        split: made_up_jets(n, seed=seed, **options)
        for seed, (split, n) in enumerate(numbers.items())
    }
    if not is_labelled:
        tables = {split: without_classes(table) for split, table in tables.items()}
    return write_tables(folder, tables, row_group_size)


def pack_padded(constituents, mass_gev, jet_class):
    """Jets of float32 [jet, constituent, feature]; padding is zero in all features."""
    real = np.any(constituents != 0.0, axis=-1)
    lists = [constituents[jet][real[jet]] for jet in range(len(constituents))]
    return pack_lists(np.concatenate(lists), real.sum(axis=1), mass_gev, jet_class)


class ShamSearch:
    """Takes the first rows of a jet for the neighbours of each; knows how often it was asked."""

    def __init__(self, n_neighbors=0, padding_distance=1000.0, on_call=lambda jets: None):
        self.n_neighbors, self.padding_distance = n_neighbors, padding_distance
        self.n_calls, self._on_call = 0, on_call

    def __call__(self, jets, at_least=0):
        self.n_calls += 1
        self._on_call(jets)
        k = max(self.n_neighbors, at_least)
        found = np.tile(np.arange(k, dtype=np.int16), (len(jets.features), 1))
        return replace(jets, first_neighbors=found)
