import numpy as np

from ucluster_tune.data.format.features import constituent_features, massless_momenta
from ucluster_tune.data.format.packed import PackedJets
from ucluster_tune.training.evaluation import jet_pt_gev


def test_the_pt_of_a_jet_is_that_of_the_sum_of_its_constituents() -> None:
    momenta = massless_momenta(
        np.array([300.0, 100.0, 50.0]), np.array([0.0, 0.2, -0.1]), np.array([0.0, 0.3, 1.0])
    )
    jets = np.stack([momenta[:2].sum(axis=0), momenta[2]])
    n_constituents = np.array([2, 1])
    features = constituent_features(momenta, jets, n_constituents)
    # The first jet has padding: one row of zeros for 98 constituents.
    rows = np.concatenate([features[:2], np.zeros((1, features.shape[1])), features[2:]])
    packed = PackedJets(
        features=rows.astype(np.float32),
        n_rows=np.array([3, 1]),
        n_padded=np.array([98, 0]),
        mass_gev=np.zeros(2, np.float32),
        jet_class=np.zeros(2, np.int64),
        first_neighbors=np.zeros((4, 1), np.int16),
    )
    found = jet_pt_gev(packed.batch(np.array([1, 0]), 1))
    assert np.allclose(found, np.hypot(jets[::-1, 0], jets[::-1, 1]), rtol=1e-5)
