"""Progress on standard error: a bar on a terminal, and lines that a log gets too."""

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.report import cells
from ucluster_tune.training.record import EpochRecord

_HEAD = "epoch  phase        focal loss  cluster loss  {}  jets/s"
_AGREEMENT, _OWN_SPACE = "accuracy  in batches", "silhouette  stability"  # the latter of no labels


class _Shown:
    """A bar that is there as long as a block lasts; none where there is no terminal."""

    def __init__(self, *columns: ProgressColumn) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *columns,
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,  # a log gets the lines alone
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()


class JetProgress(_Shown):
    """Shows how many jets are done, and a line when all are; a context manager.

    Args:
        what: is done with them, such as "predicting".
        n_jets: in all.
    """

    def __init__(self, what: str, n_jets: int) -> None:
        super().__init__(MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        self._what, self._n_done = what, 0
        self._task = self._bar.add_task(what, total=n_jets, rate="")
        self._started = time.perf_counter()

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
        super().__exit__(kind, error, trace)
        if kind is None:
            line = f"{self._what}: {self._n_done:,} jets, {self._rate():,.0f} jets/s"
            self._console.print(line, soft_wrap=True)

    def _rate(self) -> float:
        return self._n_done / max(time.perf_counter() - self._started, 1e-9)


class TrainingProgress(_Shown):
    """Shows one training, a line an epoch; a context manager.

    Args:
        study: of the training.
        n_epochs_done: where it goes on.
        is_labelled: whether its jets have classes.
    """

    def __init__(
        self, study: StudyConfig, n_epochs_done: int, *, is_labelled: bool = True
    ) -> None:
        super().__init__(TextColumn("{task.fields[step]}"))
        self._study, self._n_done = study, n_epochs_done
        self._is_labelled = is_labelled
        n_epochs = study.training.n_epochs
        self._task = self._bar.add_task(
            self._description(), total=n_epochs, completed=n_epochs_done, step=""
        )

    def __enter__(self) -> Self:
        head = _HEAD.format(_AGREEMENT if self._is_labelled else _OWN_SPACE)
        self._console.print(head, style="bold", soft_wrap=True)
        return super().__enter__()

    def on_step(self, step: int, n_steps: int) -> None:
        """Move the bar by a step."""
        self._bar.update(
            self._task, completed=self._n_done + step / n_steps, step=f"step {step}/{n_steps}"
        )

    def on_epoch(self, record: EpochRecord) -> None:
        """Show an epoch."""
        self._n_done = record.epoch
        self._bar.update(self._task, completed=self._n_done, description=self._description())
        agreement = (
            f"{cells.percent(record.clustering_accuracy):>8}"
            f"  {cells.percent(record.clustering_accuracy_batched):>10}"
            if self._is_labelled
            else f"{cells.number(record.silhouette):>10}  {cells.number(record.stability):>9}"
        )
        self._console.print(
            f"{record.epoch:>5}  {record.phase:<11}"
            f"  {cells.number(record.focal_loss):>10}"
            f"  {cells.number(record.clustering_loss):>12}"
            f"  {agreement}"
            f"  {record.jets_per_second:>6.0f}",
            soft_wrap=True,
        )
        for warning in record.warnings:
            self._console.print(f"Warning: {warning}", style="yellow", soft_wrap=True)

    def _description(self) -> str:
        return f"epoch {min(self._n_done + 1, self._study.training.n_epochs)}" + (
            f"/{self._study.training.n_epochs}"
        )


def training_summary(
    best: EpochRecord, test: dict[str, Any] | None, study: StudyConfig, files: str
) -> str:
    """Return what a training reached, and where its checkpoint is.

    Args:
        best: its best epoch.
        test: the same on test jets; None where jets have no classes.
        study: of the training.
        files: where the checkpoint is.
    """
    if test is None:
        metric = study.objective.metric
        score = cells.metric(metric, best.value(metric))
        return (
            f"best epoch {best.epoch}, chosen on validation jets: {metric.replace('_', ' ')}"
            f" {score}; the jets have no classes\ncheckpoint: {files}"
        )
    n_jets = sum(map(sum, test["confusion"]))
    return "\n".join(
        [
            f"best epoch {best.epoch}, chosen on validation jets:"
            f" accuracy {cells.percent(best.clustering_accuracy)}",
            f"on {n_jets} test jets: accuracy {cells.percent(test['clustering_accuracy'])}"
            f" (95 % interval {cells.interval(test)}),"
            f" in batches {cells.percent(test['clustering_accuracy_batched'])}",
            f"reference, in batches: {cells.percent(study.reference.accuracy)}"
            f" ({study.reference.source})",
            f"checkpoint: {files}",
        ]
    )
