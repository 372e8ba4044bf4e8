"""Which hyperparameters matter, and whether so few trials can tell: PED-ANOVA, resampled.

Trials that a scheduler stopped count too, since those that went to the end are the better ones:
all are compared by the objective after the same epoch, the last one that each of them reached.
Optuna's PED-ANOVA (Watanabe, Bansal and Hutter, arXiv:2304.10255) asks by which hyperparameters
the best trials differ from all; its fANOVA takes some ten times as long.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ucluster_tune.report.page.contents import StudyContents
from ucluster_tune.study.trainings import Value

LEAST_TRIALS: Final = 10
_N_RESAMPLES: Final = 30
_BEST: Final = 0.25  # share of the trials; of the usual tenth there would be a handful
_SEED: Final = 1


@dataclass(frozen=True)
class Importance:
    """One hyperparameter's share in what sets the best quarter of the trials apart.

    Attributes:
        name: dotted path.
        share: median over resamples of the trials; in each the shares of all make 1.
        interval: 2.5 and 97.5 % of them.
        stands_out: whether the best differ by it, in 97.5 % of the resamples, by more than in
            95 % of the times when the objective is dealt to the trials by chance.
    """

    name: str
    share: float
    interval: tuple[float, float]
    stands_out: bool


@dataclass(frozen=True)
class Importances:
    """What is known of all hyperparameters that were searched.

    Attributes:
        epoch: after which the trials were compared.
        n_trials: compared.
        found: the most important one first; empty where there is no telling.
        why_not: there is no telling.
    """

    epoch: int
    n_trials: int
    found: Sequence[Importance]
    why_not: str = ""


def importances(contents: StudyContents) -> Importances:
    """Return the importance of each hyperparameter with its uncertainty.

    Costs a second or two for a hundred trials.
    """
    epoch, points, values = _comparable(contents)
    names = [name for name in _unconditional(contents) if len({str(p[name]) for p in points}) > 1]
    if len(points) < LEAST_TRIALS:
        needed = f"{len(points)} can be compared, {LEAST_TRIALS} are the least"
        return Importances(epoch, len(points), [], f"too few trials to tell: {needed}")
    if not names or float(np.ptp(values)) == 0.0:
        return Importances(epoch, len(points), [], "all trials are alike")
    rng = np.random.default_rng(_SEED)
    resampled, shuffled = [], []
    for _ in range(_N_RESAMPLES):
        chosen = rng.integers(len(points), size=len(points))
        if np.ptp(values[chosen]) > 0:
            again = [points[i] for i in chosen]
            resampled.append(_divergences(contents, names, again, values[chosen]))
        shuffled.append(_divergences(contents, names, points, rng.permutation(values)))
    real = np.array(resampled)
    stands_out = np.quantile(real, 0.025, axis=0) > np.quantile(shuffled, 0.95, axis=0)
    in_all = real.sum(axis=1, keepdims=True)
    shares = real / np.where(in_all > 0, in_all, 1.0)
    low, middle, high = np.quantile(shares, [0.025, 0.5, 0.975], axis=0)
    found = [
        Importance(name, float(middle[i]), (float(low[i]), float(high[i])), bool(stands_out[i]))
        for i, name in enumerate(names)
    ]
    found.sort(key=lambda importance: -importance.share)
    return Importances(epoch, len(points), found)


def _unconditional(contents: StudyContents) -> list[str]:
    """Return the hyperparameters that every trial has."""
    return [name for name, range_ in contents.config.search_space.items() if range_.when is None]


def _comparable(
    contents: StudyContents,
) -> tuple[int, list[dict[str, Value]], "np.ndarray[Any, np.dtype[np.float64]]"]:
    """Return the last epoch that all trials reached, their values, and the objective there."""
    record = contents.record
    ended = [
        trial
        for trial in record.trials.values()
        if trial.outcome in ("complete", "stopped_early") and trial.best is not None
        and all(name in trial.hyperparameters for name in _unconditional(contents))
    ]  # fmt: skip
    if not ended:
        return 0, [], np.array([])
    epoch = min(trial.epochs for trial in ended)
    by_trial = {trial.id: trial.objective_by_epoch(record.objective).get(epoch) for trial in ended}
    kept = [trial for trial in ended if by_trial[trial.id] is not None]
    points = [trial.hyperparameters for trial in kept]
    return epoch, points, np.array([by_trial[trial.id] for trial in kept], np.float64)


def _divergences(
    contents: StudyContents,
    names: Sequence[str],
    points: Sequence[dict[str, Value]],
    values: "np.ndarray[Any, np.dtype[np.float64]]",
) -> list[float]:
    """Return by how much each name sets the best of the trials apart, in the evaluator's unit."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    from ucluster_tune.tracking.dashboards.optuna_trials import build_distributions, contains

    distributions = build_distributions(contents.config.search_space)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = contents.record.objective.direction
    study = optuna.create_study(direction=direction, storage=optuna.storages.InMemoryStorage())
    for point, value in zip(points, values, strict=True):
        params = {
            name: point[name] for name in names if contains(distributions[name], point[name])
        }
        own = {name: distributions[name] for name in params}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=own, value=float(value))
        )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=_BEST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of normalize
        found = get_param_importances(
            study, evaluator=evaluator, params=list(names), normalize=False
        )
    return [found[name] for name in names]
