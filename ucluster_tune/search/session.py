"""One driver's time with a study: from the first trial that it begins to the books' closing."""

import logging
from collections.abc import Callable

from ucluster_tune.cluster.connection import RunningRay
from ucluster_tune.config.plan import FittedStudy
from ucluster_tune.errors import MachineError, StudyError, UClusterTuneError
from ucluster_tune.search.driver import StudyDriver, training_config
from ucluster_tune.search.listener import Say
from ucluster_tune.search.reporting import WrittenReport, report_in_time
from ucluster_tune.search.room import Room, SearchSetting
from ucluster_tune.search.samplers.asking import StudySampler
from ucluster_tune.search.tuning import run_trials
from ucluster_tune.search.yardsticks import YardsticksBeside
from ucluster_tune.storage.whole_files import cannot_be_written, takes_nothing
from ucluster_tune.study.budget import used_up
from ucluster_tune.study.events import FinalState, StudyEnded, StudyEvaluated
from ucluster_tune.study.folder import write_best
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.keeper import Observer, RecordKeeper
from ucluster_tune.study.knowledge import first_point
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.dashboards.copy import DashboardCopy
from ucluster_tune.tracking.dashboards.stores import dashboard_store
from ucluster_tune.tracking.mlflow.tracked_study import (
    draw_best_epoch,
    study_metrics,
    study_mirror,
)
from ucluster_tune.tracking.mlflow.tracker import Tracker
from ucluster_tune.trial.failures import in_one_line
from ucluster_tune.trial.measurement import measure_checkpoint

_LOGGER = logging.getLogger(__name__)
_MLFLOW_TIMEOUT_S = 60.0


class Session:
    """Runs the trials of a study that are left, and closes its books.

    Args:
        study: as it was asked for, and as it runs here.
        paths: its files.
        journal: open; has all that the record has.
        record: of the study.
        setting: where it runs, and who is told.
        tracker: the open store; None has it opened later, since a study may go on without it.
    """

    def __init__(
        self,
        study: FittedStudy,
        paths: StudyPaths,
        journal: StudyJournal,
        record: StudyRecord,
        setting: SearchSetting,
        tracker: Tracker | None,
    ) -> None:
        self._drive_with(study, paths, RecordKeeper(journal, record), setting)
        config, keeper = study.config, self.driver.keeper
        self._sampler = StudySampler(config, record, first_point(config, record))
        self._dashboards = DashboardCopy(
            config,
            record,
            keeper.lock,
            dashboard_store(config.tracking, paths, record.study_id),
        )
        before_end = draw_best_epoch(paths, setting.draw_pictures)
        self.mirror = study_mirror(config, keeper, paths, setting.folder, before_end, tracker)
        observers: list[Observer] = [
            self._sampler,
            self._dashboards,
            self.mirror,
            *setting.observers,
        ]
        for observer in observers:
            keeper.tell(observer)

    def _drive_with(
        self,
        study: FittedStudy,
        paths: StudyPaths,
        keeper: RecordKeeper,
        setting: SearchSetting,
    ) -> None:
        """Take what every driver of a study has, whatever it does."""
        self._asked, config = study.asked, study.config
        self._setting, self._viewers = setting, setting.observers
        is_embedded = setting.place.address is None
        resources = config.resources
        cpus_of_a_trial = resources.n_workers * resources.cpus_per_worker
        self._n_cpus = setting.machine.n_cpus if is_embedded else cpus_of_a_trial
        self.driver = StudyDriver(config, paths, keeper, setting.allocation)
        self._yardsticks = YardsticksBeside(config, keeper, setting.say)

    def drive(self, room: Room, ray: RunningRay) -> None:
        """Run the trials that are left; raise what ended that, once the books are closed."""
        driver = self.driver
        for viewer in self._viewers:
            viewer.on_study_start(driver.config, driver.record)
        state: FinalState = "failed"
        cause: str | None = None
        try:
            state, cause = self._run(room, ray)
        except KeyboardInterrupt:
            state, cause = "interrupted", "stopped at once by a signal"
        except SystemExit:  # of a library: nothing of the study itself failed
            state, cause = "interrupted", "the program was ended by one of its libraries"
            raise
        except Exception as error:
            known = _known_error(error, driver)
            lost = _loss_of(ray, driver.record)
            if driver.keeper.fatal is None and lost is not None:
                known = lost  # whatever Tune made of it
            cause = str(known or error) or type(error).__name__
            if driver.keeper.fatal is not None or lost is not None:
                state = "interrupted"  # nothing of the study itself failed
            if known is None or known is error:
                raise
            raise known from None
        finally:
            self._close(state, cause)

    def _run(self, room: Room, ray: RunningRay) -> tuple[FinalState, str | None]:
        """Return how it ended, and why."""
        driver, say = self.driver, self._setting.say
        self.mirror.start()
        if driver.record.is_labelled:
            self._yardsticks.start()
        if driver.record.trials or driver.record.warm_start:
            say(f"Suggestions: {self._sampler.describe()}")
        run_trials(driver, self._sampler, room, say, ray.refuse_dead)
        record, reason = driver.record, used_up(driver.record)
        has_more = record.is_open_ended or len(record.trials) < record.n_trials
        if reason and has_more and not driver.is_interrupted:
            say(f"No trial begins any more: {reason}")
        state, cause = _final_state(driver)
        if state == "complete" and driver.record.is_labelled:
            _evaluate_best(driver, self._n_cpus, say)
        return state, cause

    def _last_steps(self, state: FinalState) -> tuple[Callable[[], object], ...]:
        """Return what is done once the record tells that the driver has ended."""
        driver = self.driver
        return (
            lambda: write_best(driver.paths, self._asked, driver.record),
            self._dashboards.close,
            lambda: self._close_mlflow(state),
        )

    def _close(self, state: FinalState, cause: str | None) -> None:
        """Bring journal and MLflow to an end; a failure here must not hide why it came to this."""
        driver = self.driver
        steps: tuple[Callable[[], object], ...] = (
            self._yardsticks.close,
            lambda: driver.end_running_trials(cause or "the search ended"),
            lambda: driver.keeper.note(StudyEnded(state=state, cause=cause)),
            lambda: driver.paths.stop_request.unlink(missing_ok=True),
            *self._last_steps(state),
        )
        for step in steps:
            try:
                step()
            except (UClusterTuneError, OSError) as error:
                _LOGGER.error("the end of the study could not be written: %s", error)
        for viewer in self._viewers:
            viewer.on_study_end(driver.record)

    def _close_mlflow(self, state: FinalState) -> None:
        has_all = self.mirror.close(_MLFLOW_TIMEOUT_S)  # it draws pictures: not beside the report
        report = self._written_report(state)
        if has_all:
            self.mirror.end_study(state, study_metrics(self.driver.record))
            if report is not None:
                self.mirror.tell_answer(report.page.parent, report.words)
        else:
            again = f"`ucluster-tune repair {self.driver.paths.name}`"
            self._setting.say(f"MLflow is behind the record: type {again} once it is back")

    def _written_report(self, state: FinalState) -> WrittenReport | None:
        """Write the report of a study that came to its end, and return it."""
        driver, setting = self.driver, self._setting
        if state == "interrupted" or not driver.record.trials:
            return None
        return report_in_time(setting.write_report, driver.record, driver.paths, setting.say)


def _loss_of(ray: RunningRay, record: StudyRecord) -> MachineError | None:
    """Return why there is no Ray any more, None where there is."""
    try:
        ray.refuse_dead()
    except MachineError as error:
        verb = "confirm" if record.is_confirming else "resume"
        return MachineError(
            f"{error}. Carry the study on with `ucluster-tune {verb} {record.name}`"
        )
    return None


def _final_state(driver: StudyDriver) -> tuple[FinalState, str | None]:
    record = driver.record
    if driver.stop_cause is not None:
        return "failed", driver.stop_cause
    has_more = record.is_open_ended or record.n_finished < record.n_trials
    if driver.is_interrupted and not driver.is_spent and has_more:
        return "interrupted", driver.pause_cause or "stopped by a signal"
    if record.best is None:
        trials = record.trials.values()
        causes = [in_one_line(trial.kind, trial.cause) for trial in trials if trial.cause]
        return "failed", f"no trial finished an epoch: {causes[0] if causes else 'no trial began'}"
    return "complete", driver.pause_cause if driver.is_spent else None


def _evaluate_best(driver: StudyDriver, n_cpus: float, say: Say) -> None:
    """Measure the best trial's best epoch on the test jets, which nothing was chosen on."""
    best = driver.record.best
    assert best is not None
    assert best.best_epoch is not None
    config = training_config(driver.config, best, best.best_training.plan)
    files = driver.paths.trial(best.id, best.best_training.plan.id)
    try:
        test = measure_checkpoint(
            config,
            files.checkpoint_place(best.best_epoch),
            "test",
            n_cpus=n_cpus,
            least_cpus=driver.config.resources.cpus_per_worker,
            timeout_s=driver.config.resources.epoch_timeout_s,
        )
    except UClusterTuneError as error:
        _LOGGER.error("%s", error)
        say(f"No accuracy on test jets: {error}")
        return
    driver.keeper.note(StudyEvaluated(trial=best.id, test=test))


def _known_error(error: Exception, driver: StudyDriver) -> UClusterTuneError | None:
    """Return what a user can mend, of all that Tune and other libraries raised on top of it."""
    link: BaseException | None = error
    while link is not None and driver.keeper.fatal is None:
        if isinstance(link, UClusterTuneError):
            return link
        if isinstance(link, OSError):
            place = str(link.filename or driver.paths.root)
            if takes_nothing(link):
                driver.keeper.end_for(cannot_be_written(place, link))
            elif link.filename is not None and place.startswith(str(driver.paths.root)):
                return StudyError(cannot_be_written(place, link))
        link = link.__cause__ or link.__context__
    return driver.keeper.fatal
