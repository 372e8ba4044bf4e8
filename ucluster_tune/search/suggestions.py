"""Ray Tune's view of the sampler: Tune asks for trials here, and tells what became of them.

In place of Tune's own OptunaSearch, which tells Optuna that a trial stopped early was complete,
and pickles itself. This one is not saved by Tune: the journal is what a search goes on from.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.search import Searcher

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.search.sampler import StudySampler
from ucluster_tune.search.scheduler import tune_mode
from ucluster_tune.study.events import FinalOutcome, Value
from ucluster_tune.study.record import TrialState, trial_number_to_id
from ucluster_tune.training.record import Rank, epoch_rank
from ucluster_tune.trial.trainable import EARLIER, FAILURE

TuneConfig = dict[str, Any]
BeginTrial = Callable[[str, dict[str, Value]], TuneConfig | None]
ResumeTrial = Callable[[TrialState], TuneConfig | None]


@dataclass
class _LiveTrial:
    trial_id: str
    n_epochs: int
    epoch: int = 0
    score: float | None = None
    rank: Rank | None = None


class OptunaSuggestions(Searcher):
    """Gives Tune one configuration a trial: first those that go on, then new ones.

    Optuna is told each epoch's objective as an intermediate value; for a complete trial the
    objective at its best epoch, as the study's record scores it; for a trial that ended before its
    last epoch that it was pruned; for one that raised an error that it failed.

    Args:
        sampler: asked and told; knows the trials so far.
        objective: what is reported, and which epoch is the best.
        n_begun: trials of the study that have begun.
        may_begin: tells, given how many have begun, whether another trial may begin.
        begin_trial: called with the trial's id and its hyperparameters, once, before it starts;
            returns Tune's configuration of the trial, or None to refuse the hyperparameters, which
            then count as a failed trial.
        is_interrupted: tells that the search is to end; no trial begins then, and those that end
            before their last epoch were interrupted.
        interrupted: trials of the study to go on with.
        resume_trial: the same as begin_trial for one of these.
        has_failed: tells, given its id, whether a trial was given up.
        room: tells how many trials may run at a time, None for any number; no trial begins while
            as many run.
    """

    def __init__(
        self,
        sampler: StudySampler,
        objective: ObjectiveConfig,
        n_begun: int,
        may_begin: Callable[[int], bool],
        begin_trial: BeginTrial,
        is_interrupted: Callable[[], bool] = lambda: False,
        interrupted: Sequence[TrialState] = (),
        resume_trial: ResumeTrial | None = None,
        has_failed: Callable[[str], bool] = lambda _trial_id: False,
        room: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(metric=objective.metric, mode=tune_mode(objective))
        self._sampler = sampler
        self._objective = objective
        self._n_begun = n_begun
        self._may_begin = may_begin
        self._begin_trial = begin_trial
        self._is_interrupted = is_interrupted
        self._interrupted = list(interrupted)
        self._resume_trial = resume_trial
        self._has_failed = has_failed
        self._room = room
        self._live: dict[str, _LiveTrial] = {}

    # Ray's annotation leaves out FINISHED, which is text, and None.
    def suggest(self, trial_id: str) -> TuneConfig | str | None:  # type: ignore[override]
        """Return the next trial's configuration, FINISHED, or None where it has to wait.

        Args:
            trial_id: Tune's own.
        """
        if self._room is not None and len(self._live) >= self._room():
            return None
        while self._interrupted and not self._is_interrupted():
            trial = self._interrupted.pop(0)
            assert self._resume_trial is not None
            config = self._resume_trial(trial)
            if config is not None:
                self._live[trial_id] = _LiveTrial(
                    trial.id,
                    trial.n_epochs,
                    trial.epochs,
                    trial.score(self._objective),
                    trial.rank,
                )
                return config
            self._sampler.tell(trial.id, "failed")
        while not self._is_interrupted() and self._may_begin(self._n_begun):
            self._n_begun += 1
            our_id = trial_number_to_id(self._n_begun)
            config = self._begin_trial(our_id, self._sampler.ask(our_id))
            if config is not None:
                n_epochs = int(config["trial_config"]["training"]["n_epochs"])
                self._live[trial_id] = _LiveTrial(our_id, n_epochs)
                return config
            self._sampler.tell(our_id, "failed")
        return str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Pass an epoch on; Tune leaves a trial's last one to `on_trial_complete`."""
        trial = self._live[trial_id]
        for epoch in (*result.get(EARLIER, ()), result):
            self._take_in(trial, epoch)

    def _take_in(self, trial: _LiveTrial, result: Mapping[str, Any]) -> None:
        if result["epoch"] <= trial.epoch:
            return
        trial.epoch = result["epoch"]
        rank = epoch_rank(result, self._objective)
        if rank is None:
            return
        value = float(result[self._objective.metric])
        self._sampler.report(trial.trial_id, trial.epoch, value)
        if trial.rank is None or rank > trial.rank:
            trial.rank, trial.score = rank, value

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass a trial's end on."""
        if trial_id not in self._live:
            return
        if result and "epoch" in result:
            self.on_trial_result(trial_id, result)
        trial = self._live.pop(trial_id)
        outcome: FinalOutcome = "interrupted"
        if error or (result and FAILURE in result) or self._has_failed(trial.trial_id):
            outcome = "failed"
        elif trial.epoch >= trial.n_epochs:
            outcome = "complete"
        elif trial.epoch and not self._is_interrupted():
            outcome = "stopped_early"
        self._sampler.tell(trial.trial_id, outcome, trial.score)

    def interrupt(self) -> None:
        """Tells the trials still running that the search was interrupted."""
        for trial in self._live.values():
            self._sampler.tell(trial.trial_id, "interrupted")
        self._live.clear()

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: see the module."""

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles a search's settings, of which this is no part."""
        return {}
