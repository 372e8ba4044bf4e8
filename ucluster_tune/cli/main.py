"""`ucluster-tune`: the group of commands.

The commands' modules are imported when a command is called, so that help is there at once and a
broken library breaks only what uses it.
"""

import importlib
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ucluster_tune import __version__
from ucluster_tune.cli.library_errors import in_words, mark_as_fault
from ucluster_tune.cli.streams import use_lasting_streams
from ucluster_tune.config.names import nearest
from ucluster_tune.errors import UClusterTuneError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

# In order of use: name, where in `ucluster_tune.cli` the command is, its line of help.
_COMMANDS = {
    "data": ("data.group:data", "Make data sets of jets, and look into them."),
    "check": ("studies.check:check", "Check a search-space file and show the plan."),
    "baselines": ("studies.baselines:baselines", "Measure what simple ways to cluster reach."),
    "train": ("models.train:train", "Train one configuration, without a search."),
    "cluster": ("studies.cluster:cluster", "Look after the machines that a search runs on."),
    "run": ("studies.run:run", "Run the search that FILE describes."),
    "list": ("studies.list:list_studies", "List all studies."),
    "status": ("studies.status:status", "Show how study NAME stands."),
    "report": (
        "studies.report:report",
        "Write the page that answers what study NAME was for.",
    ),
    "compare": (
        "studies.report:compare",
        "Write a page that holds studies against each other.",
    ),
    "logs": ("studies.logs:logs", "Show the log of study NAME, or of a trial."),
    "stop": ("studies.stop:stop", "Stop study NAME."),
    "resume": ("studies.resume:resume", "Carry study NAME on."),
    "extend": ("studies.extend:extend", "Give study NAME more trials."),
    "confirm": ("studies.confirm:confirm", "Train the best trials of study NAME again."),
    "select": ("studies.select:select", "Rank the trials of study NAME without labels."),
    "repair": ("studies.repair:repair", "Rebuild all from the record of study NAME."),
    "sync": ("studies.sync:sync", "Send study NAME to another MLflow server."),
    "delete": ("studies.delete:delete", "Delete study NAME."),
    "predict": ("models.predict:predict", "Write the cluster of every jet, in the order of DATA."),
    "evaluate": (
        "models.evaluate:evaluate",
        "Measure a model's clusters against the classes of jets.",
    ),
    "export": (
        "models.export:export",
        "Write a trained network for TensorFlow or ONNX Runtime alone.",
    ),
    "weights": ("models.weights:weights", "Import published weights; export a model to them."),
    "ui": ("studies.ui:ui", "Open the MLflow UI on the studies."),
    "dashboard": ("studies.dashboard:dashboard", "Open Optuna's dashboard on study NAME."),
}
COMMANDS = {name: (f"{__package__}.{place}", line) for name, (place, line) in _COMMANDS.items()}


class LazyGroup(click.Group):
    """A group that knows its commands' names and help, and imports them when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name; the nearest one is named for a misspelt."""
        suggestion = None if args[0] in COMMANDS else nearest(args[0], COMMANDS)
        if suggestion is not None and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}; did you mean {suggestion}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command line; a known error is printed alone, and ends with 1."""
        use_lasting_streams()
        try:
            with _interrupted_by_signals():
                return super().main(*args, **options)
        except Exception as error:
            words = str(error) if isinstance(error, UClusterTuneError) else in_words(error)
            if words is None:
                mark_as_fault(error)
                raise
            click.ClickException(words).show()
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C ends with 130."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo("\nInterrupted.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal do in the block what Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        if not callable(signal.getsignal(signal.SIGINT)):  # ignored, in a script's background
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)  # whoever holds that back holds this back too

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
    Example:
      ucluster-tune check search_spaces/quickstart.yaml
      ucluster-tune run search_spaces/quickstart.yaml
      ucluster-tune ui
    """,
)
@click.version_option(__version__, prog_name="ucluster-tune", message="%(prog)s %(version)s")
def main() -> None:
    """Search hyperparameters of ABCnet-UCluster, which clusters LHC jets without labels.

    Every command tells its options and an example with --help.
    """
