"""Data made by the published code; it is beside the checkout, not in it."""

import pytest

from tests.published_data import FOLDER, MISSING, published_arrays_of


@pytest.fixture(scope="session")
def published_checkpoint():
    """A reader of the published TensorFlow 1 checkpoint after clustering."""
    if not (FOLDER / "cluster.ckpt.index").is_file():
        pytest.skip(MISSING)
    import tensorflow as tf

    return tf.train.load_checkpoint(str(FOLDER / "cluster.ckpt"))


@pytest.fixture(scope="session")
def published_start(published_checkpoint):
    """Parameters and averages of the published checkpoint."""
    from ucluster_tune.config.trial import ModelConfig
    from ucluster_tune.model.abcnet import build_abcnet
    from ucluster_tune.model.published import vectors_from_published

    return vectors_from_published(build_abcnet(ModelConfig()), published_checkpoint.get_tensor)


@pytest.fixture(scope="session")
def reference():
    """A function that returns the arrays of `inference` or `training_steps`."""
    return published_arrays_of


@pytest.fixture(params=["stock", "fused"])
def operations(request):
    """Each implementation of the network's costly parts; g++ is there wherever this is tested."""
    from ucluster_tune.model.operations.fused import FusedOperations
    from ucluster_tune.model.operations.stock import StockOperations

    return StockOperations() if request.param == "stock" else FusedOperations.load()
