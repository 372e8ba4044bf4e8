"""How pictures of the page look, and their formats: a physicist's style, in a few lines.

Ticks point inwards on all four sides and labels stand at the ends of their axes, as papers of
collider experiments have them. Within the page a picture is an SVG whose black takes the colour of
the page's text, so that it can be read on light and on dark paper.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ucluster_tune.report.pictures import DOTS_PER_INCH, PALETTE
from ucluster_tune.storage.whole_files import whole, write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY: Final = "#808080"  # in between: seen on light and on dark paper
WIDTH, HEIGHT = 4.8, 3.3  # inches: at phone width the letters are still 9 pixels high
_PIXELS_PER_POINT: Final = 1.6  # on a page; letters are as high there as those around them
_SHORT: Final = 30.0
DASHES: Final = (
    (0, (6, 2)),
    (0, (1, 1.5)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (2, 3)),
)
_STYLE: Final[Any] = {  # of type dict[a literal of all names, Any]
    "font.size": 9,
    "axes.labelsize": 10,
    "axes.titlesize": 10,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.minor.visible": True,
    "ytick.minor.visible": True,
    "xtick.major.size": 6,
    "ytick.major.size": 6,
    "xtick.minor.size": 3,
    "ytick.minor.size": 3,
    "xaxis.labellocation": "right",
    "yaxis.labellocation": "top",
    "svg.fonttype": "none",  # letters, not curves: they can be searched and copied
    "svg.hashsalt": "ucluster-tune",
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Attributes:
        name: of its files, without the ending.
        figure: drawn.
        caption: what it shows, for those who see it and for those who do not.
        is_wide: it takes the page's width, and is shifted sideways on a phone.
    """

    name: str
    figure: "Figure"
    caption: str
    is_wide: bool = False

    def save(self, folder: Path, also: Sequence[str] = ()) -> str:
        """Write it as SVG and in other formats, and return it as an element of an HTML page."""
        layout = self.figure.get_layout_engine()
        if layout is not None:
            layout.execute(self.figure)
        self.figure.set_layout_engine("none")  # found once, not anew for each format
        for ending in also:
            with whole(folder / f"{self.name}.{ending}") as temporary:
                self.figure.savefig(temporary, dpi=DOTS_PER_INCH)
        text = io.StringIO()
        self.figure.savefig(
            text, format="svg", transparent=True, dpi=DOTS_PER_INCH, metadata={"Date": None}
        )
        write_whole(folder / f"{self.name}.svg", text.getvalue())
        return _for_page(text.getvalue(), self.caption)


@contextmanager
def physics_style() -> Iterator[None]:
    """Have what is drawn and saved in the block look alike."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def new_figure(
    width: float = WIDTH, height: float = HEIGHT, n_columns: int = 1, **shared: Any
) -> tuple["Figure", list["Axes"]]:
    """Return a figure, in inches, and its axes beside each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, n_columns, squeeze=False, **shared)[0])


def color_of(index: int) -> str:
    """Return a colour that is told apart from its neighbours with every colour blindness."""
    return PALETTE[index % len(PALETTE)]


def draw_lines(lines: Sequence[tuple[str, float]], draw: Callable[..., Any]) -> None:
    """Draw values to be beaten across a picture, each dashed in a way of its own.

    Args:
        lines: names for a legend, and values.
        draw: `axhline` or `axvline` of the picture's axes.
    """
    for number, (title, value) in enumerate(lines):
        style = DASHES[number % len(DASHES)]
        draw(value, color="black", linewidth=0.9, linestyle=style, label=title, zorder=1)


def in_percent(axis: Any) -> None:
    """Have an axis of matplotlib tell fractions in per cent."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")


def logarithmic(axis: Any) -> None:
    """Give an axis a logarithmic scale with plain numbers, also where it spans no decade."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    is_short = high / low < _SHORT
    axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if is_short else (1,)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def whole_numbers(axis: Any) -> None:
    """Have an axis tick at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    axis.set_major_locator(MaxNLocator(integer=True))
    axis.set_minor_locator(NullLocator())


def _for_page(svg: str, caption: str) -> str:
    from markupsafe import escape

    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    used = set(re.findall(r"#([A-Za-z][\w-]*)", body))
    body = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", body)
    body = body.replace("#000000", "currentColor")
    head, mark, rest = body.partition(">")
    size = re.search(r'viewBox="0 0 ([\d.]+) [^"]+"', head)
    assert size is not None, "matplotlib writes a viewBox"
    width = round(float(size[1]) * _PIXELS_PER_POINT)
    name = escape(" ".join(caption.split()))
    return (
        f'<svg {size[0]} style="max-width: {width}px" role="img" aria-label="{name}"'
        ' fill="currentColor"'
        ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f"{mark}{rest}".strip()
    )
