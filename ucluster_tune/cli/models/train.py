"""`ucluster-tune train`: one configuration, trained as a trial would be, without a search."""

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.studies.prepared_data import prepared_data_path
from ucluster_tune.cli.studies.study_options import set_option, set_words, yes_option
from ucluster_tune.cluster.place import this_machine
from ucluster_tune.config.loading import dump_config, load_study_config, shipped_search_spaces
from ucluster_tune.config.one_trial import trial_config_of
from ucluster_tune.config.plan import fit_study
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.errors import ConfigurationError, MachineError, TrainingError
from ucluster_tune.report.cells import program, shown_path
from ucluster_tune.study.status import trained_config

if TYPE_CHECKING:
    from ucluster_tune.trial.files import TrialFiles


@click.command(
    epilog="""\b
    Example:
      ucluster-tune train search_spaces/published.yaml --out published
      ucluster-tune train quickstart --out best --workers 2
      ucluster-tune train quickstart/0003 --out third
      ucluster-tune train quickstart --out best --set training.n_epochs=60
    """
)
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder of checkpoints; where it holds one already, training goes on from it, to more"
    " epochs too.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Horovod workers; 1 trains in this process.  [default: as in CONFIG]",
)
@set_option
@yes_option
def train(
    config: Path, out: Path, workers: int | None, overrides: tuple[str, ...], yes: bool
) -> None:
    """Train one configuration, without a search.

    CONFIG is a search-space file whose search_space is empty, a study (of which the best trial is
    taken) or one of its trials, by name, or a file of theirs. Stop it with Ctrl-C; the same
    command goes on from the last epoch, and with a larger training.n_epochs beyond the last one.
    """
    asked, config = config, _file_of(config)
    options = [] if workers is None else [f"resources.workers_per_trial={workers}"]
    study = load_study_config(config, [*overrides, *options])
    if study.search_space:
        raise ConfigurationError(
            str(config),
            [
                f"search_space: must be empty to train, got {', '.join(study.search_space)};"
                f" search with `ucluster-tune run {config}`"
            ],
        )
    out = out.absolute()
    study = fit_study(_settled(study), this_machine()).config
    from ucluster_tune.data.making.preparation import plan_preparation
    from ucluster_tune.data.reading.dataset import open_checked_dataset

    study = study.reading(prepared_data_path(plan_preparation(study.data), yes))
    dataset = open_checked_dataset(
        study.data, study.resources.n_workers, needing_labels=study.objective.needing_labels
    )
    _write_config(study, out)
    click.echo(_train(study, out, dataset.is_labelled))
    again = ["train", str(asked), "--out", shown_path(out)]
    again += [] if workers is None else ["--workers", str(workers)]
    click.echo(_next_commands(again, study, out, overrides, dataset.is_labelled))


def _file_of(config: Path) -> Path:
    """Return the file that a path, a study, a trial or a search space that ships stands for."""
    if config.is_file():
        return config
    found = trained_config(config)
    return shipped_search_spaces().get(str(config), config) if found == config else found


def _settled(study: StudyConfig) -> StudyConfig:
    """Return the study with the one worker that trains where no number is told."""
    resources = study.resources
    settled = resources.model_copy(update={"workers_per_trial": resources.n_workers})
    return study.model_copy(update={"resources": settled})


def _write_config(study: StudyConfig, out: Path) -> None:
    """Keep the configuration beside the checkpoints; one of another training there is refused."""
    from ucluster_tune.storage.whole_files import explained, write_whole
    from ucluster_tune.trial.files import TrialFiles

    files, config = TrialFiles(out), trial_config_of(study)
    with explained(out, MachineError):
        if files.last_epoch and files.config.exists():
            _refuse_other(trial_config_of(load_study_config(files.config)), config, files)
        out.mkdir(parents=True, exist_ok=True)
        write_whole(files.config, dump_config(config))


def _refuse_other(before: TrialConfig, now: TrialConfig, files: "TrialFiles") -> None:
    """Raise ConfigurationError where a training cannot go on with another configuration.

    It can with more epochs, and where its jets were moved: their checksum is compared later.
    """
    changed = {
        f"{name}.{key}": (value, getattr(getattr(now, name), key))
        for name, section in before
        for key, value in section
        if value != getattr(getattr(now, name), key)
    }
    changed.pop("data.path", None)
    n_before, n_now = changed.pop("training.n_epochs", (None, files.last_epoch))
    if changed:
        told = ", ".join(f"{path} is {new}, was {old}" for path, (old, new) in changed.items())
        raise ConfigurationError(
            f"{files.root} holds a training of another configuration",
            [f"{told}; choose another folder with --out, or bring the old values back with --set"],
        )
    if n_now < files.last_epoch:
        raise ConfigurationError(
            f"{files.root} holds a training of {files.last_epoch} epochs",
            [f"training.n_epochs: {n_now} are fewer; give {files.last_epoch} or more"],
        )
    if n_before is not None and now.training.learning_rate_schedule == "cosine":
        click.secho(
            f"Warning: the cosine of the learning rate ends at epoch {n_now} now, at {n_before}"
            " before: this is not the training that it would have been from its start",
            fg="yellow",
            err=True,
        )


def _next_commands(
    again: list[str], study: StudyConfig, out: Path, overrides: tuple[str, ...], is_labelled: bool
) -> str:
    model, data = shown_path(out), study.data.path
    n_epochs = f"training.n_epochs={2 * study.training.n_epochs}"
    kept = [o for o in overrides if not o.strip().startswith("training.n_epochs")]
    commands = {
        "its clusters": ["predict", model, data, "--out", "clusters.parquet"],
        **({"how good they are": ["evaluate", model, data]} if is_labelled else {}),
        "more epochs": [*again, *set_words([*kept, n_epochs])],
    }
    lines = [f"  {what:17}  {shlex.join([program(), *c])}" for what, c in commands.items()]
    return "\n".join(["Next, type", *lines])


def _train(study: StudyConfig, out: Path, is_labelled: bool) -> str:
    """Run the epochs that are left, and return what they reached, in words."""
    from ucluster_tune.cluster.embedded import embedded_ray, prepare_environment
    from ucluster_tune.report.progress import TrainingProgress, training_summary
    from ucluster_tune.trial.files import TrialFiles
    from ucluster_tune.trial.training_task import TrainingTask, epochs_of, training_processes

    prepare_environment()
    files, resources = TrialFiles(out), study.resources
    task = TrainingTask(trial_config_of(study), files.place, study.objective)
    with ExitStack() as stack:
        progress = stack.enter_context(
            TrainingProgress(study, files.last_epoch, is_labelled=is_labelled)
        )
        if resources.n_workers > 1:
            machine = this_machine()
            stack.enter_context(embedded_ray(machine.n_cpus, machine.n_gpus))
        processes = stack.enter_context(
            training_processes(resources, task.folder, progress.on_step)
        )
        for record in epochs_of(task, processes):
            progress.on_epoch(record)
    newest, _ = files.newest_checkpoint()
    if newest is None or newest.best is None:
        raise TrainingError(f"{out}: no epoch gave a number for {study.objective.metric}")
    from ucluster_tune.trial.training_run import measure  # TensorFlow

    checkpoint = files.checkpoint(newest.best.epoch)
    test = measure(task.config, str(checkpoint), "test") if is_labelled else None
    return training_summary(newest.best, test, study, str(checkpoint))
