"""What is left of a study's budget: the one place that says whether another trial may begin.

A limit is asked of the study's record, which knows all that was spent: trials today.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ucluster_tune.config.automatic import most_trials
from ucluster_tune.config.budget import BudgetConfig
from ucluster_tune.config.study import StudyConfig

if TYPE_CHECKING:
    from ucluster_tune.study.record import StudyRecord


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
    budget = record.budget
    if budget.n_trials is not None and len(record.trials) >= budget.n_trials:
        return False
    return not budget.is_over_at(datetime.now(UTC))


def n_asked(record: "StudyRecord") -> int:
    """Return the trials asked for; those begun so far where only a time limits them."""
    limit = record.budget.n_trials
    return len(record.trials) if limit is None else limit
