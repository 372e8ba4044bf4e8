"""How much is spent on a search, as its file says; `study.budget` tells what is left of it.

A further kind of limit (epochs, core-hours, a target) is a field here, and a line there.
"""

from datetime import UTC, datetime
from typing import ClassVar

from pydantic import Field

from ucluster_tune.config.section import Rule, Section

MOST_TRIALS = 1_000_000


def _ends_at_all(n_trials: int | None, until: str | None) -> str | None:
    if n_trials is not None or until is not None:
        return None
    return "must be a number where budget.until sets no time, or the search never ends, got null"


def _is_a_time(until: str | None) -> str | None:
    try:
        if until is None or datetime.fromisoformat(until).tzinfo is not None:
            return None
    except ValueError:
        pass
    return f"must be a time with its offset from UTC, such as 2026-12-24T18:00+01:00, got {until}"


class BudgetConfig(Section):
    """How much is spent on the search: no trial begins once one limit is reached."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("n_trials", ("n_trials", "until"), _ends_at_all),
        Rule("until", ("until",), _is_a_time),
    )

    n_trials: int | None = Field(
        1, ge=1, le=MOST_TRIALS, description="trials; null: any number, up to the time `until`"
    )
    until: str | None = Field(None, description="time after which no trial begins; null: none")

    def in_words(self) -> str:
        """Return the limits in words.

        >>> BudgetConfig(n_trials=8, until="2026-12-24T18:00+01:00").in_words()
        '8 trials, begun until 2026-12-24T18:00+01:00'
        """
        trials = "trials" if self.n_trials is None else f"{self.n_trials} trials"
        return trials + (f", begun until {self.until}" if self.until else "")

    def is_over_at(self, now: datetime) -> bool:
        """Return whether no trial may begin at a time any more."""
        return self.until is not None and now.astimezone(UTC) >= datetime.fromisoformat(self.until)
