"""The type of an argument that names a file or folder of this machine, not a URI."""

from pathlib import Path
from typing import Any

import click


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
