"""What Tune is given to run, and in which order it tells what became of it."""

import copy
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from tests.study_events import epoch, started, study_config
from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.search.samplers.asking import StudySampler
from ucluster_tune.search.suggestions import Suggestions
from ucluster_tune.search.tuning import run_trials
from ucluster_tune.study.journal import StudyJournal, read_record
from ucluster_tune.study.keeper import RecordKeeper
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.trial.trainable import EPOCH, NOTE, ResultNote

SPACE = {"training.learning_rate": {"type": "float", "low": 0.001, "high": 1.0}}


class Search:
    """A driver, its sampler, and the suggestions that Tune gets."""

    n_at_a_time = 8

    def __init__(self, folder: Path, record: StudyRecord | None = None, **sections: Any) -> None:
        config = study_config(search_space=SPACE, **sections)
        self.paths = StudiesFolder(folder).study("jets")
        self.paths.trials.mkdir(parents=True, exist_ok=True)
        self.journal = StudyJournal(self.paths.record)
        if record is None:
            first = started(config)
            self.journal.append(first)
            record = StudyRecord(first)
        keeper = RecordKeeper(self.journal, record)
        self.driver = StudyDriver(config, self.paths, keeper)
        self.sampler = StudySampler(config, record)
        keeper.tell(self.sampler)
        self.suggestions = Suggestions(self.sampler, self.driver, lambda: self.n_at_a_time)

    def suggest(self, n_times: int = 1) -> list[str | None]:
        """Return the trials suggested, FINISHED, or None."""
        told = [self.suggestions.suggest(f"tune{n}") for n in range(n_times)]
        return [one["trial_id"] if isinstance(one, dict) else one for one in told]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Search]]:
    """A function that makes a search of 4 trials of 6 epochs."""
    made: list[Search] = []

    def make(record: StudyRecord | None = None, **sections: Any) -> Search:
        made.append(Search(tmp_path, record, **sections))
        return made[-1]

    yield make
    for search in made:
        search.journal.close()


def test_as_many_trials_are_suggested_as_the_budget_has(begin: Callable[..., Search]) -> None:
    search = begin()
    assert search.suggest(6) == ["0001", "0002", "0003", "0004", *[Searcher.FINISHED] * 2]
    assert list(read_record(search.paths.record).trials) == ["0001", "0002", "0003", "0004"]


def test_no_trial_begins_while_there_is_no_room(begin: Callable[..., Search]) -> None:
    search = begin()
    search.n_at_a_time = 1
    assert search.suggest(2) == ["0001", None]
    search.n_at_a_time = 2
    assert search.suggest() == ["0002"]
    search.n_at_a_time = 1
    search.driver.end_trial("0001")
    assert search.suggest() == [None]
    search.driver.end_trial("0002")
    assert search.suggest() == ["0003"]


def test_interrupted_trials_go_on_before_new_ones_begin(begin: Callable[..., Search]) -> None:
    first = begin()
    assert first.suggest(2) == ["0001", "0002"]
    first.driver.take_in("0001", epoch("0001", 1, 0.9).record, ResultNote())
    first.driver.end_running_trials("killed")
    first.journal.close()
    again = begin(read_record(first.paths.record))
    assert again.suggest(5) == ["0001", "0002", "0003", "0004", Searcher.FINISHED]
    assert again.driver.record.trials["0001"].epochs == 1


def test_refused_hyperparameters_are_a_failed_trial_and_the_next_one_begins(
    begin: Callable[..., Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = begin()
    ask = search.sampler.ask

    def ask_for_too_much(trial_id: str) -> Any:
        suggestion = ask(trial_id)
        if trial_id == "0001":
            suggestion.hyperparameters["training.learning_rate"] = -1.0
        return suggestion

    monkeypatch.setattr(search.sampler, "ask", ask_for_too_much)
    assert search.suggest() == ["0002"]
    assert search.driver.record.trials["0001"].outcome == "failed"
    assert [t.state.name for t in search.sampler.what_it_knows()] == ["FAIL", "RUNNING"]


def test_nothing_is_suggested_once_the_search_is_to_end(begin: Callable[..., Search]) -> None:
    search = begin()
    search.driver.is_interrupted = True
    assert search.suggest() == [Searcher.FINISHED]


def test_tune_can_pickle_the_suggestions_and_gets_nothing(
    begin: Callable[..., Search], tmp_path: Path
) -> None:
    suggestions = begin().suggestions
    assert vars(pickle.loads(pickle.dumps(suggestions))) == {}
    assert vars(copy.copy(suggestions)) == {}
    suggestions.save(str(tmp_path / "searcher.pkl"))
    assert not (tmp_path / "searcher.pkl").exists()


class Line(tune.Trainable):
    """Gains accuracy in proportion to its rate; fails above 0.95."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.rate = new_config["task"].config.training.learning_rate
        return True

    def step(self) -> dict[str, Any]:
        number = self.iteration + 1
        if self.rate > 0.95:
            raise RuntimeError("too fast")
        told = epoch("", number, self.rate * number / 6).record
        return {EPOCH: told, NOTE: ResultNote(), "done": number == 6}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass


class Dying(Line):
    """Its process dies where it is given a second trial, as if it had been killed before."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if hasattr(self, "rate"):
            folder = Path(new_config["task"].folder)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "died").touch()
            os._exit(1)
        self.rate = 0.5  # no trial fails of itself
        return True


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    """A Ray of two CPUs."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("two_cpus")
def test_tune_runs_a_search_and_the_sampler_knows_what_became_of_each_trial(
    begin: Callable[..., Search],
) -> None:
    search = begin(
        scheduler={"grace_period": 2, "reduction_factor": 2.0},
        budget={"n_trials": 8},
        sampler={"seed": 3, "published_first": False},
        failures={"max_retries": 0},
        resources={"workers_per_trial": 1},
    )
    search.n_at_a_time = 2
    run_trials(search.driver, search.sampler, lambda: 2, lambda _line: None, lambda: None, Line)
    record = search.driver.record
    known = search.sampler.what_it_knows()
    assert len(known) == len(record.trials) == 8
    assert not record.running
    states = {"complete": "COMPLETE", "stopped_early": "PRUNED", "failed": "FAIL"}
    outcomes = {trial.outcome for trial in record.trials.values()}
    assert {"complete", "stopped_early"} <= outcomes <= set(states)
    for trial, learnt in zip(record.trials.values(), known, strict=True):
        assert learnt.state.name == states[trial.outcome]
        assert learnt.intermediate_values == trial.objective_by_epoch(record.objective)
        rate = float(trial.hyperparameters["training.learning_rate"])
        assert trial.objective_by_epoch(record.objective) == {
            number: pytest.approx(rate * number / 6) for number in range(1, trial.epochs + 1)
        }
        if trial.outcome == "complete":
            assert learnt.value == pytest.approx(rate)
        elif trial.outcome == "failed":
            assert rate > 0.95


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("two_cpus")
def test_process_that_is_lost_between_two_trials_is_no_failure_of_the_second(
    begin: Callable[..., Search],
) -> None:
    search = begin(
        scheduler={"name": "none"},
        sampler={"name": "random", "seed": 2},
        budget={"n_trials": 2},
        failures={"max_retries": 0},
        resources={"workers_per_trial": 1},
    )
    search.n_at_a_time = 1
    run_trials(search.driver, search.sampler, lambda: 1, lambda _line: None, lambda: None, Dying)
    trials = search.driver.record.trials.values()
    assert [(trial.outcome, trial.epochs) for trial in trials] == [("complete", 6)] * 2
    assert [trial.retry_causes for trial in trials] == [[]] * 2
    assert [path.parent.name for path in search.paths.trials.rglob("died")] == ["0002"]


HEARD: list[tuple[str, int]] = []


class HearingStopper(tune.Stopper):
    """Notes when it is asked."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        HEARD.append(("stopper", result["training_iteration"]))
        return False

    def stop_all(self) -> bool:
        return False


class HearingScheduler(FIFOScheduler):
    """Notes when it is asked."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        HEARD.append(("scheduler", result["training_iteration"]))
        return str(super().on_trial_result(tune_controller, trial, result))


class HearingCallback(tune.Callback):
    """Notes when it is told."""

    def on_trial_result(self, *arguments: Any, **options: Any) -> None:
        HEARD.append(("callback", options["result"]["training_iteration"]))


class Two(tune.Trainable):
    """Has two results."""

    def step(self) -> dict[str, Any]:
        return {"done": self.iteration == 1}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("two_cpus")
def test_tune_asks_the_stopper_first_of_every_result_the_last_one_too(tmp_path: Path) -> None:
    HEARD.clear()
    tune.Tuner(
        Two,
        tune_config=tune.TuneConfig(scheduler=HearingScheduler()),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path),
            name="ray",
            stop=HearingStopper(),
            callbacks=[HearingCallback()],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    ).fit()
    assert [who for who, number in HEARD if number == 1] == ["stopper", "scheduler", "callback"]
    assert next(who for who, number in HEARD if number == 2) == "stopper"
