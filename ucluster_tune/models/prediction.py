"""Clusters of jets by a model whose weights rest, by this process or by workers of a running Ray.

Needs no labels, no selection and no data set: any source of jets will do.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ucluster_tune.data.format.features import MAX_CONSTITUENTS
from ucluster_tune.data.format.packed import FloatArray, IntArray, PackedBatch, PackedJets
from ucluster_tune.data.reading.jet_source import Chunk, JetSource, chunks_of
from ucluster_tune.errors import DataError, MachineError, UClusterTuneError
from ucluster_tune.model.abcnet import build_abcnet
from ucluster_tune.model.inference import INFERENCE_BATCH, inference_of
from ucluster_tune.model.neighbors import FirstNeighborSearch
from ucluster_tune.models.saved import SavedModel

_CHUNKS_IN_FLIGHT = 2  # of a worker: the next one waits for it, and never more results for us
_CHUNK_TIMEOUT_S = 900.0

PlaceOfJet = Callable[[int], str]


def _counted(position: int) -> str:
    return f"jet {position}, counted from 0"


class Prediction(NamedTuple):
    """Clusters of some jets, in their order.

    Attributes:
        cluster: int64 [jet]; the nearest centroid.
        embedding: float32 [jet, dim].
        distances: float32 [jet, cluster]; squared, to each centroid.
        mass_gev: float32 [jet].
        jet_class: int64 [jet]; as given with the jets.
        n_constituents: int64 [jet]; real ones.
    """

    cluster: IntArray
    embedding: FloatArray
    distances: FloatArray
    mass_gev: FloatArray
    jet_class: IntArray
    n_constituents: IntArray


class Predictor:
    """A model ready to predict; traced once for batches of any size.

    Args:
        model: the network and its weights.
        batch_size: jets at a time; the result does not depend on it but for rounding.
    """

    def __init__(self, model: SavedModel, batch_size: int = INFERENCE_BATCH) -> None:
        network = build_abcnet(model.config)
        self._infer = inference_of(network, model.parameters, model.averages)
        self._search = FirstNeighborSearch(model.config)
        self._n_neighbors = model.config.n_neighbors
        self._batch_size = batch_size
        self._nothing = Prediction(
            cluster=np.zeros(0, np.int64),
            embedding=np.zeros((0, model.config.embedding_dim), np.float32),
            distances=np.zeros((0, model.config.n_clusters), np.float32),
            mass_gev=np.zeros(0, np.float32),
            jet_class=np.zeros(0, np.int64),
            n_constituents=np.zeros(0, np.int64),
        )

    def predict(self, pieces: Iterable[PackedJets], place_of: PlaceOfJet = _counted) -> Prediction:
        """Return the clusters of all jets of `pieces`, one after the other.

        Args:
            pieces: of neighbouring jets.
            place_of: says of a jet's number among them, from 0, where it stands, for messages.

        Raises:
            DataError: the features of a jet are so far out that the network gives no number.
        """
        parts = []
        n_done = 0
        for jets in pieces:
            searched = self._search(jets)
            for start in range(0, len(jets), self._batch_size):
                chosen = np.arange(start, min(start + self._batch_size, len(jets)))
                parts.append(self._predict_batch(searched, chosen, n_done, place_of))
                n_done += len(chosen)
        if not parts:
            return self._nothing
        return Prediction(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _predict_batch(
        self, jets: PackedJets, chosen: IntArray, n_done: int, place_of: PlaceOfJet
    ) -> Prediction:
        batch = jets.batch(chosen, self._n_neighbors)
        found = self._infer(PackedBatch(*map(tf.constant, batch)))
        embedding, distances = (tensor.numpy() for tensor in found)
        bad = np.flatnonzero(~np.isfinite(distances).all(axis=1))
        if len(bad):
            jet = bad[0]
            largest = float(np.abs(batch.features[batch.jet == jet]).max())
            raise DataError(
                f"{place_of(n_done + int(jet))}: the network gives no finite number"
                f" for it; its largest feature is {largest:.3g}. Look at that jet: features are"
                " angles, logarithms and a tanh, of the order of 1 to 10"
            )
        return Prediction(
            cluster=np.argmin(distances, axis=1).astype(np.int64),
            embedding=embedding,
            distances=distances,
            mass_gev=jets.mass_gev[chosen],
            jet_class=jets.jet_class[chosen],
            n_constituents=MAX_CONSTITUENTS - jets.n_padded[chosen],
        )


def predict_here(model: SavedModel, source: JetSource, batch_size: int) -> Iterator[Prediction]:
    """Yield the clusters of all jets of a source, in order, some thousand at a time.

    Takes all cores, and a GPU where TensorFlow has one.

    Raises:
        DataError: a jet cannot be read, or the network gives no number for it.
    """
    predictor = Predictor(model, batch_size)
    for chunk in chunks_of(source):
        yield predictor.predict(source.read(chunk.blocks), partial(source.place_of, chunk))


def predict_with_workers(
    model: SavedModel, source: JetSource, batch_size: int, n_workers: int, cpus_per_worker: float
) -> Iterator[Prediction]:
    """Yield the clusters of all jets, in order, made by workers of the Ray that is connected.

    Raises:
        DataError: as `predict_here`.
        MachineError: a worker died, did not start or gave no answer.
    """
    import ray  # one process alone must not load it

    chunks = chunks_of(source)
    model_reference, source_reference = ray.put(model), ray.put(source)
    workers: list[Any] = [
        ray.remote(_PredictionWorker)
        .options(num_cpus=cpus_per_worker, max_restarts=0, scheduling_strategy="SPREAD")
        .remote(model_reference, source_reference, batch_size, max(1, math.floor(cpus_per_worker)))
        for _ in range(min(n_workers, len(chunks)))
    ]
    try:
        yield from _in_order(workers, chunks)
    finally:
        for worker in workers:
            ray.kill(worker, no_restart=True)


def _in_order(workers: Sequence[Any], chunks: Sequence[Chunk]) -> Iterator[Prediction]:
    """Yield results in the order of the chunks, dealt to the workers in turn."""
    waiting: deque[Any] = deque()
    for index, chunk in enumerate(chunks):
        if len(waiting) == _CHUNKS_IN_FLIGHT * len(workers):
            yield _result(waiting.popleft())
        waiting.append(workers[index % len(workers)].predict.remote(chunk))
    while waiting:
        yield _result(waiting.popleft())


def _result(reference: Any) -> Prediction:
    import ray  # see `predict_with_workers`

    try:
        result: Prediction = ray.get(reference, timeout=_CHUNK_TIMEOUT_S)
        return result
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UClusterTuneError):
            raise error.cause from None
        raise MachineError(f"a worker of the prediction failed:\n{error}") from None
    except ray.exceptions.GetTimeoutError:
        raise MachineError(
            f"waited {_CHUNK_TIMEOUT_S:g} s for a worker of the prediction; try fewer --workers"
        ) from None
    except ray.exceptions.RayError as error:
        raise MachineError(
            "a worker of the prediction died: its process crashed or was killed, perhaps for want"
            f" of memory; try fewer --workers ({type(error).__name__})"
        ) from None


class _PredictionWorker:
    """A process of Ray that holds the model and reads the jets itself."""

    def __init__(
        self, model: SavedModel, source: JetSource, batch_size: int, n_threads: int
    ) -> None:
        from ucluster_tune.training.device import use_devices  # TensorFlow

        use_devices(n_threads)
        self._source = source
        self._predictor = Predictor(model, batch_size)

    def predict(self, chunk: Chunk) -> Prediction:
        """Return the clusters of a chunk."""
        place_of = partial(self._source.place_of, chunk)
        return self._predictor.predict(self._source.read(chunk.blocks), place_of)
