"""How trials stand to each other after the same epoch; pure data, kept by the record."""

from bisect import bisect_left, insort
from collections.abc import Callable


class ValuesAtEpoch:
    """The objective of each trial after one epoch, in the order in which the trials came there.

    >>> values = ValuesAtEpoch()
    >>> values.add("0001", 0.3), values.add("0002", 0.1), values.add("0003", 0.2)
    (None, None, None)
    >>> values.before("0003")
    [0.1, 0.3]
    """

    def __init__(self) -> None:
        self._by_trial: dict[str, float] = {}
        self._ordered: list[float] = []

    def __contains__(self, trial_id: str) -> bool:
        """Return whether the trial came there."""
        return trial_id in self._by_trial

    def __getitem__(self, trial_id: str) -> float:
        """Return the trial's value."""
        return self._by_trial[trial_id]

    def add(self, trial_id: str, value: float) -> None:
        """Take in the value, which is finite, of a trial that came there."""
        self.remove(trial_id)
        self._by_trial[trial_id] = value
        insort(self._ordered, value)

    def remove(self, trial_id: str) -> None:
        """Forget a trial's value, if there is one: it runs the epoch again."""
        value = self._by_trial.pop(trial_id, None)
        if value is not None:
            del self._ordered[bisect_left(self._ordered, value)]

    def trials_before(self, trial_id: str) -> dict[str, float]:
        """Return the values of the trials that came before one that did, by trial."""
        own = list(self._by_trial).index(trial_id)
        return dict(list(self._by_trial.items())[:own])

    def before(self, trial_id: str, counts: Callable[[str], bool] | None = None) -> list[float]:
        """Return the values of the trials that came before one that did, the smallest first.

        Args:
            trial_id: of the one that did.
            counts: tells of a trial whether it counts; all do by default.
        """
        if counts is None and next(reversed(self._by_trial)) == trial_id:
            own = bisect_left(self._ordered, self._by_trial[trial_id])
            return self._ordered[:own] + self._ordered[own + 1 :]
        values: list[float] = []
        for other, value in self._by_trial.items():
            if other == trial_id:
                break
            if counts is None or counts(other):
                values.append(value)
        return sorted(values)
