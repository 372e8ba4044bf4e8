"""`ucluster-tune`: the group of commands.

The commands' modules are imported when a command is called, so that help is there at once and a
broken library breaks only what uses it.
"""

import importlib
from typing import Any

import click

from ucluster_tune import __version__
from ucluster_tune.config.names import nearest
from ucluster_tune.errors import UClusterTuneError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

# In order of use: name, where the command is, its line of help.
COMMANDS = {
    "data": ("ucluster_tune.cli.data:data", "Make data sets of jets, and look into them."),
    "check": ("ucluster_tune.cli.check:check", "Check a search-space file and show the plan."),
    "train": ("ucluster_tune.cli.train:train", "Train one configuration, without a search."),
    "cluster": (
        "ucluster_tune.cli.cluster:cluster",
        "Look after the machines that a search runs on.",
    ),
    "run": ("ucluster_tune.cli.run:run", "Run the search that FILE describes."),
    "list": ("ucluster_tune.cli.list:list_studies", "List all studies."),
    "status": ("ucluster_tune.cli.status:status", "Show how study NAME stands."),
    "logs": ("ucluster_tune.cli.logs:logs", "Show the log of study NAME, or of a trial."),
    "stop": ("ucluster_tune.cli.stop:stop", "Stop study NAME."),
    "resume": ("ucluster_tune.cli.resume:resume", "Carry study NAME on."),
    "extend": ("ucluster_tune.cli.extend:extend", "Give study NAME more trials."),
    "repair": ("ucluster_tune.cli.repair:repair", "Rebuild all from the record of study NAME."),
    "delete": ("ucluster_tune.cli.delete:delete", "Delete study NAME."),
    "predict": (
        "ucluster_tune.cli.predict:predict",
        "Write the cluster of every jet, in the order of DATA.",
    ),
    "evaluate": (
        "ucluster_tune.cli.evaluate:evaluate",
        "Measure a model's clusters against the classes of jets.",
    ),
    "weights": (
        "ucluster_tune.cli.weights:weights",
        "Import published weights; export a model to them.",
    ),
    "ui": ("ucluster_tune.cli.ui:ui", "Open the MLflow UI on the studies."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and help, and imports them when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names in order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns a command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Returns the command that the arguments name; the nearest one is named for a misspelt."""
        suggestion = None if args[0] in COMMANDS else nearest(args[0], COMMANDS)
        if suggestion is not None and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}; did you mean {suggestion}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; a known error is printed alone, Ctrl-C ends with 130."""
        try:
            return super().invoke(ctx)
        except UClusterTuneError as error:
            raise click.ClickException(str(error)) from error
        except (KeyboardInterrupt, click.Abort):
            click.echo("\nInterrupted.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None


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
