"""What commands about jets share: options, their types, and the progress bar."""

import math
from pathlib import Path
from typing import Any

import click

# Not imported from ucluster_tune.data, which would load numpy and Arrow for a mere --help;
# tests hold them to the values there.
CLASS_NAMES = ("g", "q", "w", "z", "t")
SPLITS = ("train", "validation", "test")


class LocalPath(click.Path):
    """A path; fails on a URI, of which a folder like `s3:/bucket` would be made in silence.

    Args:
        instead: what can be done where a bucket is meant, as the end of a sentence.
        options: those of `click.Path`; the value is a `pathlib.Path`.
    """

    def __init__(self, instead: str, **options: Any) -> None:
        super().__init__(path_type=Path, **options)
        self.instead = instead

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; fails where the text has `://` in it."""
        text = str(value)
        if "://" in text:
            scheme, _, _ = text.partition("://")
            if scheme.lower() == "file":
                self.fail(f"{text!r}: write the path without file://", param, ctx)
            self.fail(
                f"{text!r} is a URI, and this must be a path of this machine; {self.instead}",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


class FileToWrite(LocalPath):
    """A file whose ending says its format.

    Args:
        endings: that there may be.
        instead: as of `LocalPath`.
    """

    def __init__(self, endings: tuple[str, ...], instead: str) -> None:
        super().__init__(instead, dir_okay=False)
        self._endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; fails on other endings."""
        path = super().convert(value, param, ctx)
        if Path(str(path)).suffix.lower() not in self._endings:
            self.fail(f"{str(value)!r} must end in one of {', '.join(self._endings)}", param, ctx)
        return path


picture_option = click.option(
    "--plot",
    type=FileToWrite(
        (".png", ".pdf", ".svg"), "draw it here, and copy it with the bucket's own tool"
    ),
    metavar="FILE",
    help="Draw a picture of it into a .png, .pdf or .svg.",
)

new_dataset_option = click.option(
    "--out",
    type=LocalPath(
        "make the data set here, copy it with the bucket's own tool (such as `aws s3 cp"
        " --recursive DIR s3://BUCKET/DIR`), and name that as data.path"
    ),
    required=True,
    metavar="DIR",
    help="Folder to make; it must not exist yet, or be empty.",
)


class ClassList(click.ParamType[tuple[str, ...]]):
    """Jet classes, separated by commas.

    Args:
        may_be_none: whether `none` stands for jets without classes, an empty tuple.
    """

    name = "list"

    def __init__(self, *, may_be_none: bool = False) -> None:
        self._may_be_none = may_be_none

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the classes as a tuple; fails on unknown and repeated ones."""
        if isinstance(value, tuple):
            return value
        if self._may_be_none and str(value).strip().lower() == "none":
            return ()
        names = [name.strip().lower() for name in str(value).split(",")]
        unknown = [name for name in names if name not in CLASS_NAMES]
        if unknown:
            self.fail(
                f"{unknown[0]!r} is no class; take some of {','.join(CLASS_NAMES)}"
                " (gluon, light quark, W, Z, top)",
                param,
                ctx,
            )
        if len(set(names)) != len(names):
            self.fail(f"{value!r} names a class twice", param, ctx)
        return tuple(name for name in CLASS_NAMES if name in names)


class Fractions(click.ParamType[tuple[float, ...]]):
    """Three fractions with sum 1, separated by commas."""

    name = "fractions"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return the fractions as a tuple; fails if they are not three with sum 1."""
        if isinstance(value, tuple):
            return value
        try:
            fractions = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not three numbers, such as 0.64,0.16,0.2", param, ctx)
        if len(fractions) != len(SPLITS):
            self.fail(f"{value!r} must be three numbers, for {', '.join(SPLITS)}", param, ctx)
        if not all(0 <= fraction <= 1 for fraction in fractions) or fractions[0] == 0:
            self.fail(f"{value!r}: each must lie in [0, 1], the first above 0", param, ctx)
        if not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
            self.fail(f"{value!r}: the sum must be 1, it is {sum(fractions):g}", param, ctx)
        return fractions


class FiniteRange(click.FloatRange):
    """A range of numbers that has no place for `nan`."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; fails outside the range and on nan."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def progress_bar(in_bytes: bool = False) -> Any:
    """Return a progress bar on standard error, that counts jets or bytes."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
