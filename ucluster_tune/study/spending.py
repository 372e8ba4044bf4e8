"""What a search has cost: hours of cores and GPUs that its trials held."""

from ucluster_tune.study.events import seconds_between

_SECONDS_PER_HOUR = 3600.0


class Spending:
    """Adds up what trainings hold, from their place to their end; kept by the record.

    >>> spending = Spending()
    >>> spending.hold("0001", "2026-01-01T00:00:00+00:00", n_cores=4, n_gpus=0.5)
    >>> spending.hours("2026-01-01T00:30:00+00:00")
    (2.0, 0.25)
    >>> spending.release("0001", "2026-01-01T01:00:00+00:00")
    >>> spending.hours("2026-01-02T00:00:00+00:00")
    (4.0, 0.5)
    """

    def __init__(self) -> None:
        self._core_s = self._gpu_s = 0.0
        self._held: dict[str, tuple[str, float, float]] = {}

    def hold(self, key: str, time: str, n_cores: float, n_gpus: float) -> None:
        """Take in that a training has its place; one that has it already keeps it."""
        self._held.setdefault(key, (time, n_cores, n_gpus))

    def release(self, key: str, time: str) -> None:
        """Take in that a training gave its place back, if it had one."""
        if key in self._held:
            since, n_cores, n_gpus = self._held.pop(key)
            passed_s = seconds_between(since, time)
            self._core_s += n_cores * passed_s
            self._gpu_s += n_gpus * passed_s

    def hours(self, now: str) -> tuple[float, float]:
        """Return the core-hours and GPU-hours so far, those of what is held now included."""
        core_s, gpu_s = self._core_s, self._gpu_s
        for since, n_cores, n_gpus in self._held.values():
            passed_s = seconds_between(since, now)
            core_s, gpu_s = core_s + n_cores * passed_s, gpu_s + n_gpus * passed_s
        return core_s / _SECONDS_PER_HOUR, gpu_s / _SECONDS_PER_HOUR
