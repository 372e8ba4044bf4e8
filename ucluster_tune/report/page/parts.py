"""What the page is made of: sections with sentences, tables and pictures; plain data."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ucluster_tune.report.page.style import Picture

_LATEX: Final = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "✓": "", "✗": "", "●": "", "○": "", "◌": "", "‖": "",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table: text only.

    Attributes:
        name: of its file, without the ending.
        columns: their heads.
        rows: as many cells each as there are columns.
        strong: indices of rows that stand out.
        n_text: so many columns from the left are words, the others numbers.
        is_long: it is folded away until somebody asks for it.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: Iterable[int] = ()
    n_text: int = 1
    is_long: bool = False

    def latex(self) -> str:
        r"""Return it as a `tabular`, to be \input.

        >>> print(Table("t", ["name", "value"], [["n_jets", "5 %"]]).latex(), end="")
        \begin{tabular}{lr}
        \hline
        name & value \\
        \hline
        n\_jets & 5\,\% \\
        \hline
        \end{tabular}
        """
        columns = "l" * self.n_text + "r" * (len(self.columns) - self.n_text)
        lines = [rf"\begin{{tabular}}{{{columns}}}", r"\hline", _latex_row(self.columns)]
        lines += [r"\hline", *map(_latex_row, self.rows), r"\hline", r"\end{tabular}"]
        return "\n".join(lines) + "\n"

    def markdown(self) -> str:
        """Return it as a table of Markdown.

        >>> print(Table("t", ["name", "value"], [["a|b", "5 %"]]).markdown())
        | name | value |
        | :-- | --: |
        | a\\|b | 5 % |
        """
        marks = [":--" if i < self.n_text else "--:" for i in range(len(self.columns))]
        lines = [self.columns, *self.rows]
        told = [[cell.replace("|", "\\|") for cell in line] for line in lines]
        return "\n".join(f"| {' | '.join(line)} |" for line in (told[0], marks, *told[1:]))


@dataclass(frozen=True)
class Listing:
    """Text to be copied, such as commands or a configuration."""

    title: str
    text: str
    is_long: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: its head.
        sentences: first, a paragraph each.
        missing: why there is nothing to show, in one line; empty where there is.
    """

    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    listings: Sequence[Listing] = ()
    notes: Sequence[str] = ()
    missing: str = field(default="")

    @property
    def anchor(self) -> str:
        """The name by which the page's table of contents finds it."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def absent(title: str, why: str) -> Section:
    """Return a section of which there is nothing to show."""
    return Section(title, missing=why)


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def _latex(text: str) -> str:
    escaped = "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))
    return escaped.strip().replace(r" \%", r"\,\%")
