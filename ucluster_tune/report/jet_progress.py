"""A bar of jets on standard error; on a log, a line when all are done."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class JetProgress:
    """Shows how many jets are done; a context manager.

    Args:
        what: is done with them, such as "predicting".
        n_jets: in all.
    """

    def __init__(self, what: str, n_jets: int) -> None:
        self._what = what
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=n_jets, rate="")
        self._n_done = 0
        self._started = time.perf_counter()

    def __enter__(self) -> "JetProgress":
        self._bar.start()
        return self

    def advance(self, n_jets: int) -> None:
        """Move the bar by some jets."""
        self._n_done += n_jets
        self._bar.update(self._task, advance=n_jets, rate=f"{self._rate():,.0f} jets/s")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        if kind is None:
            line = f"{self._what}: {self._n_done:,} jets, {self._rate():,.0f} jets/s"
            self._console.print(line, soft_wrap=True)

    def _rate(self) -> float:
        return self._n_done / max(time.perf_counter() - self._started, 1e-9)
