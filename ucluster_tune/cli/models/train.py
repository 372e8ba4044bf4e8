"""`ucluster-tune train`: one configuration, trained as a trial would be, without a search."""

from contextlib import ExitStack
from pathlib import Path

import click

from ucluster_tune.cli.studies.prepared_data import prepared_data_path
from ucluster_tune.cli.studies.study_options import set_option, yes_option
from ucluster_tune.cluster.place import this_machine
from ucluster_tune.config.loading import dump_config, load_study_config
from ucluster_tune.config.one_trial import trial_config_of
from ucluster_tune.config.plan import fit_study
from ucluster_tune.config.shipped import shipped_search_spaces
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import ConfigurationError, MachineError, TrainingError
from ucluster_tune.study.status import trained_config


@click.command(
    epilog="""\b
    Example:
      ucluster-tune train search_spaces/published.yaml --out published
      ucluster-tune train quickstart --out best --workers 2
      ucluster-tune train quickstart/0003 --out third
    """
)
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder of checkpoints; where it holds one already, training goes on from it.",
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
    command goes on from the last epoch.
    """
    config = _file_of(config)
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
    open_checked_dataset(study.data, study.resources.n_workers)
    _write_config(study, out)
    _train(study, out)


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
    """Keep the configuration beside the checkpoints; another one there is refused."""
    from ucluster_tune.storage.whole_files import explained, write_whole
    from ucluster_tune.trial.files import TrialFiles

    files = TrialFiles(out)
    path, text = files.config, dump_config(trial_config_of(study))
    with explained(out, MachineError):
        if files.last_epoch and path.exists() and path.read_text(encoding="utf-8") != text:
            raise ConfigurationError(
                "--out",
                [f"{out} holds the training of another configuration; choose another folder"],
            )
        out.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)


def _train(study: StudyConfig, out: Path) -> None:
    from ucluster_tune.cluster.embedded import embedded_ray, prepare_environment
    from ucluster_tune.report.progress import TrainingProgress, training_summary
    from ucluster_tune.trial.files import TrialFiles
    from ucluster_tune.trial.training_task import TrainingTask, epochs_of, training_processes

    prepare_environment()
    files, resources = TrialFiles(out), study.resources
    task = TrainingTask(trial_config_of(study), files.place, study.objective)
    with ExitStack() as stack:
        progress = stack.enter_context(TrainingProgress(study, files.last_epoch))
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
    test = measure(task.config, str(checkpoint), "test")
    click.echo(training_summary(newest.best, test, study, str(checkpoint)))
