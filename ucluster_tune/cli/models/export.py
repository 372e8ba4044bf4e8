"""`ucluster-tune export`: a trained network for those who have not this program."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ucluster_tune.cli.data.jet_options import LocalPath
from ucluster_tune.cli.models.arguments import load_model
from ucluster_tune.cli.studies.study_options import studies_dir_option
from ucluster_tune.errors import DataError, StudyError
from ucluster_tune.model.start import prepare_start
from ucluster_tune.report.cells import command
from ucluster_tune.study.confirming import confirmed_training, plan_of
from ucluster_tune.study.paths import StudiesFolder, StudyPaths, open_studies
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.status import find_study, read_study
from ucluster_tune.study.trainings import TrainingState, TrialState

if TYPE_CHECKING:
    from ucluster_tune.config.study import StudyConfig
    from ucluster_tune.data.format.manifest import Manifest
    from ucluster_tune.data.reading.jet_source import JetSource
    from ucluster_tune.models.exported.check import ExportCheck

# Not imported from ucluster_tune.models, which would load TensorFlow for a mere --help.
FORMATS = ("savedmodel", "onnx", "folder")
_PROMISES = {
    "ONNX file": (".onnx",),
    "Keras file": (".h5", ".hdf5", ".keras"),
    "TensorFlow file": (".pb", ".tflite", ".ckpt"),
    "PyTorch file": (".pt", ".pth", ".safetensors"),
    "Python pickle": (".pkl", ".pickle", ".joblib"),
    "archive": (".zip", ".tar", ".gz", ".tgz", ".xz"),
    "table of numbers": (".npz", ".npy", ".csv", ".parquet", ".root"),
    "text": (".json", ".yaml", ".yml", ".txt", ".py", ".md"),
}


class _Chosen(NamedTuple):
    folder: StudiesFolder
    paths: StudyPaths
    record: StudyRecord
    trial: TrialState
    training: TrainingState


class ExportFolder(LocalPath):
    """A folder to be made, whose name promises no file."""

    def __init__(self) -> None:
        super().__init__("write it here, and copy it with the bucket's own tool", file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; fails where its ending promises something else than a folder."""
        path = Path(str(super().convert(value, param, ctx)))
        for what, endings in _PROMISES.items():
            if path.suffix.lower() in endings:
                self.fail(
                    f"{str(value)!r} promises one {what}, and a folder is made; name it"
                    f" {path.stem!r}, and choose what is in it with --format",
                    param,
                    ctx,
                )
        return path


@click.command(
    epilog="""\b
    Example:
      ucluster-tune export quickstart --to best
      ucluster-tune export quickstart/0003 --to trial3 --format onnx
      ucluster-tune export quickstart --to confirmed --confirmed
      ucluster-tune export quickstart --to best --register
    """
)
@click.argument("name", metavar="NAME[/TRIAL]")
@studies_dir_option
@click.option(
    "--to",
    "target",
    type=ExportFolder(),
    required=True,
    metavar="DIR",
    help="Folder to make; it must not exist yet, or be empty.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="For TensorFlow, for ONNX Runtime, or the weights for this program.",
)
@click.option(
    "--confirmed",
    "is_confirmed",
    is_flag=True,
    help="Of the trial that `confirm` chose, its training whose seed was best on validation jets.",
)
@click.option(
    "--register",
    "is_registered",
    is_flag=True,
    help="Put it into MLflow's registry too, under the study's name.",
)
def export(
    name: str,
    studies_dir: str | None,
    target: Path,
    kind: str,
    is_confirmed: bool,
    is_registered: bool,
) -> None:
    """Write a trained network for TensorFlow or ONNX Runtime alone.

    It is that of the best trial of study NAME as searched, or of TRIAL; after `confirm`, with
    --confirmed, of the trial chosen there. NAME may also be any model that `predict` takes.
    Momenta of a jet's constituents go in; its embedding, distances, cluster, and the class that
    the cluster was matched with come out. DIR gets the network, its configuration, a model card
    with what it was trained on and how good it is, checksums, and an example of ten lines that
    needs nothing of this program. What was written is checked against the trial's own network.
    """
    prepare_start()
    from ucluster_tune.models.saved import refuse_existing

    refuse_existing(target.absolute())
    chosen = _find(name, studies_dir, is_confirmed=is_confirmed)
    if is_registered and (chosen is None or kind == "folder"):
        raise click.UsageError(
            "--register takes a trial of a study, as savedmodel or onnx, which MLflow can load"
        )
    if is_registered and chosen is not None:
        _refuse_unknown_to_mlflow(chosen)
    if chosen is None:
        check = _export_model(kind, name, target)
    else:
        check = _export(kind, chosen, target)
        if is_registered:
            _register(kind, chosen, target)
    beyond = f", {check.n_beyond} by up to {check.largest:.1g}" if check.n_beyond else ""
    click.echo(
        f"Checked on {check.n_jets} jets, {check.jets}: they depart by"
        f" {check.departure:.1g} of the largest number in the median{beyond}"
    )
    example = "example.py DATA" if kind == "folder" else "example.py"
    click.echo(f"Next: python {shlex.quote(str(target))}/{example}; README.md is its card")
    if chosen is not None and "/" not in name and not is_confirmed and chosen.record.confirmed:
        click.echo("That is the search's best trial; the one that was confirmed: --confirmed")


def _find(name: str, studies_dir: str | None, *, is_confirmed: bool) -> _Chosen | None:
    """Return what is named of a study; None for another model."""
    study, _, trial_id = name.partition("/")
    folder = open_studies(studies_dir)
    is_model = study not in folder.names() and (Path(name).exists() or "://" in name)
    if is_confirmed and (is_model or trial_id):
        raise click.UsageError(f"--confirmed takes the name of a study alone, not {name!r}")
    if is_model:
        return None
    paths = find_study(folder, study)
    record = read_study(paths)
    if is_confirmed:
        return _Chosen(folder, paths, record, *confirmed_training(record))
    trial = _chosen_trial(record, trial_id.zfill(4) if trial_id.isdigit() else trial_id or None)
    return _Chosen(folder, paths, record, trial, trial.best_training)


def _export_model(kind: str, name: str, target: Path) -> "ExportCheck":
    from ucluster_tune.models.exported.check import jets_to_check
    from ucluster_tune.models.exported.writing import write_export
    from ucluster_tune.report.model_card import TITLES, card_of_model

    model, jets = load_model(name), jets_to_check(None)
    check = write_export(
        kind, model, None, target, jets, lambda found: card_of_model(kind, model, found), {}
    )
    click.echo(f"{target}: {model.origin} as {TITLES[kind]}")
    return check


def _export(kind: str, chosen: _Chosen, target: Path) -> "ExportCheck":
    from ucluster_tune.config.passwords import hide_passwords
    from ucluster_tune.models.exported.check import jets_to_check
    from ucluster_tune.models.exported.writing import write_export
    from ucluster_tune.report.model_card import (
        TITLES,
        card_of_trial,
        class_of_cluster,
        title_of,
    )
    from ucluster_tune.report.page.contents import read_contents

    record, trial, training = chosen.record, chosen.trial, chosen.training
    assert training.best is not None, "without an epoch it is not chosen"
    contents, plan = read_contents(record, chosen.paths), plan_of(record, training)
    if plan is not None and plan.data_path is not None:
        contents = replace(contents, config=contents.config.reading(plan.data_path))
    called, epoch = title_of(trial, training), training.best.epoch
    model = replace(
        load_model(chosen.paths.trial(trial.id, training.plan.id).place),
        origin=f"study {record.name}, {called}, epoch {epoch}",
    )
    manifest, source = _jets(contents.config.data.path)
    texts = {"config.yaml": hide_passwords(_config_text(contents.config, trial, training))}
    if manifest is not None:
        texts["dataset.json"] = manifest.to_json()
    check = write_export(
        kind,
        model,
        class_of_cluster(training.best),
        target,
        jets_to_check(source, f"test jets of {manifest.name}")
        if manifest
        else jets_to_check(None),
        lambda found: card_of_trial(kind, contents, trial, training, model, manifest, found),
        texts,
    )
    click.echo(f"{target}: {called} of {record.name}, epoch {epoch}, as {TITLES[kind]}")
    return check


def _config_text(config: "StudyConfig", trial: TrialState, training: TrainingState) -> str:
    from ucluster_tune.config.loading import dump_config
    from ucluster_tune.config.one_trial import study_of_one
    from ucluster_tune.search.driver import training_config
    from ucluster_tune.study.folder import config_of_trial

    if training.plan.role == "search":
        return config_of_trial(config, trial)
    return dump_config(study_of_one(config, training_config(config, trial, training.plan)))


def _refuse_unknown_to_mlflow(chosen: _Chosen) -> None:
    if chosen.trial.run_id is None:
        name = chosen.record.name
        raise StudyError(
            f"MLflow knows no trial {chosen.trial.id} of study {name} to register it with:"
            f" `{command('repair', chosen.paths, name)}` tells MLflow"
        )


def _register(kind: str, chosen: _Chosen, target: Path) -> None:
    from ucluster_tune.study.opening import study_config_of
    from ucluster_tune.tracking.mlflow.registry import register
    from ucluster_tune.tracking.mlflow.tracked_study import open_store_of

    name, run_id = chosen.record.name, chosen.trial.run_id
    assert run_id is not None, "refused before"
    config = study_config_of(chosen.record, chosen.paths)
    tracker = open_store_of(config, chosen.record, chosen.folder)
    version = register(tracker, run_id, name, kind, target)
    click.echo(f"In MLflow's registry: models:/{name}/{version}, for mlflow.pyfunc.load_model")


def _chosen_trial(record: StudyRecord, trial_id: str | None) -> TrialState:
    if trial_id is None:
        trial = record.best
        told = f"study {record.name} has no best trial yet: wait for the first epoch"
    else:
        known = {**record.trials, **record.other_trials}
        trial = known.get(trial_id)
        told = f"study {record.name} has no trial {trial_id!r}: its trials are" + (
            f" {next(iter(known))} to {next(reversed(known))}" if known else " still to begin"
        )
        if trial is not None and trial.best is None:
            trial, told = None, f"trial {trial_id} of study {record.name} has no epoch to export"
    if trial is None:
        raise StudyError(told)
    return trial


def _jets(place: str) -> "tuple[Manifest | None, JetSource | None]":
    """Return what the trial was trained on, and its test jets; None where they are gone."""
    from ucluster_tune.data.format.manifest import read_manifest
    from ucluster_tune.data.reading.jet_source import open_parquet

    try:
        return read_manifest(place), open_parquet(place, "test")
    except DataError as error:
        click.secho(f"Warning: checked on made-up jets: {error}", fg="yellow", err=True)
        return None, None
