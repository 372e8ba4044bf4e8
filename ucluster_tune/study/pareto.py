"""Which trials are best where a study has several objectives: those that no other one beats."""

from collections.abc import Sequence

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrialState


def pareto_front(record: StudyRecord) -> list[TrialState]:
    """Return the trials of the front, the best by the first objective before the others.

    A trial is of it where no other one is better by an objective and as good by all. Each counts
    with its values at its best epoch, which the first objective chooses. Pretraining epochs and
    failed trials do not count.
    """
    objective = record.objective
    worths = {
        trial.id: worth
        for trial in record.trials.values()
        if trial.outcome != "failed" and (worth := _worth(trial, objective)) is not None
    }
    front: list[str] = []
    for trial_id in sorted(worths, key=lambda name: worths[name], reverse=True):
        if not any(_beats(worths[other], worths[trial_id]) for other in front):
            front.append(trial_id)
    return [record.trials[trial_id] for trial_id in front]


def _worth(trial: TrialState, objective: ObjectiveConfig) -> tuple[float, ...] | None:
    """Return a trial's values, more being better; None where it lacks one."""
    if trial.best is None or trial.best.phase != "clustering":
        return None
    scores = trial.scores(objective)
    known = [score for score in scores if score is not None]
    if len(known) < len(scores):
        return None
    signs = [1 if direction == "maximize" else -1 for direction in objective.directions]
    return tuple(sign * score for sign, score in zip(signs, known, strict=True))


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether one is as good by all objectives and better by some."""
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
