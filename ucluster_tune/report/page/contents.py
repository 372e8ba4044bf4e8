"""What is known of a study, read once for all sections of its page."""

from dataclasses import dataclass

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import UClusterTuneError
from ucluster_tune.report import cells
from ucluster_tune.report.pictures import KeptEvaluation, read_evaluation
from ucluster_tune.study.opening import study_config_of
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrainingState, TrialState
from ucluster_tune.training.record import EpochRecord

_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class StudyContents:
    """A study as its page shows it.

    Attributes:
        record: its state.
        config: as it was asked for.
        paths: of its files.
        evaluation: the best trial's best epoch on validation jets; None where it is not there.
        no_evaluation: why not.
    """

    record: StudyRecord
    config: StudyConfig
    paths: StudyPaths
    evaluation: KeptEvaluation | None
    no_evaluation: str

    @property
    def metric(self) -> str:
        """The objective's metric."""
        return self.record.objective.metric

    @property
    def metric_label(self) -> str:
        """The metric as an axis has it."""
        return self.metric.replace("_", " ")

    @property
    def is_fraction(self) -> bool:
        """Whether the metric is told in per cent."""
        return cells.metric(self.metric, 0.5).endswith("%")

    @property
    def scored(self) -> list[TrialState]:
        """Trials of the search that have a score, in the order in which they began."""
        trials, objective = self.record.trials.values(), self.record.objective
        return [trial for trial in trials if trial.score(objective) is not None]

    def score(self, trial: TrialState) -> float:
        """Return the score of a trial that has one."""
        score = trial.score(self.record.objective)
        assert score is not None, "asked of trials in `scored` alone"
        return score

    @property
    def unit(self) -> str:
        """What `hours` counts: hours of CPU cores, or of GPUs where trials have any."""
        return "GPU-hours" if self.config.resources.gpus_per_worker else "core-hours"

    def hours(self, training: TrainingState, epochs: list[EpochRecord] | None = None) -> float:
        """Return what epochs of a training, by default all of them, cost in `unit`."""
        resources = self.config.resources
        n_workers = training.plan.world_size or resources.n_workers
        per_worker = resources.gpus_per_worker or resources.cpus_per_worker
        records = training.records if epochs is None else epochs
        seconds = sum(record.value("seconds") or 0.0 for record in records)
        return seconds * n_workers * per_worker / _SECONDS_PER_HOUR

    @property
    def hours_of_search(self) -> float:
        """What all trainings of the search cost."""
        trials = self.record.trials.values()
        return sum(self.hours(training) for trial in trials for training in trial.searched)


def read_contents(record: StudyRecord, paths: StudyPaths) -> StudyContents:
    """Return what is known of a study; what its files do not tell is left out.

    Raises:
        StudyError: this version of the program does not know all of its configuration.
    """
    config = study_config_of(record, paths)
    best = record.best
    if best is None or best.best_epoch is None:
        return StudyContents(record, config, paths, None, "no trial has finished an epoch")
    try:
        files = paths.trial(best.id, best.best_training.plan.id)
        evaluation = read_evaluation(files.evaluation(best.best_epoch))
    except UClusterTuneError as error:
        return StudyContents(record, config, paths, None, str(error))
    return StudyContents(record, config, paths, evaluation, "")
