"""A study's trials ranked without labels, and the epoch of each chosen without them too.

Reads what trials left: their records, and their clusters and embeddings of validation jets at the
epochs whose files are kept. Where jets have labels, nothing here looks at them but
`agreement_with_labels`, which tells how well the criteria would have done.
"""

from collections import Counter
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ucluster_tune.config.objective import direction_of
from ucluster_tune.errors import UClusterTuneError
from ucluster_tune.report.pictures import read_evaluation
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrialState
from ucluster_tune.training.confidence import rank_correlation
from ucluster_tune.training.cross_space import cross_space_ranks
from ucluster_tune.training.record import EpochRecord, label_free_record

CROSS_SPACE: Final = "cross_space"
CRITERIA: Final = (CROSS_SPACE, "stability", "silhouette", "clustering_loss")
LEAST_TRIALS: Final = 10  # with fewer a rank correlation says nothing
_LEAST_SPACES: Final = 3
_MOST_SPACES: Final = 50
_MOST_SCORES: Final = 20_000  # half a millisecond each
_MOST_JETS: Final = 1000  # more take longer in proportion


@dataclass(frozen=True)
class RankedTrial:
    """A trial at the epoch that was chosen without labels.

    Attributes:
        id: of the trial.
        epoch: the record of that epoch.
        cross_space: see `training.cross_space.cross_space_ranks`; None where it is not known.
    """

    id: str
    epoch: EpochRecord
    cross_space: float | None

    def value(self, criterion: str) -> float | None:
        """Return one of CRITERIA."""
        return self.cross_space if criterion == CROSS_SPACE else self.epoch.value(criterion)

    def worth(self, criterion: str) -> float:
        """Return it with the sign that makes more of it better; what is not known is worst."""
        value = self.value(criterion)
        if value is None:
            return -np.inf
        return -value if direction_of(criterion) == "minimize" else value


@dataclass(frozen=True)
class LabelFreeRanking:
    """Trials from the best one down.

    Attributes:
        by: the criterion that orders them.
        trials: those that can be ranked.
        n_jets: validation jets on which clusterings were held against each other.
        n_spaces: embeddings in which they were.
        left_out: why others are not ranked, by trial.
        note: why another criterion than `cross_space` orders them, empty where that does.
    """

    by: str
    trials: list[RankedTrial]
    n_jets: int
    n_spaces: int
    left_out: dict[str, str]
    note: str = ""


@dataclass(frozen=True)
class Predicts:
    """How well a criterion would have ranked the trials as labels do.

    Attributes:
        criterion: one of CRITERIA.
        n_trials: compared.
        correlation: Spearman's, 1 where both rank alike; None for too few trials, or equal ones.
        interval: 95 %, of resampled trials.
        accuracy_of_choice: the clustering accuracy of the trial that the criterion ranks first.
    """

    criterion: str
    n_trials: int
    correlation: float | None
    interval: tuple[float, float] | None
    accuracy_of_choice: float | None


@dataclass(frozen=True)
class _Candidate:
    trial: str
    epoch: EpochRecord
    jets: bytes
    cluster: npt.NDArray[Any]
    embedding: npt.NDArray[Any]


def rank_without_labels(
    record: StudyRecord, paths: StudyPaths, by: str = CROSS_SPACE
) -> LabelFreeRanking:
    """Return the trials of a study's search from the best one down, no label being looked at.

    Of each trial the epochs are looked at whose files are kept for another reason than labels: the
    last two, the most stable one, and the best one where the objective needs no labels. Its epoch
    is the one whose clustering ranks highest in the embeddings of other trials, each taken at its
    most stable epoch; without three trials to compare it is the most stable one.

    Args:
        record: of the study.
        paths: of its files.
        by: the criterion that orders the trials.
    """
    candidates, left_out = _gathered(record, paths)
    spaces = _spaces(candidates)
    trials = _at_chosen_epochs(candidates, spaces)
    note = ""
    if by == CROSS_SPACE and not spaces:
        by = "stability"
        note = f"{_LEAST_SPACES} trials to hold against each other are the least: by stability"
    trials.sort(key=lambda t: t.worth(by), reverse=True)
    n_jets = max((len(c.cluster) for of_trial in candidates.values() for c in of_trial), default=0)
    return LabelFreeRanking(by, trials, n_jets, len(spaces), left_out, note)


def _gathered(
    record: StudyRecord, paths: StudyPaths
) -> tuple[dict[str, list[_Candidate]], dict[str, str]]:
    """Return the candidates by trial, all of the same jets, and why other trials have none."""
    found: dict[str, list[_Candidate]] = {}
    left_out: dict[str, str] = {}
    for trial in record.trials.values():
        try:
            found[trial.id] = _candidates(record, trial, paths)
        except (UClusterTuneError, LookupError) as error:
            left_out[trial.id] = str(error.args[0])
    # Each keeps the first jets of its first worker, so that another number of workers has others.
    common = Counter(c.jets for own in found.values() for c in own).most_common(1)
    for trial_id in [t for t, own in found.items() if any(c.jets != common[0][0] for c in own)]:
        del found[trial_id]
        left_out[trial_id] = "its workers kept other jets, since it had more or fewer of them"
    return found, left_out


def _spaces(candidates: dict[str, list[_Candidate]]) -> list[_Candidate]:
    """Return whose embeddings clusterings are held against each other in; none of too few."""
    spaces = [_most_stable(own) for own in candidates.values()]
    if len(spaces) < _LEAST_SPACES:
        return []
    n_clusterings = sum(map(len, candidates.values()))
    n_affordable = max(_MOST_SCORES // n_clusterings, 2 * _LEAST_SPACES)
    n_wanted = min(len(spaces), _MOST_SPACES, n_affordable)
    return [spaces[i * len(spaces) // n_wanted] for i in range(n_wanted)]


def _at_chosen_epochs(
    candidates: dict[str, list[_Candidate]], spaces: list[_Candidate]
) -> list[RankedTrial]:
    everything = [c for own in candidates.values() for c in own]
    numbers = {trial_id: number for number, trial_id in enumerate(candidates)}
    ranks = cross_space_ranks(
        [c.cluster for c in everything],
        [c.embedding for c in spaces],
        [numbers[c.trial] for c in everything],
        [numbers[c.trial] for c in spaces],
    )
    known = {
        (c.trial, c.epoch.epoch): float(rank)
        for c, rank in zip(everything, ranks, strict=True)
        if np.isfinite(rank)
    }
    found = []
    for trial_id, own in candidates.items():
        told = [(known[key], c) for c in own if (key := (trial_id, c.epoch.epoch)) in known]
        chosen = max(told, key=lambda pair: pair[0])[1] if told else _most_stable(own)
        rank = known.get((trial_id, chosen.epoch.epoch))
        found.append(RankedTrial(trial_id, chosen.epoch, rank))
    return found


def _candidates(record: StudyRecord, trial: TrialState, paths: StudyPaths) -> list[_Candidate]:
    """Return a trial's epochs that may be chosen; LookupError says why there are none."""
    if trial.outcome == "failed":
        raise LookupError("it failed")
    training = trial.shown  # the newest one: which is best, labels may have told
    files = paths.trial(trial.id, training.plan.id)
    records = {r.epoch: r for r in training.records if r.phase == "clustering"}
    if not records:
        raise LookupError("it did not come to the clustering phase")
    start: EpochRecord | None = None
    stable = reduce(label_free_record, records.values(), start)
    wanted = {*sorted(records)[-2:], *([stable.epoch] if stable else [])}
    if training.best is not None and not record.objective.needing_labels:
        wanted.add(training.best.epoch)
    found = []
    for epoch in files.evaluated_epochs:
        if epoch in wanted and epoch in records:
            kept = read_evaluation(files.evaluation(epoch))
            few = slice(_MOST_JETS)
            jets = np.ascontiguousarray(kept.mass_gev[few]).tobytes()
            found.append(
                _Candidate(trial.id, records[epoch], jets, kept.cluster[few], kept.embedding[few])
            )
    if not found:
        raise LookupError("no evaluation of an epoch of its clustering phase is kept")
    return found


def _most_stable(candidates: list[_Candidate]) -> _Candidate:
    return max(candidates, key=lambda c: (c.epoch.value("stability") or 0.0, -c.epoch.epoch))


def agreement_with_labels(ranking: LabelFreeRanking) -> list[Predicts]:
    """Return how each criterion ranks the trials beside their clustering accuracy.

    Both are taken at the epoch that was chosen without labels. Spearman's correlation; its
    interval is that of the percentiles of 2000 resamples of the trials (scipy.stats.bootstrap).
    """
    return [_predicts(ranking.trials, criterion) for criterion in CRITERIA]


def _predicts(trials: list[RankedTrial], criterion: str) -> Predicts:
    pairs = [
        (trial.worth(criterion), accuracy)
        for trial in trials
        if trial.value(criterion) is not None
        and (accuracy := trial.epoch.value("clustering_accuracy")) is not None
    ]
    n_trials = len(pairs)
    choice = max(pairs, key=lambda pair: pair[0])[1] if pairs else None  # no label breaks a tie
    worth, accuracies = np.array(pairs, np.float64).reshape(-1, 2).T
    if n_trials < LEAST_TRIALS or not np.ptp(worth) or not np.ptp(accuracies):
        return Predicts(criterion, n_trials, None, None, choice)
    correlation, interval = rank_correlation(worth, accuracies)
    return Predicts(criterion, n_trials, correlation, interval, choice)
