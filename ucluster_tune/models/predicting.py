"""Predictions chunk by chunk in order, made by this process or by workers of a running Ray."""

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from ucluster_tune.data.reading.jet_stream import Chunk, JetSource, chunks_of, read_chunk
from ucluster_tune.errors import MachineError, UClusterTuneError
from ucluster_tune.models.jet_positions import jet_place
from ucluster_tune.models.prediction import Prediction, Predictor
from ucluster_tune.models.saved import SavedModel

_CHUNKS_IN_FLIGHT = 2  # of a worker: the next one waits for it, and never more results for us
_CHUNK_TIMEOUT_S = 900.0


def predict_here(model: SavedModel, source: JetSource, batch_size: int) -> Iterator[Prediction]:
    """Yield the clusters of all jets of a source, in order, some thousand at a time.

    Takes all cores, and a GPU where TensorFlow has one.

    Raises:
        DataError: a jet cannot be read, or the network gives no number for it.
    """
    predictor = Predictor(model, batch_size)
    for chunk in chunks_of(source):
        yield predictor.predict(read_chunk(source, chunk), partial(jet_place, source, chunk))


def predict_with_workers(
    model: SavedModel, source: JetSource, batch_size: int, n_workers: int, cpus_per_worker: float
) -> Iterator[Prediction]:
    """Yield the same, made by workers of the Ray that this process is connected to.

    Raises:
        DataError: as `predict_here`.
        MachineError: a worker died, did not start or gave no answer.
    """
    import ray  # noqa: PLC0415  # one process alone must not load it

    chunks = chunks_of(source)
    model_reference, source_reference = ray.put(model), ray.put(source)
    workers: list[Any] = [
        ray.remote(_PredictionWorker)
        .options(num_cpus=cpus_per_worker, max_restarts=0)
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
    import ray  # noqa: PLC0415  # see `predict_with_workers`

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
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        from ucluster_tune.training.device import use_devices  # noqa: PLC0415  # TensorFlow

        use_devices(n_threads)
        self._source = source
        self._predictor = Predictor(model, batch_size)

    def predict(self, chunk: Chunk) -> Prediction:
        """Return the clusters of a chunk."""
        place_of = partial(jet_place, self._source, chunk)
        return self._predictor.predict(read_chunk(self._source, chunk), place_of)
