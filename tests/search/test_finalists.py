"""Finalists as Tune is given them; journal, record, driver and files are the real ones."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from tests.study_events import epoch, started, study_config, trial_ended, trial_started
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.search.samplers.asking import StudySampler
from ucluster_tune.search.schedulers.decision import Decision
from ucluster_tune.search.suggestions import Finalists
from ucluster_tune.study.confirming import ConfirmationRequest, ended_well, plan_confirmation
from ucluster_tune.study.events import ConfirmationPlanned, StudyEnded, StudyResumed
from ucluster_tune.study.journal import StudyJournal, read_record
from ucluster_tune.study.keeper import RecordKeeper
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.trial.failures import FAILURE_KINDS, TrialFailure
from ucluster_tune.trial.trainable import ResultNote

RATE = "training.learning_rate"
CONFIG = study_config(
    search_space={RATE: {"type": "float", "low": 1e-4, "high": 0.1, "log": True}},
    budget={"n_trials": 1},
)


class Confirming:
    """A driver of the confirmation of a study of one trial, which reached 70 %."""

    def __init__(self, folder: Path, **asked: Any) -> None:
        self.paths = StudiesFolder(folder).study("jets")
        is_new = not self.paths.record.exists()
        self.paths.trials.mkdir(parents=True, exist_ok=True)
        self.journal = StudyJournal(self.paths.record)
        if is_new:
            trial = [trial_started("0001", **{RATE: 0.05}), epoch("0001", 3, 0.7)]
            end = [trial_ended("0001", "complete", 6), StudyEnded(state="complete")]
            told: list[Any] = [started(CONFIG), *trial, *end]
            for event in told:
                self.journal.append(event)
        record = read_record(self.paths.record)
        self.keeper = RecordKeeper(self.journal, record)
        self.plan = plan_confirmation(record, CONFIG, ConfirmationRequest(**asked), "abc", 3)
        if is_new:
            self.keeper.note(ConfirmationPlanned(plan=self.plan))
        self.keeper.note(StudyResumed(code_version="0", host="here", purpose="confirmation"))
        self.sampler = StudySampler(CONFIG, record)
        self.keeper.tell(self.sampler)
        self.driver = StudyDriver(CONFIG, self.paths, self.keeper)
        self.finalists = Finalists(None, self.driver, lambda: 9)

    @property
    def keys(self) -> list[str]:
        """What Tune is to know the trainings by."""
        return [f"{trial}.{plan.id}" for trial, plan in self.plan.trainings()]

    def suggest(self, n_times: int = 1) -> list[Any]:
        """Return the trainings suggested, or FINISHED."""
        told = [self.finalists.suggest(f"tune{n}") for n in range(n_times)]
        return [one["trial_id"] if isinstance(one, dict) else one for one in told]

    def run(self, key: str, n_epochs: int) -> None:
        """Have epochs of a training reported."""
        self.driver.place_trial(key)
        for number in range(1, n_epochs + 1):
            record = epoch("any", number, 0.9).record
            self.driver.take_in(key, record, ResultNote(restored_epoch=0))


@pytest.fixture
def confirm(tmp_path: Path) -> Iterator[Callable[..., Confirming]]:
    """A function that begins, or carries on, a confirmation with two seeds."""
    made: list[Confirming] = []

    def make(**asked: Any) -> Confirming:
        if made:
            made[-1].journal.close()
        made.append(Confirming(tmp_path, **({"n_seeds": 2} | asked)))
        return made[-1]

    yield make
    made[-1].journal.close()


def test_each_seed_is_given_to_each_configuration_and_then_no_more(
    confirm: Callable[..., Confirming],
) -> None:
    search = confirm()
    assert [key.split(".")[0] for key in search.keys] == ["0001", "published"] * 2
    assert search.suggest(5) == [*search.keys, Searcher.FINISHED]


def test_training_has_the_seed_and_epochs_of_the_plan_and_the_trials_own_rest(
    confirm: Callable[..., Confirming],
) -> None:
    search = confirm(n_epochs=9)
    told: Any = search.finalists.suggest("tune0")
    config, seed = told["task"].config, search.plan.seeds[0]
    assert (config.training.seed, config.training.n_epochs) == (seed, 9)
    assert config.training.learning_rate == 0.05
    folder = search.paths.trials / "0001" / f"c1-seed-{seed}"
    assert told["task"].folder == str(folder)
    written = load_study_config(folder / "config.yaml")
    assert written.training == config.training
    recipe: Any = search.finalists.suggest("tune1")
    assert recipe["task"].config.training.learning_rate == 0.001  # as published


def test_training_with_labels_is_the_recipe_s_but_for_its_head_and_is_chosen_by_accuracy(
    confirm: Callable[..., Confirming],
) -> None:
    objective = {"metric": "silhouette"}
    search = confirm(is_supervised=True)
    search.driver.config = study_config(
        search_space=CONFIG.model_dump()["search_space"], objective=objective
    )
    told: list[Any] = [search.finalists.suggest(f"tune{n}") for n in range(3)]
    recipe, labelled = told[1]["task"], told[2]["task"]
    model, training = labelled.config.model, labelled.config.training
    assert (model.head, model.n_clusters, training.n_pretraining_epochs) == ("classes", 3, 1)
    assert model.model_copy(update={"head": "mass_bins"}) == recipe.config.model
    assert training.model_copy(update={"n_pretraining_epochs": 2}) == recipe.config.training
    assert labelled.objective.metric == "clustering_accuracy"
    assert recipe.objective.metric == "silhouette"
    assert list(search.driver.record.other_trials) == ["published", "supervised"]


def test_epochs_of_finalists_teach_nobody_and_no_judge_stops_them(
    confirm: Callable[..., Confirming],
) -> None:
    search = confirm()
    search.suggest(4)
    known = len(search.sampler.what_it_knows())
    for key in search.keys:
        search.run(key, 6)
        assert search.driver.verdict(key) is Decision.GO_ON
        search.driver.end_trial(key)
    record = search.driver.record
    assert len(ended_well(record, search.plan)) == 4
    assert len(search.sampler.what_it_knows()) == known
    assert (record.n_finished, list(record.trials)) == (1, ["0001"])
    assert record.best is not None
    assert record.best.best is not None
    assert record.best.best.clustering_accuracy == 0.7


def test_confirmation_that_was_killed_goes_on_where_it_was(
    confirm: Callable[..., Confirming],
) -> None:
    search = confirm()
    search.suggest(2)
    first, second, *rest = search.keys
    search.run(first, 6)
    search.driver.end_trial(first)
    search.run(second, 3)
    search.driver.end_running_trials("killed")
    search.keeper.note(StudyEnded(state="interrupted"))
    again = confirm()
    assert again.keys == search.keys
    assert again.suggest(4) == [second, *rest, Searcher.FINISHED]
    training = again.driver.record.other_trials["published"].trainings[second.split(".")[1]]
    assert (training.outcome, training.epochs) == ("running", 3)


def test_training_with_labels_that_was_killed_goes_on_where_it_was(
    confirm: Callable[..., Confirming],
) -> None:
    search = confirm(is_supervised=True, n_seeds=1)
    search.suggest(3)
    *others, labelled = search.keys
    for key in others:
        search.run(key, 6)
        search.driver.end_trial(key)
    search.run(labelled, 3)
    search.driver.end_running_trials("killed")
    search.keeper.note(StudyEnded(state="interrupted"))
    again = confirm(n_seeds=1)
    assert again.suggest(2) == [labelled, Searcher.FINISHED]
    training = again.driver.record.other_trials["supervised"].trainings[labelled.split(".")[1]]
    assert (training.outcome, training.epochs) == ("running", 3)
    assert training.plan.hyperparameters["model.head"] == "classes"


def test_stop_gives_out_no_further_training(confirm: Callable[..., Confirming]) -> None:
    search = confirm()
    search.suggest()
    search.driver.is_interrupted = True
    assert search.suggest() == [Searcher.FINISHED]


def test_finalist_whose_workers_are_lost_for_good_has_failed(
    confirm: Callable[..., Confirming],
) -> None:
    search = confirm()
    search.suggest(4)
    kind = next(k for k in FAILURE_KINDS.values() if not k.is_retried)
    assert search.driver.lose_process(search.keys[0], TrialFailure("a cause", kind)) is None
    training = search.driver.record.trials["0001"].trainings[search.keys[0].split(".")[1]]
    assert (training.outcome, training.cause) == ("failed", "a cause")
    assert search.driver.record.trials["0001"].outcome == "complete"
