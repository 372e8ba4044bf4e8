"""How much is spent on a search, as its file says; `study.budget` tells what is left of it.

A further kind of limit is a field here, and a line there.
"""

from datetime import UTC, datetime
from typing import Annotated, ClassVar

from pydantic import Field

from ucluster_tune.config.section import Rule, Section

MOST_TRIALS = 1_000_000
_OTHER_LIMITS = (
    "until",
    "total_epochs",
    "hours",
    "core_hours",
    "gpu_hours",
    "cost",
    "patience",
)
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _ends_at_all(n_trials: int | None, *others: object) -> str | None:
    if n_trials is not None or any(other is not None for other in others):
        return None
    return (
        "must be a number where none of budget.until, total_epochs, hours, core_hours, gpu_hours,"
        " cost and patience is, or the search never ends, got null"
    )


def _has_a_price(
    cost: float | None, price_per_gpu_hour: float | None, price_per_core_hour: float | None
) -> str | None:
    if cost is None or price_per_gpu_hour or price_per_core_hour:
        return None
    return (
        "needs budget.price_per_gpu_hour or price_per_core_hour, of which it is made, got"
        f" {cost:g} alone"
    )


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
        Rule("n_trials", ("n_trials", *_OTHER_LIMITS), _ends_at_all),
        Rule("cost", ("cost", "price_per_gpu_hour", "price_per_core_hour"), _has_a_price),
        Rule("until", ("until",), _is_a_time),
    )

    n_trials: int | None = Field(
        1, ge=1, le=MOST_TRIALS, description="trials; null: any number, up to another limit"
    )
    until: str | None = Field(None, description="time after which no trial begins; null: none")
    total_epochs: int | None = Field(None, ge=1, description="epochs of all trials together")
    hours: Amount | None = Field(None, description="of work on the search, breaks left out")
    core_hours: Amount | None = Field(None, description="of the cores that trials hold")
    gpu_hours: Amount | None = Field(None, description="of the GPUs that trials hold")
    cost: Amount | None = Field(None, description="of what trials hold, in the prices' currency")
    price_per_gpu_hour: float | None = Field(None, ge=0, allow_inf_nan=False)
    price_per_core_hour: float | None = Field(None, ge=0, allow_inf_nan=False)
    target: float | None = Field(
        None, allow_inf_nan=False, description="value of the objective that is good enough"
    )
    patience: int | None = Field(
        None, ge=1, description="finished trials in a row that brought nothing better"
    )

    def cost_of(self, core_hours: float, gpu_hours: float) -> float | None:
        """Return what hours of cores and GPUs cost; None where no price is given.

        >>> BudgetConfig(price_per_gpu_hour=2.5).cost_of(core_hours=8, gpu_hours=2)
        5.0
        """
        if self.price_per_gpu_hour is None and self.price_per_core_hour is None:
            return None
        return (self.price_per_core_hour or 0) * core_hours + (
            self.price_per_gpu_hour or 0
        ) * gpu_hours

    def in_words(self) -> str:
        """Return the limits in words.

        >>> BudgetConfig(n_trials=8, until="2026-12-24T18:00+01:00").in_words()
        '8 trials, begun until 2026-12-24T18:00+01:00'
        """
        trials = "trials" if self.n_trials is None else f"{self.n_trials} trials"
        limits = {
            ", begun until {}": self.until,
            ", {} epochs": self.total_epochs,
            ", {:g} hours": self.hours,
            ", {:g} core-hours": self.core_hours,
            ", {:g} GPU-hours": self.gpu_hours,
            ", a cost of {:g}": self.cost,
            ", to a target of {:g}": self.target,
            ", to {} trials without a better one": self.patience,
        }
        return trials + "".join(
            text.format(limit) for text, limit in limits.items() if limit is not None
        )

    def is_over_at(self, now: datetime) -> bool:
        """Return whether no trial may begin at a time any more."""
        return self.until is not None and now.astimezone(UTC) >= datetime.fromisoformat(self.until)
