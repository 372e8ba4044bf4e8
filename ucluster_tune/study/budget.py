"""What is left of a study's budget: the one place that says whether another trial may begin.

A limit is asked of the study's record, which knows all that was spent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ucluster_tune.config.automatic import most_trials
from ucluster_tune.config.budget import BudgetConfig
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.study.events import seconds_between, utc_now

if TYPE_CHECKING:
    from ucluster_tune.study.record import StudyRecord
    from ucluster_tune.study.trainings import TrialState


def budget_of(config: Mapping[str, Any]) -> BudgetConfig:
    """Return the budget in a study's configuration as its record holds it.

    A grid that is smaller than the budget ends the search: no point of it is tried twice.
    """
    budget = BudgetConfig(**config.get("budget", {}))
    if config.get("sampler", {}).get("name") not in ("auto", "grid"):
        return budget
    return budget.model_copy(update={"n_trials": most_trials(StudyConfig.model_validate(config))})


def with_time_limit(config: dict[str, Any], until: str | None) -> dict[str, Any]:
    """Return a study's configuration with its time limit in it.

    Older versions told that beside the configuration, which held a number that no study reaches.
    """
    if until is None:
        return config
    return {**config, "budget": {"n_trials": None, "until": until}}


def is_left(record: "StudyRecord") -> bool:
    """Return whether another trial may begin now."""
    return used_up(record) is None


def may_go_on(record: "StudyRecord") -> bool:
    """Return whether anything of a search that stands still is left to do."""
    if overspent(record) is not None:
        return False
    if any(trial.outcome == "interrupted" for trial in record.trials.values()):
        return True
    if record.state != "complete" and record.best is not None and record.best_test is None:
        return True  # the measure on test jets is left
    return is_left(record)


def used_up(record: "StudyRecord") -> str | None:
    """Return why no other trial may begin now: the limit, in words. None where one may."""
    budget, n_begun = record.budget, len(record.trials)
    if budget.n_trials is not None and n_begun >= budget.n_trials:
        return f"{n_begun} of {budget.n_trials} trials were begun"
    if budget.is_over_at(datetime.now(UTC)):
        return f"budget.until, {budget.until}, is over"
    if budget.total_epochs is not None and n_epochs_run(record) >= budget.total_epochs:
        return (
            f"{n_epochs_run(record)} epochs were run, budget.total_epochs is {budget.total_epochs}"
        )
    if budget.hours is not None and elapsed_s(record) >= 3600 * budget.hours:
        return f"{budget.hours:g} hours, budget.hours, are over"
    return overspent(record) or (_good_enough(budget, record) if record.best else None)


@dataclass(frozen=True)
class Spent:
    """One thing that a search uses up.

    Attributes:
        name: core_hours, gpu_hours or cost.
        amount: so far.
        limit: of the budget; None where there is none.
    """

    name: str
    amount: float
    limit: float | None

    def in_words(self, amount: str) -> str:
        """Return an amount of it.

        >>> Spent("gpu_hours", 2.0, None).in_words("2"), Spent("cost", 2.0, None).in_words("2")
        ('2 GPU-hours', 'a cost of 2')
        """
        if self.name == "cost":
            return f"a cost of {amount}"
        return f"{amount} {'core-hours' if self.name == 'core_hours' else 'GPU-hours'}"


def spent(record: "StudyRecord") -> list[Spent]:
    """Return what trials of the search have held so far, and what that costs if prices are known.

    GPU-hours are told where there are any, or a limit of them.
    """
    budget = record.budget
    core_hours, gpu_hours = record.spending.hours(utc_now())
    cost = budget.cost_of(core_hours, gpu_hours)
    found = [Spent("core_hours", core_hours, budget.core_hours)]
    if gpu_hours or budget.gpu_hours is not None:
        found.append(Spent("gpu_hours", gpu_hours, budget.gpu_hours))
    return found if cost is None else [*found, Spent("cost", cost, budget.cost)]


def overspent(record: "StudyRecord") -> str | None:
    """Return, in words, the limit of hours or money that is reached; running trials end for it."""
    for one in spent(record):
        if one.limit is not None and one.amount >= one.limit:
            return (
                f"{one.in_words(f'{one.amount:.3g}')} reached, budget.{one.name} is {one.limit:g}"
            )
    return None


def _good_enough(budget: BudgetConfig, record: "StudyRecord") -> str | None:
    best = record.best
    score = best.score(record.objective) if best else None
    if best is None or score is None:
        return None
    worth = record.objective.worth
    is_reached = budget.target is not None and worth(score) >= worth(budget.target)
    if is_reached and best.is_whole:  # of several seeds one is not enough
        return f"trial {best.id} came to {score:.4g}, budget.target is {budget.target}"
    if budget.patience is None:  # asked before each trial: no count of all where nobody wants it
        return None
    in_vain = sum(_ended_after(best, trial) for trial in record.trials.values())
    if in_vain >= budget.patience:
        return f"{in_vain} trials in a row brought nothing better, budget.patience"
    return None


def elapsed_s(record: "StudyRecord") -> float:
    """Return the seconds that drivers have worked on the study, up to now while one does."""
    if record.ended is not None or record.is_confirming:
        return record.elapsed_before_s
    return record.elapsed_before_s + seconds_between(record.session_started, utc_now())


def n_epochs_run(record: "StudyRecord") -> int:
    """Return the epochs of all trials of the search so far."""
    return sum(trial.epochs_run for trial in record.trials.values())


def _ended_after(best: "TrialState", trial: "TrialState") -> bool:
    """Return whether a trial finished, and did it after the best one had its best epoch."""
    reached = best.best_training.times.get(best.best_epoch or 0)
    ended = trial.ended
    if trial is best or trial.outcome not in ("complete", "stopped_early") or ended is None:
        return False
    return reached is None or seconds_between(reached, ended) > 0


def n_asked(record: "StudyRecord") -> int:
    """Return the trials asked for; those begun so far where only a time limits them."""
    limit = record.budget.n_trials
    return len(record.trials) if limit is None else limit
