"""`ucluster-tune baselines`: what simple ways to cluster reach on the same jets as a search."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.studies.study_options import studies_dir_option
from ucluster_tune.errors import DataError, StudyError

if TYPE_CHECKING:
    from ucluster_tune.config.study import StudyConfig
    from ucluster_tune.data.reading.dataset import JetDataset
    from ucluster_tune.study.paths import StudyPaths
    from ucluster_tune.training.yardstick_measures import Clustered
    from ucluster_tune.training.yardsticks import Yardsticks


@click.command(
    epilog="""\b
    Example:
      ucluster-tune baselines search_spaces/data/wzt_sample
      ucluster-tune baselines quickstart
      ucluster-tune baselines quickstart --model published --json
    """
)
@click.argument("data_or_study", metavar="DATA|STUDY")
@click.option(
    "--model",
    "models",
    metavar="MODEL_DIR",
    multiple=True,
    help="Measure a model too, such as the published weights; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all numbers as JSON.")
@studies_dir_option
def baselines(
    data_or_study: str, models: tuple[str, ...], as_json: bool, studies_dir: str | None
) -> None:
    """Measure what simple ways to cluster reach on the jets of a data set or a study.

    k-means on the jet mass, the two best thresholds on the mass (which use labels), and k-means
    on the mass and the jet's substructure: chosen on training jets, measured on validation and
    test jets. DATA is a parquet data set; of a STUDY its own jets and selection are taken, and
    what is measured is kept with it. What has to be trained, the published recipe and the network
    with labels as an upper bound, `confirm STUDY --supervised` trains.
    """
    from rich.console import Console

    from ucluster_tune.report.yardstick_tables import yardsticks_view

    paths = _study(data_or_study, studies_dir)
    config = _config(data_or_study, paths)
    found = None if models else _kept(paths)
    if found is None:
        found = _measured(config, models)
        if paths is not None:
            _keep(found, paths)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2, allow_nan=False))
        return
    reference = config.reference
    view = yardsticks_view(found, reference.accuracy, reference.source)
    Console(highlight=False).print(view)


def _study(name: str, studies_dir: str | None) -> "StudyPaths | None":
    """Return the study of that name or folder, None where there is none."""
    from ucluster_tune.config.names import study_name_fault
    from ucluster_tune.study.paths import StudyPaths, open_studies

    if study_name_fault(name) is None:
        studies = open_studies(studies_dir)
        if name in studies.names():
            return studies.study(name)
    paths = StudyPaths(Path(name).absolute())
    return paths if paths.record.is_file() else None


def _config(data: str, paths: "StudyPaths | None") -> "StudyConfig":
    """Return the study's configuration, or one with all defaults on a data set.

    Raises:
        StudyError: the study cannot be read.
        DataError: there is neither a study nor a data set.
    """
    from ucluster_tune.cli.data.wrong_data import explained_data
    from ucluster_tune.config.study import StudyConfig
    from ucluster_tune.config.trial import DataConfig
    from ucluster_tune.data.making.preparation import plan_preparation
    from ucluster_tune.study.opening import study_config_of
    from ucluster_tune.study.status import read_study

    if paths is not None:
        config = study_config_of(read_study(paths), paths)
        return config.reading(plan_preparation(config.data).data_path)
    from ucluster_tune.data.format.manifest import read_manifest

    try:
        with explained_data(data):
            read_manifest(data)
    except DataError as error:
        raise DataError(f"{error}; or name a study: `ucluster-tune list` shows them") from error
    return StudyConfig(data=DataConfig(path=data))


def _kept(paths: "StudyPaths | None") -> "Yardsticks | None":
    from ucluster_tune.study.status import read_study

    return None if paths is None else read_study(paths).yardsticks


def _keep(found: "Yardsticks", paths: "StudyPaths") -> None:
    """Write to a study's record what was measured; a driver at work has its own."""
    from ucluster_tune.study.events import YardsticksMeasured
    from ucluster_tune.study.journal import StudyJournal, read_record
    from ucluster_tune.study.lock import DriverLock

    try:
        with DriverLock(paths):
            if read_record(paths.record).dataset_checksum == found.dataset_checksum:
                with StudyJournal(paths.record) as journal:
                    journal.append(YardsticksMeasured(yardsticks=found))
    except StudyError as error:
        click.secho(f"Not kept with the study: {error}", fg="yellow", err=True)


def _measured(config: "StudyConfig", models: Sequence[str]) -> "Yardsticks":
    from ucluster_tune.data.reading.dataset import open_dataset
    from ucluster_tune.training.yardstick_measures import measure_yardsticks
    from ucluster_tune.training.yardsticks import GIVEN_MODEL

    dataset = open_dataset(config.data)
    also = [_by_model(model, dataset) for model in models]
    given = [clustered for clustered in also if clustered.name == GIVEN_MODEL]
    numbered = {id(clustered): f"{GIVEN_MODEL}_{n}" for n, clustered in enumerate(given[1:], 2)}
    also = [replace(c, name=numbered.get(id(c), c.name)) for c in also]
    found, _ = measure_yardsticks(
        dataset,
        config.model.n_clusters,
        config.training.evaluation_batch_size,
        config.training.seed,
        also,
    )
    return found


def _by_model(folder: str, dataset: "JetDataset") -> "Clustered":
    """Return the clusters that a model gives the validation and test jets of a data set."""
    import numpy as np

    from ucluster_tune.cli.models.arguments import DEFAULT_BATCH, load_model, predictions
    from ucluster_tune.data.reading.jet_source import SelectedJets, open_parquet
    from ucluster_tune.models.published import PUBLISHED_ORIGIN
    from ucluster_tune.training.yardstick_measures import MEASURED_ON, Clustered
    from ucluster_tune.training.yardsticks import GIVEN_MODEL, PUBLISHED_WEIGHTS

    model = load_model(folder)
    clusters = {}
    for split in MEASURED_ON:
        jets = SelectedJets(open_parquet(dataset.config.path, split), dataset.selection)
        with predictions(model, jets, 1, DEFAULT_BATCH) as found:
            clusters[split] = np.concatenate([part.cluster for part in found])
    is_published = model.origin.startswith(PUBLISHED_ORIGIN)
    name = PUBLISHED_WEIGHTS if is_published else GIVEN_MODEL
    return Clustered(name, False, model.origin, model.config.n_clusters, clusters)
