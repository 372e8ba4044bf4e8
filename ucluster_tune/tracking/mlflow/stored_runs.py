"""What MLflow has of studies: their runs, and what those say of themselves."""

from dataclasses import dataclass
from typing import Any, Final

from ucluster_tune.config.passwords import uri_without_password
from ucluster_tune.tracking.mlflow.store import store_errors

TAG_PREFIX: Final = "ucluster_tune."
STATUS: Final = {  # of trials by outcome and of studies by state, in MLflow's words
    "complete": "FINISHED",
    "stopped_early": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
_OF_EVERY_EPOCH: Final = "jets_per_second"  # a number whatever became of the losses


@dataclass(frozen=True)
class TrialRun:
    """What a run of a trial says of itself.

    Attributes:
        epochs: that it was closed with; None while it runs.
        params: names of the hyperparameters that it tells.
    """

    run_id: str
    trial_id: str
    status: str
    outcome: str
    epochs: int | None
    params: frozenset[str]

    def says(self, outcome: str, n_epochs: int) -> bool:
        """Return whether the run was closed with this outcome and so many epochs."""
        is_closed = self.status == STATUS.get(outcome) and self.outcome == outcome
        return is_closed and self.epochs == n_epochs


class StoredRuns:
    """The runs of all studies, in an experiment of an MLflow store; nothing is written.

    Every method raises StudyError when the store cannot be reached.

    Attributes:
        uri: the tracking URI, absolute for SQLite files, without a password.
        experiment_id: of the experiment.
    """

    def __init__(self, client: Any, experiment_id: str) -> None:
        self._client = client
        self._secret_uri: str = client.tracking_uri
        self.uri = uri_without_password(self._secret_uri)
        self.experiment_id = experiment_id

    def logged_epochs(self, run_id: str) -> list[tuple[int, int]]:
        """Return the epochs whose metrics the run has, with the Unix milliseconds sent."""
        with store_errors(self._secret_uri):
            history = self._client.get_metric_history(run_id, _OF_EVERY_EPOCH)
            return [(metric.step, metric.timestamp) for metric in history]

    def study_exists(self, run_id: str) -> bool:
        """Return whether the store holds the run, and it was not deleted."""
        from mlflow.exceptions import MlflowException

        with store_errors(self._secret_uri):
            try:
                run = self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return False
            return bool(run.info.lifecycle_stage == "active")

    def find_study(self, study_id: str) -> str | None:
        """Return the run of the study with this id, None where there is none."""
        with store_errors(self._secret_uri):
            found = self._client.search_runs(
                [self.experiment_id], f"tags.`{TAG_PREFIX}study_id` = '{study_id}'", max_results=1
            )
        return str(found[0].info.run_id) if found else None

    def study_says(self, run_id: str, state: str) -> bool:
        """Return whether the study's run was closed with this state."""
        with store_errors(self._secret_uri):
            run = self._client.get_run(run_id)
        said = run.data.tags.get(f"{TAG_PREFIX}state")
        return bool(run.info.status == STATUS[state] and said == state)

    def trials(self, study_run_id: str) -> list[TrialRun]:
        """All runs of the study's trials that were not deleted, the oldest first."""
        found: list[TrialRun] = []
        token: str | None = None
        with store_errors(self._secret_uri):
            while True:
                page = self._client.search_runs(
                    [self.experiment_id],
                    f"tags.`mlflow.parentRunId` = '{study_run_id}'",
                    order_by=["attributes.start_time ASC"],
                    max_results=1000,
                    page_token=token,
                )
                found += [_trial_run(run) for run in page]
                token = page.token
                if not token:
                    return found


def _trial_run(run: Any) -> TrialRun:
    tags = run.data.tags
    epochs = tags.get(f"{TAG_PREFIX}epochs", "")
    return TrialRun(
        run_id=run.info.run_id,
        trial_id=tags.get(f"{TAG_PREFIX}trial", ""),
        status=run.info.status,
        outcome=tags.get(f"{TAG_PREFIX}outcome", ""),
        epochs=int(epochs) if epochs.isdigit() else None,
        params=frozenset(run.data.params),
    )
