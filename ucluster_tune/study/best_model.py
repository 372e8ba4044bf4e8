"""The folder that holds a model's weights, where a whole study is named in its place."""

from pathlib import Path

from ucluster_tune.errors import StudyError
from ucluster_tune.study.bucket.copy import has_record
from ucluster_tune.study.paths import StudyPaths, open_studies
from ucluster_tune.study.status import read_study


def model_folder(place: Path | str) -> str:
    """Return the best trial's folder of a study's folder; any other path or URI as it is.

    Raises:
        StudyError: no trial of the study has reached anything yet, or its bucket cannot be read.
    """
    paths = _study_at(str(place))
    if paths is None:
        return str(place)
    best = read_study(paths).best
    if best is None:
        raise StudyError(
            f"study {paths.name} has no best trial yet; wait for the first epoch, or name the"
            f" folder of a trial in {paths.place}/{paths.trials.name}"
        )
    return paths.trial(best.id, best.best_training.plan.id).place


def _study_at(place: str) -> StudyPaths | None:
    if "://" not in place:
        paths = StudyPaths(Path(place).absolute())
        return paths if paths.record.is_file() else None
    head, mark, query = place.partition("?")
    folder, _, name = head.rstrip("/").rpartition("/")
    studies = open_studies(f"{folder}{mark}{query}")
    if studies.remote is None or studies.remote.name == "trials":
        return None
    paths = studies.listed(name)
    return paths if has_record(paths) else None
