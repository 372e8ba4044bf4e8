import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import ray
from ray import tune
from ray.tune.search import Searcher

from tests.study_events import epoch, started, study_config, trial_ended, trial_started
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.sampler import StudySampler
from ucluster_tune.search.scheduler import build_scheduler
from ucluster_tune.search.suggestions import OptunaSuggestions
from ucluster_tune.study.knowledge import known_trials
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.dashboards.stores import DashboardFile
from ucluster_tune.trial.trainable import EARLIER, FAILURE

SPACE = {"training.learning_rate": {"type": "float", "low": 0.0, "high": 1.0}}


class Search:
    """Suggestions as a search sees them, and what Optuna was told."""

    n_at_a_time = 1

    def __init__(
        self,
        folder: Path,
        refused: tuple[str, ...] = (),
        room: Callable[[], int] | None = None,
        **sections: Any,
    ) -> None:
        self.study = study_config(search_space=SPACE, **sections)
        self.begun: dict[str, Any] = {}
        self.refused = refused
        self.database = folder / "optuna.db"
        self.sampler = StudySampler(
            self.study, name="jets", dashboards=DashboardFile(self.database, "jets")
        )
        self.suggestions = OptunaSuggestions(
            self.sampler,
            self.study.objective,
            0,
            lambda n_begun: n_begun < self.study.budget.n_trials,
            self.begin,
            room=room,
        )

    def begin(self, trial_id: str, hyperparameters: dict[str, Any]) -> dict[str, Any] | None:
        self.begun[trial_id] = hyperparameters
        if trial_id in self.refused:
            return None
        return {
            "trial_id": trial_id,
            "rate": hyperparameters["training.learning_rate"],
            "trial_config": self.study.model_dump(mode="json"),
        }

    def told(self) -> list[optuna.trial.FrozenTrial]:
        self.sampler.close()
        return optuna.load_study(study_name="jets", storage=f"sqlite:///{self.database}").trials


def result(number: int, accuracy: float) -> dict[str, Any]:
    return epoch("", number, accuracy).record


def test_as_many_trials_are_suggested_as_the_budget_has(tmp_path: Path) -> None:
    search = Search(tmp_path)
    configs = [search.suggestions.suggest(f"tune{n}") for n in range(6)]
    assert [c["trial_id"] for c in configs[:4] if isinstance(c, dict)] == [
        *("0001", "0002", "0003", "0004")
    ]
    assert configs[4:] == [Searcher.FINISHED] * 2
    assert list(search.begun) == ["0001", "0002", "0003", "0004"]


def test_no_trial_begins_while_there_is_no_room(tmp_path: Path) -> None:
    search = Search(tmp_path, room=lambda: search.n_at_a_time)
    assert search.suggestions.suggest("a") is not None
    assert search.suggestions.suggest("b") is None
    search.n_at_a_time = 2
    assert search.suggestions.suggest("c") is not None
    search.n_at_a_time = 1
    search.suggestions.on_trial_complete("a")
    assert search.suggestions.suggest("d") is None
    search.suggestions.on_trial_complete("c")
    assert search.suggestions.suggest("e") is not None
    assert list(search.begun) == ["0001", "0002", "0003"]


def test_complete_trial_is_told_with_its_best_epoch(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.suggestions.suggest("a")
    for number, accuracy in enumerate([0.9, 0.8, 0.5, 0.7, 0.6], start=1):
        search.suggestions.on_trial_result("a", result(number, accuracy))
    search.suggestions.on_trial_complete("a", result(6, 0.65) | {"done": True})
    (trial,) = search.told()
    assert (trial.state.name, trial.value) == ("COMPLETE", 0.7)
    assert trial.intermediate_values == {1: 0.9, 2: 0.8, 3: 0.5, 4: 0.7, 5: 0.6, 6: 0.65}


def test_trial_stopped_before_its_last_epoch_is_told_as_pruned(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.suggestions.suggest("a")
    search.suggestions.on_trial_result("a", result(1, 0.3))
    search.suggestions.on_trial_complete("a", result(2, 0.4) | {"done": True})
    (trial,) = search.told()
    assert trial.state.name == "PRUNED"
    assert trial.intermediate_values == {1: 0.3, 2: 0.4}


def test_errors_interruptions_and_refusals_are_told_as_failed(tmp_path: Path) -> None:
    search = Search(tmp_path, refused=("0002",))
    for name in "abc":
        search.suggestions.suggest(name)
    search.suggestions.on_trial_result("a", result(6, 0.3))
    search.suggestions.on_trial_complete("a", error=True)
    search.suggestions.on_trial_complete("a", error=True)  # Tune may say so twice
    search.suggestions.on_trial_complete("b")
    search.suggestions.interrupt()
    assert [trial.state.name for trial in search.told()] == ["FAIL"] * 4
    assert search.suggestions.suggest("d") == Searcher.FINISHED


def test_failure_told_as_a_result_counts_as_one(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.suggestions.suggest("a")
    search.suggestions.on_trial_result("a", result(1, 0.3))
    search.suggestions.on_trial_complete("a", {FAILURE: "loss is not finite", "done": True})
    assert [trial.state.name for trial in search.told()] == ["FAIL"]


def test_interrupted_trials_go_on_before_new_ones_begin(tmp_path: Path) -> None:
    study = study_config(search_space=SPACE)
    record = StudyRecord(started(study))
    rate = {"training.learning_rate": 0.5}
    for event in (
        trial_started("0001", **rate),
        epoch("0001", 1, 0.9),
        epoch("0001", 2, 0.2),
        epoch("0001", 3, 0.4),
        trial_ended("0001", "interrupted", 3),
    ):
        record.apply(event)
    database = tmp_path / "optuna.db"
    known = known_trials(record, study.objective)
    sampler = StudySampler(
        study, name="jets", dashboards=DashboardFile(database, "jets"), known=known
    )
    search = OptunaSuggestions(
        sampler,
        study.objective,
        1,
        lambda n_begun: n_begun < 2,
        lambda trial_id, _: {"id": trial_id, "trial_config": study.model_dump(mode="json")},
        interrupted=list(record.trials.values()),
        resume_trial=lambda trial: {"id": trial.id},
    )
    assert [search.suggest(name)["id"] for name in "ab"] == ["0001", "0002"]  # type: ignore[index]
    assert search.suggest("c") == Searcher.FINISHED
    search.on_trial_result("a", result(3, 0.4))  # told again: known already
    earlier = [result(3, 0.4), result(4, 0.3)]
    search.on_trial_result("a", result(5, 0.3) | {EARLIER: earlier})
    search.on_trial_complete("a", result(6, 0.35))
    sampler.close()
    first, second = optuna.load_study(study_name="jets", storage=f"sqlite:///{database}").trials
    assert (first.state.name, first.value) == ("COMPLETE", 0.4)
    assert first.intermediate_values == {1: 0.9, 2: 0.2, 3: 0.4, 4: 0.3, 5: 0.3, 6: 0.35}
    assert second.state.name == "RUNNING"


def test_value_that_is_no_number_is_not_told(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.suggestions.suggest("a")
    search.suggestions.on_trial_result("a", result(1, float("nan")))
    search.suggestions.on_trial_complete("a", result(6, 0.4))
    (trial,) = search.told()
    assert trial.intermediate_values == {6: 0.4}


def test_tune_can_pickle_the_suggestions_and_gets_nothing(tmp_path: Path) -> None:
    search = Search(tmp_path)
    assert vars(pickle.loads(pickle.dumps(search.suggestions))) == {}
    assert vars(copy.copy(search.suggestions)) == {}
    search.suggestions.save(str(tmp_path / "searcher.pkl"))
    assert not (tmp_path / "searcher.pkl").exists()


class Line(tune.Trainable):
    """Gains accuracy in proportion to its rate; fails above 0.95."""

    def setup(self, config: dict[str, Any]) -> None:
        self.rate = config["rate"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.rate = new_config["rate"]
        return True

    def step(self) -> dict[str, Any]:
        number = self.iteration + 1
        if self.rate > 0.95:
            raise RuntimeError("too fast")
        return result(number, self.rate * number / 6) | {"done": number == 6}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_tune_runs_a_search_and_optuna_knows_what_became_of_each_trial(tmp_path: Path) -> None:
    scheduler = {"grace_period": 2, "reduction_factor": 2.0}
    search = Search(tmp_path, scheduler=scheduler, budget={"n_trials": 8}, sampler={"seed": 3})
    study: StudyConfig = search.study
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        tune.Tuner(
            Line,
            tune_config=tune.TuneConfig(
                search_alg=search.suggestions,
                scheduler=build_scheduler(study),
                num_samples=-1,
                max_concurrent_trials=2,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(storage_path=str(tmp_path), name="ray", verbose=0),
        ).fit()
    finally:
        ray.shutdown()
    trials = search.told()
    assert len(trials) == 8
    assert {"COMPLETE", "PRUNED"} <= {trial.state.name for trial in trials}
    for trial in trials:
        rate = trial.params["training.learning_rate"]
        expected = {
            number: pytest.approx(rate * number / 6)
            for number in range(1, len(trial.intermediate_values) + 1)
        }
        assert trial.intermediate_values == expected
        if rate > 0.95:
            assert trial.state.name == "FAIL"
        elif len(trial.intermediate_values) == 6:
            assert trial.state.name == "COMPLETE"
            assert trial.value == pytest.approx(rate)
        else:
            assert trial.state.name == "PRUNED"
