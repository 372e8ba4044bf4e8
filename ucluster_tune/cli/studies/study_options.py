"""Arguments and options that several commands about studies take, each declared once.

`--cluster`, `--local` and `--address` belong to the classes of `cli.studies.on_cluster`.
"""

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from ucluster_tune.config.loading import shipped_search_spaces
from ucluster_tune.errors import ConfigurationError


class SearchSpaceFile(click.Path):
    """A search-space file, or the name of one that ships, from whatever folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; what is neither is told where the file is read."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if len(path.parts) != 1 or path.suffix or path.is_file():
            return path
        shipped = shipped_search_spaces()
        if path.name not in shipped and not path.exists():
            names = ", ".join(shipped) or "none"
            raise ConfigurationError(
                str(path), [f"there is no such file; search spaces that have a name: {names}"]
            )
        return shipped.get(path.name, path)


search_space_file = click.argument("file", type=SearchSpaceFile())

_FIXED = "ucluster_tune.fixed"


def _with_fixed(ctx: click.Context, _: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    return (*ctx.meta.get(_FIXED, ()), *given)


def _fix(ctx: click.Context, _: click.Parameter, given: tuple[str, ...]) -> None:
    ctx.meta[_FIXED] = [
        override
        for pin in given
        for override in (f"search_space.{pin.partition('=')[0].strip()}=null", pin)
    ]


def set_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--set` and `--fix`, as `overrides` of a configuration."""
    fixed = click.option(
        "--fix",
        metavar="PATH=VALUE",
        multiple=True,
        expose_value=False,
        is_eager=True,  # before --set, which takes it up
        callback=_fix,
        help="Search a value no more, but set it; may be given several times.",
    )
    changed = click.option(
        "--set",
        "overrides",
        metavar="PATH=VALUE",
        multiple=True,
        callback=_with_fixed,
        help="Change a value of the configuration; may be given several times.",
    )
    return changed(fixed(command))


studies_dir_option = click.option(
    "--studies-dir",
    metavar="DIR",
    help="Folder of the studies.  [default: UCLUSTER_TUNE_STUDIES, else ./studies]",
)


def one_study(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command NAME and `--studies-dir`: the study that it is about."""
    return click.argument("name")(studies_dir_option(command))


def one_study_if_any(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the same, where it may be about no study or all of them."""
    return click.argument("name", required=False)(studies_dir_option(command))


class _Time(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a time with its zone, this machine's where none is given."""
        try:
            return datetime.fromisoformat(value).astimezone()
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-12-24T18:00", param, ctx)


until_option = click.option(
    "--until",
    type=_Time(),
    metavar="TIME",
    help="Stop in time for the machines' end, checkpointed.  [default: Slurm's own, in a job]",
)
report_option = click.option(
    "--report",
    "has_report",
    is_flag=True,
    help="Write the report again after trials, for a browser that reads it again.",
)
yes_option = click.option(
    "--yes", is_flag=True, help="Fetch and convert missing jets without asking."
)


def set_words(overrides: Sequence[str]) -> list[str]:
    """Return the words of a command that sets the same again.

    >>> set_words(["training.seed=2"])
    ['--set', 'training.seed=2']
    """
    return [word for override in overrides for word in ("--set", override)]
