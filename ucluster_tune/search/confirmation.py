"""One driver's time with the finalists of a study: trained, measured on test jets, compared."""

import io
import logging
from collections.abc import Callable

import numpy as np

from ucluster_tune.cluster.connection import RunningRay
from ucluster_tune.config.plan import FittedStudy
from ucluster_tune.data.format.packed import IntArray
from ucluster_tune.data.reading.dataset import open_dataset
from ucluster_tune.errors import StudyError
from ucluster_tune.search.driver import training_config
from ucluster_tune.search.reporting import WrittenReport
from ucluster_tune.search.room import Room, SearchSetting
from ucluster_tune.search.session import Session
from ucluster_tune.search.suggestions import Finalists
from ucluster_tune.search.tuning import run_trials
from ucluster_tune.search.yardsticks import answer_of, begin_measure
from ucluster_tune.storage.whole_files import write_whole
from ucluster_tune.study.confirmed import ConfirmationJudge
from ucluster_tune.study.confirming import ended_well, known_trainings
from ucluster_tune.study.events import ConfirmationEnded, FinalState, TrainingEvaluated
from ucluster_tune.study.finalists import ConfirmationPlan
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.keeper import RecordKeeper
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrainingState
from ucluster_tune.tracking.mlflow.tracked_study import open_store_of
from ucluster_tune.training.agreement import measured_on
from ucluster_tune.trial.measurement import measure_checkpoint

_LOGGER = logging.getLogger(__name__)
_CLUSTERS = "test_clusters.npy"  # of a training's best epoch: int64 [jet]


class Confirmation(Session):
    """Trains what the study's open confirmation plans, and tells what came of it.

    Neither sampler nor dashboards nor MLflow are told of its trainings; the study's run in MLflow
    gets the answer.

    Args:
        study: as it was asked for, and as it runs here, on the jets of the confirmation.
        paths: its files.
        journal: open; has all that the record has.
        record: of the study.
        setting: where it runs, and who is told.
    """

    def __init__(
        self,
        study: FittedStudy,
        paths: StudyPaths,
        journal: StudyJournal,
        record: StudyRecord,
        setting: SearchSetting,
    ) -> None:
        keeper = RecordKeeper(journal, record, setting.observers)
        self._drive_with(study, paths, keeper, setting)
        confirmation = record.open_confirmation
        assert confirmation is not None, "planned when the study was opened"
        self._plan: ConfirmationPlan = confirmation.plan

    def _run(self, room: Room, ray: RunningRay) -> tuple[FinalState, str | None]:
        driver, plan = self.driver, self._plan
        run_trials(driver, None, room, self._setting.say, ray.refuse_dead, suggestions=Finalists)
        if driver.stop_cause is not None:
            raise StudyError(driver.stop_cause)
        known = known_trainings(driver.record, plan)
        are_ended = all(t.outcome in ("complete", "failed") for t in known.values())
        if driver.is_interrupted and not (are_ended and len(known) == len(plan.trainings())):
            return "interrupted", "stopped by a signal"
        self._judge()
        return "complete", None

    def _last_steps(self, state: FinalState) -> tuple[Callable[[], object], ...]:
        return (lambda: self._tell_mlflow(self._written_report(state)),)

    def _tell_mlflow(self, report: WrittenReport | None) -> None:
        """Have the study's run tell the answer that is confirmed; its trials stay as they are."""
        record, config = self.driver.record, self.driver.config
        if report is None or record.run_id is None:
            return
        try:
            tracker = open_store_of(config, record, self._setting.folder)
            if tracker.study_exists(record.run_id):
                tracker.tell_answer(record.run_id, report.page.parent, report.words)
        except StudyError as error:
            self._setting.say(f"MLflow has the answer of the search still: {error}")

    def _judge(self) -> None:
        driver, plan = self.driver, self._plan
        self._setting.say("Measuring the finalists and the yardsticks on test jets")
        task = begin_measure(driver.config)
        dataset = open_dataset(driver.config.data)
        _, jet_class = dataset.read_masses("test")
        n_classes = len(dataset.class_names)
        clusters = {
            (trial, name): self._clusters_of(trial, training, jet_class, n_classes)
            for (trial, name), training in ended_well(driver.record, plan).items()
        }
        yardsticks, ways = answer_of(task)
        judge = ConfirmationJudge(
            driver.record, plan, driver.config, clusters, jet_class, yardsticks, ways
        )
        driver.keeper.note(ConfirmationEnded(confirmation=plan.id, result=judge.result()))

    def _clusters_of(
        self, trial_id: str, training: TrainingState, jet_class: IntArray, n_classes: int
    ) -> IntArray:
        """Return the clusters of the test jets at a training's best epoch; measured once."""
        driver, plan = self.driver, training.plan
        files = driver.paths.trial(trial_id, plan.id)
        kept = files.root / _CLUSTERS
        if training.test is not None and kept.exists():
            return np.asarray(np.load(kept))
        trials = {**driver.record.trials, **driver.record.other_trials}
        config = training_config(driver.config, trials[trial_id], plan)
        assert training.best is not None, "ended well"
        found = measure_checkpoint(
            config,
            files.checkpoint_place(training.best.epoch),
            "test",
            n_cpus=self._n_cpus,
            least_cpus=driver.config.resources.cpus_per_worker,
            timeout_s=driver.config.resources.epoch_timeout_s,
            keeps_jets=True,
        )
        if not np.array_equal(found["jet_class"], jet_class):
            raise StudyError(
                f"{config.data.path}: its test jets changed while finalists were measured; bring"
                f" the old ones back, and type `ucluster-tune confirm {driver.record.name}` again"
            )
        cluster: IntArray = found["cluster"]
        contents = io.BytesIO()
        np.save(contents, cluster)
        write_whole(kept, contents.getvalue())
        size = config.training.evaluation_batch_size
        shape = (config.model.n_clusters, n_classes)
        test = measured_on(cluster, jet_class, shape, size)
        driver.keeper.note(TrainingEvaluated(trial=trial_id, training=plan.id, test=test))
        return cluster
