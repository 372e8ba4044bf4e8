"""The Pareto front of a study with several objectives, in words and cells."""

from typing import Final

from rich.text import Text

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.report import cells
from ucluster_tune.study.pareto import pareto_front
from ucluster_tune.study.record import StudyRecord

MOST_SHOWN: Final = 15


def objectives_in_words(objective: ObjectiveConfig) -> str:
    """Return all objectives with their directions.

    >>> objectives_in_words(ObjectiveConfig(others=("seconds",)))
    'maximize clustering_accuracy, minimize seconds'
    """
    pairs = zip(objective.directions, objective.metrics, strict=True)
    return ", ".join(f"{direction} {metric}" for direction, metric in pairs)


def front_rows(record: StudyRecord) -> list[tuple[str, ...]]:
    """Return a row a trial of the front: its id, and its objectives."""
    objective = record.objective
    return [
        (trial.id, *map(cells.metric, objective.metrics, trial.scores(objective)))
        for trial in pareto_front(record)
    ]


def front_line(record: StudyRecord) -> Text:
    """Return in a line which trials are on the front."""
    ids = [trial.id for trial in pareto_front(record)]
    shown = ", ".join(ids[:MOST_SHOWN]) + (", ..." if len(ids) > MOST_SHOWN else "")
    return Text(f"Pareto front: {shown}" if ids else "Pareto front: no trial yet")
