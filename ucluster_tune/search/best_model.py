"""The folder that holds a model's weights, where a whole study is named in its place."""

from pathlib import Path

from ucluster_tune.errors import StudyError
from ucluster_tune.search.paths import StudyPaths
from ucluster_tune.search.status import read_study


def model_folder(path: Path) -> Path:
    """Return the best trial's folder of a study's folder; any other path as it is.

    Raises:
        StudyError: no trial of the study has reached anything yet.
    """
    paths = StudyPaths(path.absolute())
    if not paths.record.is_file():
        return path
    best = read_study(paths).best
    if best is None:
        raise StudyError(
            f"study {paths.name} has no best trial yet; wait for the first epoch, or name the"
            f" folder of a trial in {paths.trials}"
        )
    return paths.trial(best.id).root
