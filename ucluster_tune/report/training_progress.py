"""What `ucluster-tune train` shows: a line an epoch and, on a terminal, a bar of steps."""

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.report import cells
from ucluster_tune.training.record import EpochRecord

_HEAD = "epoch  phase        focal loss  cluster loss  accuracy  in batches  jets/s"


class TrainingProgress:
    """Shows one training on standard error; a context manager.

    Args:
        study: of the training.
        n_epochs_done: where it goes on.
    """

    def __init__(self, study: StudyConfig, n_epochs_done: int) -> None:
        self._study = study
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[step]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,  # a log gets the lines alone
        )
        self._n_done = n_epochs_done
        n_epochs = study.training.n_epochs
        self._task = self._bar.add_task(
            self._description(), total=n_epochs, completed=n_epochs_done, step=""
        )

    def __enter__(self) -> "TrainingProgress":
        self._console.print(_HEAD, style="bold", soft_wrap=True)
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def on_step(self, step: int, n_steps: int) -> None:
        """Move the bar by a step."""
        self._bar.update(
            self._task, completed=self._n_done + step / n_steps, step=f"step {step}/{n_steps}"
        )

    def on_epoch(self, record: EpochRecord) -> None:
        """Show an epoch."""
        self._n_done = record.epoch
        self._bar.update(self._task, completed=self._n_done, description=self._description())
        self._console.print(
            f"{record.epoch:>5}  {record.phase:<11}"
            f"  {cells.number(record.focal_loss):>10}"
            f"  {cells.number(record.clustering_loss):>12}"
            f"  {cells.percent(record.clustering_accuracy):>8}"
            f"  {cells.percent(record.clustering_accuracy_batched):>10}"
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
    best: EpochRecord, test: dict[str, Any], study: StudyConfig, files: str
) -> str:
    """Return what a training reached, and where its checkpoint is."""
    n_jets = sum(map(sum, test["confusion"]))
    low, high = cells.wilson_interval(test["clustering_accuracy"], n_jets)
    return "\n".join(
        [
            f"best epoch {best.epoch}, chosen on validation jets:"
            f" accuracy {cells.percent(best.clustering_accuracy)}",
            f"on {n_jets} test jets: accuracy {cells.percent(test['clustering_accuracy'])}"
            f" (95 % interval {100 * low:.1f} to {100 * high:.1f} %),"
            f" in batches {cells.percent(test['clustering_accuracy_batched'])}",
            f"reference, in batches: {cells.percent(study.reference.accuracy)}"
            f" ({study.reference.source})",
            f"checkpoint: {files}",
        ]
    )
