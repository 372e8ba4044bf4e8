"""The page written: an HTML file that needs nothing else, its pictures and tables beside it."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from markupsafe import Markup, escape

from ucluster_tune import __version__
from ucluster_tune.config.passwords import uri_without_password
from ucluster_tune.errors import StudyError
from ucluster_tune.report.page.answer import answer_section, best_section
from ucluster_tune.report.page.contents import StudyContents, read_contents
from ucluster_tune.report.page.course import (
    curves_section,
    history_section,
    outcomes_section,
    time_section,
)
from ucluster_tune.report.page.criteria import criteria_section
from ucluster_tune.report.page.front import front_section
from ucluster_tune.report.page.hyperparameters import importance_section, parallel_section
from ucluster_tune.report.page.jets import (
    confusion_section,
    efficiency_section,
    embedding_section,
    mass_section,
)
from ucluster_tune.report.page.parts import Section, absent
from ucluster_tune.report.page.provenance import provenance_section
from ucluster_tune.report.page.style import physics_style
from ucluster_tune.report.page.yardsticks import finalists_section, yardsticks_section
from ucluster_tune.search.reporting import WrittenReport
from ucluster_tune.storage.whole_files import explained, write_whole
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord

_LOGGER = logging.getLogger(__name__)
_FIGURES, _TABLES = "figures", "tables"
_AGAIN_S: Final = 60  # of a search that runs, as `run --report` writes it
PICTURE_FORMATS: Final = ("png", "pdf")

SectionMaker = Callable[[StudyContents], Section | None]  # None: nothing to say
SECTIONS: Final[tuple[tuple[str, SectionMaker], ...]] = (
    ("The answer", answer_section),
    ("Best configuration", best_section),
    ("Pareto front", front_section),
    ("Yardsticks", yardsticks_section),
    ("History", history_section),
    ("Learning curves", curves_section),
    ("Importance", importance_section),
    ("Values tried", parallel_section),
    ("Outcomes", outcomes_section),
    ("Finalists", finalists_section),
    ("Choosing without labels", criteria_section),
    ("Classes and clusters", confusion_section),
    ("Embedding", embedding_section),
    ("Mass spectrum", mass_section),
    ("Efficiency and purity", efficiency_section),
    ("Time", time_section),
    ("To make it again", provenance_section),
)

_DESCRIBING: Final = (answer_section, best_section, yardsticks_section)
_NEEDING_LABELS: Final = (
    *(yardsticks_section, finalists_section, confusion_section, efficiency_section),
)


@dataclass(frozen=True)
class Page:
    """A page that can be written.

    Attributes:
        title: of it.
        about: one line below the title.
        sections: in their order.
        file_name: of the page.
        again_s: after so many seconds a browser reads it again; None for never.
    """

    title: str
    about: str
    sections: Sequence[Section]
    file_name: str = "report.html"
    again_s: int | None = None

    def write(
        self, folder: Path, *, latex: bool = False, formats: Sequence[str] = PICTURE_FORMATS
    ) -> Path:
        """Write the page, its pictures, and with `latex` its tables; return the page's path.

        Args:
            folder: to be made where it is missing.
            latex: whether tables are written too.
            formats: of the pictures, beside SVG.

        Raises:
            StudyError: the folder cannot be written.
        """
        from jinja2 import Environment, PackageLoader, StrictUndefined

        environment = Environment(
            loader=PackageLoader("ucluster_tune.report.page", ""),
            autoescape=True,
            undefined=StrictUndefined,
        )
        environment.filters["code"] = _with_code
        pictures = [picture for section in self.sections for picture in section.pictures]
        path = folder / self.file_name
        with explained(folder, StudyError), physics_style():
            (folder / _FIGURES).mkdir(parents=True, exist_ok=True)
            svgs = {picture.name: picture.save(folder / _FIGURES, formats) for picture in pictures}
            if latex:
                (folder / _TABLES).mkdir(exist_ok=True)
                for table in (t for section in self.sections for t in section.tables):
                    write_whole(folder / _TABLES / f"{table.name}.tex", table.latex())
            template = environment.get_template("page.html")
            write_whole(path, template.render(**vars(self), svgs=svgs))
        return path


def study_page(record: StudyRecord, paths: StudyPaths) -> Page:
    """Return the page of a study; a section that fails is left out, and says so.

    Raises:
        StudyError: this version of the program does not know all of the study.
    """
    contents = read_contents(record, paths)
    sections = _sections(contents, SECTIONS)
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    jets = uri_without_password(contents.config.data.path).rstrip("/").rpartition("/")[2]
    about = (
        f"Study {record.name}, {record.state}; jets {jets}; written {now} by"
        f" ucluster-tune {__version__}. Pictures are in the folder {_FIGURES} beside this file;"
        f" `ucluster-tune report {record.name}` writes them as PNG and PDF too."
    )
    again_s = _AGAIN_S if record.state == "running" else None
    return Page(f"Search {record.name}", about, sections, again_s=again_s)


def write_study_page(record: StudyRecord, paths: StudyPaths) -> WrittenReport:
    """Write the page of a study, and its tables, into its folder.

    Its pictures are written as SVG alone: the other formats would double the time of it.

    Raises:
        StudyError: it cannot be written, or the study is of another version.
    """
    page = study_page(record, paths)
    written = page.write(paths.report, latex=True, formats=())
    assert written == paths.report_page
    return WrittenReport(written, _description(page.sections))


def words_of(record: StudyRecord, paths: StudyPaths) -> str:
    """Return the description of a study's run in MLflow as `write_study_page` gives it.

    Raises:
        StudyError: this version of the program does not know all of the study.
    """
    described = [s for s in SECTIONS if s[1] in _DESCRIBING]
    return _description(_sections(read_contents(record, paths), described))


def _description(sections: Sequence[Section]) -> str:
    """Return Markdown: the answer, the best configuration, the yardsticks, in this order."""
    tables = {t.name: t for section in sections for t in section.tables}
    parts = [*sections[0].sentences]
    parts += [
        tables[name].markdown() for name in ("best_configuration", "yardsticks") if name in tables
    ]
    parts.append("The whole report is among the artifacts: `report/report.html`.")
    return "\n\n".join(parts)


def _sections(
    contents: StudyContents, makers: Sequence[tuple[str, SectionMaker]]
) -> list[Section]:
    with physics_style():
        made = [_made(title, make, contents) for title, make in makers if _fits(make, contents)]
    return [section for section in made if section is not None]


def _fits(make: SectionMaker, contents: StudyContents) -> bool:
    record = contents.record
    if make is finalists_section and record.confirmed:  # on jets that have classes
        return True
    return record.is_labelled or make not in _NEEDING_LABELS


def _with_code(text: str) -> Markup:
    """Return a sentence as HTML, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _made(title: str, make: SectionMaker, contents: StudyContents) -> Section | None:
    try:
        return make(contents)
    except Exception as error:  # one section's fault takes no other one away
        _LOGGER.exception("section %r of the report of study %s", title, contents.record.name)
        return absent(title, f"it could not be made: {error!r}")
