"""A gallery of a study's pictures: small files and a Markdown page that says how to read them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ucluster_tune.errors import StudyError
from ucluster_tune.report.page.style import physics_style
from ucluster_tune.report.page.writing import Page
from ucluster_tune.storage.whole_files import explained, whole, write_whole

PAGE_NAME: Final = "README.md"
_DOTS_PER_INCH: Final = 110  # some 30 kB each
_OF_WIDE_ONES: Final = 75  # that hold thousands of points

# By the beginning of a picture's name; the first that fits.
HOW_TO_READ: Final = {
    "yardsticks": (
        "A point whose bar lies right of another one's bar is better on these jets; where bars "
        "overlap, so few jets do not tell which is better."
    ),
    "history_by_trial": (
        "The steps show when the search last found something better: a long flat end says that "
        "more trials of the same kind will hardly help."
    ),
    "history_by_cost": (
        "Where the steps cross a dashed line is what it cost to beat that yardstick; several "
        "searches are compared by cost, not by their numbers of trials."
    ),
    "curves_focal_loss": (
        "How well the mass is predicted: it should flatten before the pretraining ends, and may"
        " rise again where clustering weighs more."
    ),
    "curves_clustering_loss": (
        "How far jets are from their centroids once the pretraining has ended: a line near zero at"
        " once is an embedding that collapsed."
    ),
    "curves_": (
        "Lines that cross late are trials that a scheduler could have stopped wrongly; lines that "
        "fall after a peak are why the best epoch is kept, not the last one."
    ),
    "importance": (
        "A bar tells how much of the difference to the best quarter of the trials a "
        "hyperparameter makes; one that does not pass the mark of chance tells nothing."
    ),
    "parallel_coordinates": (
        "Follow the wide lines: where they run through one narrow part of an axis, that part is "
        "good; where they spread over all of it, the axis does not matter."
    ),
    "slice_": (
        "A good value stands out where the points are high; the cloud is dense where the sampler "
        "looked most, which is no proof that it is better there."
    ),
    "pareto_": (
        "The large points are the trials that no other one beats in both; go along them to choose "
        "how much of one to give for the other."
    ),
    "finalists": (
        "The long bar holds seeds and jets together, the short marks are the single seeds: where "
        "these scatter more than two bars are apart, one seed would have told nothing."
    ),
    "confusion": (
        "A perfect clustering has one full cell in each row and column; two filled cells in one "
        "column are two classes that the network does not tell apart."
    ),
    "embedding": (
        "The rows show the same jets: where a colour above is one cloud of one colour below, that "
        "class was found."
    ),
    "mass_by_cluster": (
        "A cluster with one peak is a mass window; a cluster that is broad in mass was found by "
        "something else than the mass."
    ),
    "mass_by_class": (
        "What the mass alone could tell: classes whose peaks overlap cannot be separated by any "
        "cut on it."
    ),
    "efficiency_by": (
        "The share of a class's jets that are in its cluster; a dip is where the clustering loses "
        "it."
    ),
    "purity_by": (
        "The share of a cluster's jets that are of its class; a dip is where others get into it."
    ),
}


def how_to_read(name: str) -> str:
    """Return one sentence about a picture; empty for one that nobody knows."""
    return next((told for start, told in HOW_TO_READ.items() if name.startswith(start)), "")


def write_gallery(page: Page, folder: Path) -> Path:
    """Write the pictures of a study's page as small PNG files and the page that shows them.

    Args:
        page: of the study.
        folder: to be made where it is missing; other files in it stay.

    Returns:
        The page's path.

    Raises:
        StudyError: the study has no pictures yet, or the folder cannot be written.
    """
    if not any(section.pictures for section in page.sections):
        raise StudyError(f"{page.title}: there are no pictures yet: {page.sections[0].missing}")
    with explained(folder, StudyError), physics_style():
        folder.mkdir(parents=True, exist_ok=True)
        for picture in (p for section in page.sections for p in section.pictures):
            with whole(folder / f"{picture.name}.png") as temporary:
                dots = _OF_WIDE_ONES if picture.is_wide else _DOTS_PER_INCH
                picture.figure.savefig(temporary, dpi=dots)
        write_whole(folder / PAGE_NAME, "\n".join(_lines(page)) + "\n")
    return folder / PAGE_NAME


def _lines(page: Page) -> Iterator[str]:
    yield f"# {page.title}: its pictures, and how to read them"
    yield ""
    yield "\n\n".join(page.sections[0].sentences)
    for section in page.sections:
        if section.pictures:
            yield f"\n## {section.title}"
        for picture in section.pictures:
            yield f"\n![{picture.caption}]({picture.name}.png)"
            yield f"\n{picture.caption} *{how_to_read(picture.name)}*"
