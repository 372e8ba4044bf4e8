"""How good finalists turned out to be: statistics of a confirmation, and the answer in words."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.data.format.packed import IntArray
from ucluster_tune.errors import StudyError
from ucluster_tune.study.confirming import ended_well
from ucluster_tune.study.finalists import (
    PROTOCOLS,
    REFERENCE,
    Comparison,
    ConfirmationPlan,
    ConfirmationResult,
    Contender,
    Estimate,
)
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.training.confidence import Floats, crossed_mean, right_jets
from ucluster_tune.training.yardstick_measures import Clustered
from ucluster_tune.training.yardsticks import Yardsticks


class ConfirmationJudge:
    """Makes the result of a confirmation whose trainings were measured on test jets.

    Args:
        record: of the study.
        plan: of the confirmation.
        config: of the study.
        clusters: of test jets by training: int64 [jet].
        jet_class: int64 [jet].
        yardsticks: on the same jets.
        ways: the clusters behind them.
    """

    def __init__(
        self,
        record: StudyRecord,
        plan: ConfirmationPlan,
        config: StudyConfig,
        clusters: Mapping[tuple[str, str], IntArray],
        jet_class: IntArray,
        yardsticks: Yardsticks,
        ways: list[Clustered],
    ) -> None:
        self._record, self._plan, self._config = record, plan, config
        self._clusters, self._jet_class = clusters, jet_class
        self._yardsticks, self._ways = yardsticks, ways
        self._known = ended_well(record, plan)

    def result(self) -> ConfirmationResult:
        """Return what was found.

        Raises:
            StudyError: no training of a finalist came to its end.
        """
        contenders = [c for trial in self._plan.contenders if (c := self._contender(trial))]
        finalists = [c for c in contenders if c.trial in self._plan.finalists]
        if not finalists:
            raise StudyError(
                f"study {self._record.name}: no training of a finalist came to its end; look into"
                f" `ucluster-tune status {self._record.name} --json`"
            )
        worth = self._record.objective.worth
        chosen = max(finalists, key=lambda c: worth(c.validation))
        comparisons = self._comparisons(chosen, contenders)
        return ConfirmationResult(
            chosen=chosen.trial,
            n_test_jets=len(self._jet_class),
            contenders=contenders,
            comparisons=comparisons,
            yardsticks=self._yardsticks,
            words=_words(chosen, comparisons, len(self._jet_class)),
        )

    def _seeds(self, trial: str) -> list[int]:
        ids = {seed: self._plan.training_id(seed) for seed in self._plan.seeds}
        return [seed for seed, training in ids.items() if (trial, training) in self._known]

    def _right(self, trial: str, seeds: list[int], protocol: str) -> Floats:
        """Return float64 [seed, jet]; see `right_jets`."""
        found = self._clusters
        return np.stack(
            [
                self._right_of(found[trial, self._plan.training_id(seed)], protocol)
                for seed in seeds
            ]
        )

    def _right_of(self, cluster: IntArray, protocol: str) -> Floats:
        size = self._yardsticks.evaluation_batch_size if protocol == PROTOCOLS[1] else None
        n_clusters = max(int(cluster.max()) + 1, self._config.model.n_clusters)
        shape = (n_clusters, len(self._yardsticks.class_names))
        return right_jets(cluster, self._jet_class, shape, size)

    def _contender(self, trial: str) -> Contender | None:
        seeds = self._seeds(trial)
        if not seeds:
            return None
        trainings = [self._known[trial, self._plan.training_id(seed)] for seed in seeds]
        metric = trainings[0].plan.objective(self._record.objective).metric
        best = [t.best for t in trainings if t.best is not None]
        test = {p: _estimate(self._right(trial, seeds, p)) for p in PROTOCOLS}
        searched = self._record.trials.get(trial)
        score = searched.score(self._record.objective) if searched else None
        quoted = test[metric].mean if metric in test else None
        return Contender(
            trial=trial,
            is_published=trial == self._plan.published,
            seeds=seeds,
            best_epochs=[epoch.epoch for epoch in best],
            validation=float(np.mean([getattr(epoch, metric) for epoch in best])),
            test=test,
            by_seed=[t.test for t in trainings if t.test is not None],
            search_score=score,
            optimism=None if score is None or quoted is None else score - quoted,
        )

    def _comparisons(self, chosen: Contender, others: list[Contender]) -> list[Comparison]:
        found = []
        for protocol in PROTOCOLS:
            own = self._right(chosen.trial, chosen.seeds, protocol)
            for other in others:
                both = [seed for seed in chosen.seeds if seed in other.seeds]
                if other is chosen or not both:
                    continue
                difference = self._right(chosen.trial, both, protocol) - self._right(
                    other.trial, both, protocol
                )
                found.append(_comparison(other.trial, other.in_words, protocol, difference))
            for way in self._ways:
                title = next(y.title for y in self._yardsticks.yardsticks if y.name == way.name)
                right = self._right_of(way.clusters["test"], protocol)
                found.append(_comparison(way.name, title, protocol, own - right))
        own = self._right(chosen.trial, chosen.seeds, PROTOCOLS[1])
        accuracy = self._record.reference_accuracy
        same = self._yardsticks.is_reference_data
        title = f"the reference, {100 * accuracy:.1f} %" + ("" if same else " (on other jets)")
        against = _comparison(REFERENCE, title, PROTOCOLS[1], own - accuracy)
        return [*found, replace(against, is_on_same_jets=same)]


def _estimate(values: Floats) -> Estimate:
    found = crossed_mean(values)
    return Estimate(found.mean, found.interval, found.spread, found.probability_above_zero)


def _comparison(to: str, title: str, protocol: str, difference: Floats) -> Comparison:
    estimate = _estimate(difference)
    low, high = estimate.interval
    told = (
        f"{100 * estimate.mean:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    )
    if low > 0:
        words = f"better than {title}: {told}"
    elif high < 0:
        words = f"worse than {title}: {told}"
    elif estimate.mean > 0:
        words = f"not shown to be better than {title}: {told}"
    else:
        words = f"not better than {title}: {told}"
    return Comparison(
        to=to,
        title=title,
        protocol=protocol,
        difference=estimate,
        verdict="better" if low > 0 else "worse" if high < 0 else "undecided",
        is_on_same_jets=True,
        words=words,
    )


def _words(chosen: Contender, comparisons: list[Comparison], n_jets: int) -> list[str]:
    found = chosen.test[PROTOCOLS[0]]
    low, high = (100 * end for end in found.interval)
    n_seeds = len(chosen.seeds)
    seeds = "1 fresh seed" if n_seeds == 1 else f"{n_seeds} fresh seeds"
    words = [
        f"Trial {chosen.trial}, trained again with {seeds}, reaches {100 * found.mean:.1f} % of"
        f" {n_jets:,} test jets, 95 % interval {low:.1f} to {high:.1f} %."
    ]
    if n_seeds == 1:
        words.append("With one seed the intervals know of the jets alone.")
    if chosen.optimism is not None and chosen.search_score is not None:
        side = "lower" if chosen.optimism > 0 else "higher"
        words.append(
            f"The search had shown {100 * chosen.search_score:.1f} % on validation jets: confirmed"
            f" it is {abs(100 * chosen.optimism):.1f} points {side}."
        )
    told = [c for c in comparisons if c.protocol == PROTOCOLS[0] or c.to == REFERENCE]
    return [*words, *(f"It is {c.words}{_in_batches(c)}." for c in told)]


def _in_batches(comparison: Comparison) -> str:
    return ", matched in batches" if comparison.protocol == PROTOCOLS[1] else ""
