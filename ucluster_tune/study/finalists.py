"""The best trials of a study trained again: what is planned, and what came of it; pure data.

A confirmation trains each finalist, the published recipe and, where asked for, the same network
with labels, once for each of some fresh seeds. Its trainings stand in the study's record beside
those of the search, with the role `final` or `baseline`. Statistics are made once, at its end, by
`training.confidence`.
"""

from dataclasses import dataclass
from typing import Final, Literal

from ucluster_tune.study.trainings import Role, TrainingPlan, Value
from ucluster_tune.training.yardsticks import Interval, Measured, Yardsticks

PUBLISHED: Final = "published"  # id of the trial that is the published recipe, in `other_trials`
SUPERVISED: Final = "supervised"  # likewise, of its network trained with labels: an upper bound
PROTOCOLS: Final = ("clustering_accuracy", "clustering_accuracy_batched")
REFERENCE: Final = "reference"


@dataclass(frozen=True)
class ConfirmationPlan:
    """What a confirmation trains; it stays the same when it is carried on.

    Attributes:
        id: `c1` for a study's first one.
        finalists: ids of the trials of the search, the best one first.
        published: id of the trial that has the published recipe: `published`, or a finalist that
            happens to have it; None where it is not trained.
        seeds: fresh ones, the same for each configuration.
        world_size: workers of a training.
        n_epochs: in place of the search's, None for those.
        data_path: other jets than the search's, None for those.
        dataset_checksum: of the jets.
        n_jets: that a training takes in place of the search's number, None for that.
        n_classes: of the jets, where the published recipe is trained with labels too; else None.
    """

    id: str
    finalists: list[str]
    published: str | None
    seeds: list[int]
    world_size: int
    n_epochs: int | None = None
    data_path: str | None = None
    dataset_checksum: str = ""
    n_jets: int | None = None
    n_classes: int | None = None

    @property
    def contenders(self) -> list[str]:
        """Ids of all trials that are trained."""
        also = [self.published] if self.published not in (None, *self.finalists) else []
        labelled = [SUPERVISED] if self.n_classes is not None else []
        return [*self.finalists, *(name for name in also if name), *labelled]

    def training_id(self, seed: int) -> str:
        """Return the id, in its trial, of the training with a seed."""
        return f"{self.id}-seed-{seed}"

    def trainings(self) -> list[tuple[str, TrainingPlan]]:
        """Return the id of the trial and the plan of each training, a seed after the other."""
        other: dict[str, Value] = {}
        if self.n_epochs is not None:
            other["training.n_epochs"] = self.n_epochs
        if self.n_jets is not None:
            other["training.n_jets"] = self.n_jets
        return [
            (
                trial,
                TrainingPlan(
                    id=self.training_id(seed),
                    role=self._role(trial),
                    seed=seed,
                    world_size=self.world_size,
                    hyperparameters=other | self._with_labels(trial),
                ),
            )
            for seed in self.seeds
            for trial in self.contenders
        ]

    def _role(self, trial: str) -> Role:
        return "baseline" if trial in (PUBLISHED, SUPERVISED) else "final"

    def _with_labels(self, trial: str) -> dict[str, Value]:
        """Return what makes a training one with labels: an output a class, and one phase."""
        if trial != SUPERVISED or self.n_classes is None:
            return {}
        return {
            "model.head": "classes",
            "model.n_clusters": self.n_classes,
            "training.n_pretraining_epochs": 1,  # the fewest there can be
        }


@dataclass(frozen=True)
class Estimate:
    """An accuracy, or a difference of two, over seeds and test jets.

    Attributes:
        mean: over seeds and jets.
        interval: 95 %, of seeds and jets together; see `training.confidence`.
        spread: standard deviation over seeds; None with one seed.
        probability_above_zero: that the true value is; of a difference.
    """

    mean: float
    interval: Interval
    spread: float | None
    probability_above_zero: float


@dataclass(frozen=True)
class Contender:
    """One configuration over its seeds.

    Attributes:
        trial: its id.
        is_published: whether it is the published recipe.
        seeds: of the trainings that came to their end, in order.
        best_epochs: of each, chosen on validation jets.
        validation: mean over seeds of the objective at these epochs, on validation jets; of the
            accuracy where it uses labels.
        test: by protocol, on test jets.
        by_seed: on test jets, of each training.
        search_score: the objective that the search had seen; None of one that it did not try.
        optimism: `search_score` less what test jets gave, of an accuracy; None as for that.
    """

    trial: str
    is_published: bool
    seeds: list[int]
    best_epochs: list[int]
    validation: float
    test: dict[str, Estimate]
    by_seed: list[Measured]
    search_score: float | None = None
    optimism: float | None = None

    @property
    def uses_labels(self) -> bool:
        """Whether it was trained with labels, which no clustering is."""
        return self.trial == SUPERVISED

    @property
    def title(self) -> str:
        """What to call it in a table."""
        if self.uses_labels:
            return "supervised, uses labels"
        if self.trial == PUBLISHED:
            return "published recipe"
        return f"trial {self.trial}" + (", published" if self.is_published else "")

    @property
    def in_words(self) -> str:
        """What to call it in a sentence."""
        if self.uses_labels:
            return "the same network trained with labels"
        return "the published recipe" if self.is_published else f"trial {self.trial}"


@dataclass(frozen=True)
class Comparison:
    """The chosen contender less something else, on the same test jets.

    Attributes:
        to: the id of another contender, the name of a yardstick, or `reference`.
        title: what that is, in words.
        protocol: of the accuracies.
        difference: paired by jet, and by seed where the other one has seeds.
        verdict: `better` or `worse` where the 95 % interval does not hold zero, else `undecided`.
        is_on_same_jets: False of the reference where it was measured on other jets.
        words: one sentence.
    """

    to: str
    title: str
    protocol: str
    difference: Estimate
    verdict: Literal["better", "worse", "undecided"]
    is_on_same_jets: bool
    words: str


@dataclass(frozen=True)
class ConfirmationResult:
    """What a confirmation found.

    Attributes:
        chosen: the finalist with the best mean on validation jets.
        n_test_jets: that all was measured on.
        contenders: in the order of the plan.
        comparisons: of the chosen one with the published recipe, each yardstick and the reference.
        yardsticks: on these jets.
        words: the answer, in one or a few sentences.
    """

    chosen: str
    n_test_jets: int
    contenders: list[Contender]
    comparisons: list[Comparison]
    yardsticks: Yardsticks
    words: list[str]

    def contender(self, trial: str) -> Contender:
        """Return a contender by the id of its trial."""
        return next(c for c in self.contenders if c.trial == trial)

    @property
    def winner(self) -> Contender:
        """The chosen one."""
        return self.contender(self.chosen)


@dataclass
class Confirmation:
    """A confirmation of a study's record.

    Attributes:
        result: None until it came to its end.
    """

    plan: ConfirmationPlan
    result: ConfirmationResult | None = None
