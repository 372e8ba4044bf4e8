"""What `predict`, `evaluate` and `weights` share: a model, and the processes to predict with."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.data.jet_options import progress_bar
from ucluster_tune.cli.data.wrong_data import explained_data
from ucluster_tune.cluster.place import this_machine
from ucluster_tune.errors import MachineError
from ucluster_tune.model.start import prepare_start
from ucluster_tune.study.paths import studies_folder

if TYPE_CHECKING:
    from ucluster_tune.data.hls4ml.stream import Hls4mlJets
    from ucluster_tune.data.reading.jet_source import JetSource, WholeSource
    from ucluster_tune.models.prediction import Prediction
    from ucluster_tune.models.saved import SavedModel

# Not imported from ucluster_tune.data and .training, which would load Arrow and TensorFlow for a
# mere --help; tests hold them to the values there.
SPLITS = ("train", "validation", "test")
DEFAULT_BATCH = 64
REGISTERED = "models:/"

model_argument = click.argument("model_dir")
data_argument = click.argument("data")
workers_option = click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes, on an embedded Ray; 1 uses this process, on all cores.",
)


def load_model(path: str) -> "SavedModel":
    """Return the model at a path or URI, in whichever form; see `open_model`."""
    prepare_start()
    from ucluster_tune.models.opening import open_model
    from ucluster_tune.study.status import model_folder

    if path.startswith(REGISTERED):
        from ucluster_tune.tracking.mlflow.registry import fetch_export

        with TemporaryDirectory(prefix="ucluster-tune-") as folder:
            return open_model(fetch_export(path, studies_folder(), Path(folder)))
    return open_model(model_folder(path))


@contextmanager
def opened_source(
    place: str, split: str | None, default_split: str | None = None
) -> "Iterator[WholeSource]":
    """Give the jets at a place: of a split of a parquet data set, or of HLS4ML HDF5 files.

    What archives hold lies unpacked on the disk as long as the block lasts.

    Args:
        place: path or URI of the data set, or path of a file, an archive or a folder of them.
        split: as asked for.
        default_split: of a data set, where none is asked for; None for all.
    """
    with explained_data(place):
        is_hls4ml = _is_hls4ml(place)
    if is_hls4ml:
        if split is not None:
            raise click.UsageError(f"--split {split}: HDF5 files have no splits; leave it out")
        with TemporaryDirectory(prefix="ucluster-tune-") as scratch:
            files = _hls4ml_source(Path(place), Path(scratch))
            for remark in files.remarks:
                click.secho(f"Warning: {remark}", fg="yellow", err=True)
            yield files
        return
    from ucluster_tune.data.reading.jet_source import open_parquet

    with explained_data(place):
        source = open_parquet(place, split or default_split)
    yield source


def _hls4ml_source(place: Path, scratch: Path) -> "Hls4mlJets":
    from ucluster_tune.data.hls4ml.sources import find_source_files
    from ucluster_tune.data.hls4ml.stream import open_hls4ml

    n_bytes = sum(file.n_bytes for file in find_source_files(place) if file.is_archive)
    if not n_bytes:
        return open_hls4ml(place, scratch)
    with progress_bar(in_bytes=True) as bar:
        task = bar.add_task(f"unpacking into {scratch}", total=n_bytes)
        try:
            return open_hls4ml(place, scratch, lambda n_new: bar.advance(task, n_new))
        except MachineError as error:
            raise MachineError(f"{error}: TMPDIR names the folder, {scratch.parent} now") from None


def training_source(place: str) -> "JetSource | None":
    """Return the training jets beside those at a place; None where there are none."""
    if _is_hls4ml(place):
        return None
    from ucluster_tune.data.format.manifest import read_manifest
    from ucluster_tune.data.reading.jet_source import open_parquet

    return open_parquet(place, "train") if read_manifest(place).n_jets("train") else None


def _is_hls4ml(place: str) -> bool:
    if "://" in place:
        return False
    from ucluster_tune.data.format.manifest import MANIFEST_NAME
    from ucluster_tune.data.hls4ml.sources import is_source

    return not (Path(place) / MANIFEST_NAME).is_file() and is_source(Path(place))


@contextmanager
def predictions(
    model: "SavedModel",
    source: "JetSource",
    n_workers: int,
    batch_size: int,
    address: str | None = None,
) -> "Iterator[Iterator[Prediction]]":
    """Give the predictions of all jets of a source in order; processes end with the block.

    Args:
        model: that predicts.
        source: of the jets.
        n_workers: processes.
        batch_size: jets at a time.
        address: of a Ray that runs already, on whose nodes the processes are and read the jets.
    """
    from ucluster_tune.cluster.connection import joined_ray
    from ucluster_tune.cluster.embedded import embedded_ray, prepare_environment

    prepare_environment(is_embedded=address is None)
    from ucluster_tune.models.prediction import predict_here, predict_with_workers

    n_cpus = this_machine().n_cpus
    with ExitStack() as stack:
        if address is not None:
            n_cpus = stack.enter_context(joined_ray(address)).machine().n_cpus
            found = predict_with_workers(
                model, source, batch_size, n_workers, max(1, min(n_cpus // n_workers, 4))
            )
        elif n_workers == 1:
            found = predict_here(model, source, batch_size)
        else:
            # More workers than cores are allowed: they share them.
            stack.enter_context(embedded_ray(max(n_cpus, n_workers)))
            found = predict_with_workers(
                model, source, batch_size, n_workers, max(1, n_cpus // n_workers)
            )
        yield stack.enter_context(closing(found))  # type: ignore[type-var]
