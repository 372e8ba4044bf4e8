"""Finalists of a study: which they are, and what of their training has been done."""

import random
from dataclasses import dataclass
from typing import Final

from ucluster_tune.config.points import published_point
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.study.finalists import PUBLISHED, ConfirmationPlan
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrainingState, TrialState, Value

Known = dict[tuple[str, str], TrainingState]
_TOP: Final = 3
_SEEDS: Final = 5


@dataclass(frozen=True)
class ConfirmationRequest:
    """What `ucluster-tune confirm` asks for; None where nothing was said.

    Attributes:
        top: finalists.
        n_seeds: fresh ones, of each configuration.
        with_published: whether the published recipe is trained too.
        n_epochs: in place of the search's.
        data_path: other jets than the search's.
        n_jets: of a training, in place of the search's number.
        n_workers: of a training, in place of the search's number.
        is_supervised: whether the published recipe is trained with labels too.
    """

    top: int | None = None
    n_seeds: int | None = None
    with_published: bool = True
    n_epochs: int | None = None
    data_path: str | None = None
    n_jets: int | None = None
    n_workers: int | None = None
    is_supervised: bool = False


def plan_confirmation(
    record: StudyRecord,
    config: StudyConfig,
    request: ConfirmationRequest,
    checksum: str,
    n_classes: int | None = None,
) -> ConfirmationPlan:
    """Return what is to be trained: the confirmation that is open, or a new one.

    Args:
        record: of the study.
        config: of the study.
        request: what is asked for.
        checksum: of the jets.
        n_classes: of the jets; needed where a training with labels is asked for.

    Raises:
        StudyError: no trial has a score, or another confirmation is open.
    """
    open_one = record.open_confirmation
    if open_one is not None and not is_lost(record, open_one.plan):
        _refuse_another(record, open_one.plan, request)
        return open_one.plan
    ranked = sorted(
        (t for t in record.trials.values() if t.rank is not None and t.outcome != "failed"),
        key=lambda t: t.rank or (False, 0.0),
        reverse=True,
    )
    if not ranked:
        raise StudyError(
            f"study {record.name} has no trial to confirm yet: none has finished an epoch; carry"
            f" it on with `ucluster-tune resume {record.name}`"
        )
    finalists: list[str] = []
    seen: list[dict[str, Value]] = []
    for trial in ranked:  # the same configuration twice would be one finalist
        if trial.hyperparameters not in seen and len(finalists) < (request.top or _TOP):
            finalists.append(trial.id)
            seen.append(trial.hyperparameters)
    recipe = published_point(config)
    searched_with = record.trials[finalists[0]].best_training.plan.world_size
    same = [t for t in finalists if record.trials[t].hyperparameters == recipe]
    plan_id = f"c{len(record.confirmations) + 1}"
    return ConfirmationPlan(
        id=plan_id,
        finalists=finalists,
        published=(same[0] if same else PUBLISHED) if request.with_published else None,
        seeds=_fresh_seeds(record, plan_id, request.n_seeds or _SEEDS),
        world_size=request.n_workers or searched_with or config.resources.n_workers,
        n_epochs=request.n_epochs,
        data_path=request.data_path,
        dataset_checksum=checksum,
        n_jets=request.n_jets,
        n_classes=n_classes if request.is_supervised else None,
    )


def _fresh_seeds(record: StudyRecord, plan_id: str, n_seeds: int) -> list[int]:
    """Return seeds that no training of the study had; the same ones where they are asked again."""
    trainings = (t for trial in record.trials.values() for t in trial.trainings.values())
    used = {record.seed, *(t.plan.seed for t in trainings)}
    used |= {s for c in record.confirmations.values() for s in c.plan.seeds}
    draw = random.Random(f"{record.seed} {plan_id}")
    found: list[int] = []
    while len(found) < n_seeds:
        seed = draw.randrange(1, 2**31)
        if seed not in used:
            used.add(seed)
            found.append(seed)
    return found


def _refuse_another(
    record: StudyRecord, plan: ConfirmationPlan, request: ConfirmationRequest
) -> None:
    asked = {
        "--top": (request.top, len(plan.finalists)),
        "--seeds": (request.n_seeds, len(plan.seeds)),
        "--epochs": (request.n_epochs, plan.n_epochs),
        "--data": (request.data_path, plan.data_path),
        "--jets": (request.n_jets, plan.n_jets),
        "--workers": (request.n_workers, plan.world_size),
    }
    if request.is_supervised and plan.n_classes is None:
        raise StudyError(
            f"study {record.name} has a confirmation that is not finished, {plan.id}, without"
            f" --supervised: carry it on with `ucluster-tune confirm {record.name}`, then start"
            " another one"
        )
    for option, (wanted, planned) in asked.items():
        if wanted is not None and wanted != planned:
            raise StudyError(
                f"study {record.name} has a confirmation that is not finished, {plan.id}, with"
                f" {option} {planned}, not {wanted}: carry it on with"
                f" `ucluster-tune confirm {record.name}`, then start another one"
            )


def is_lost(record: StudyRecord, plan: ConfirmationPlan) -> bool:
    """Return whether all its trainings have failed, so that nothing can come of it."""
    known = known_trainings(record, plan)
    return len(known) == len(plan.trainings()) and all(
        training.outcome == "failed" for training in known.values()
    )


def known_trainings(record: StudyRecord, plan: ConfirmationPlan) -> Known:
    """Return the trainings of a plan that have begun, by the ids of trial and training."""
    trials = {**record.trials, **record.other_trials}
    return {
        (trial, training.id): trials[trial].trainings[training.id]
        for trial, training in plan.trainings()
        if trial in trials and training.id in trials[trial].trainings
    }


def ended_well(record: StudyRecord, plan: ConfirmationPlan) -> Known:
    """Return those that came to their last epoch and have a best one."""
    known = known_trainings(record, plan)
    return {key: t for key, t in known.items() if t.outcome == "complete" and t.best is not None}


def plan_of(record: StudyRecord, training: TrainingState) -> ConfirmationPlan | None:
    """Return the plan of the confirmation that a training is of; None for one of the search."""
    plans = (confirmation.plan for confirmation in record.confirmations.values())
    own = training.plan
    return next(
        (p for p in plans if own.seed in p.seeds and p.training_id(own.seed) == own.id), None
    )


def confirmed_training(record: StudyRecord) -> tuple[TrialState, TrainingState]:
    """Return the trial that the newest finished confirmation chose, and its training to use.

    That is the one whose seed was best on validation jets: test jets choose nothing.

    Raises:
        StudyError: no confirmation has come to its end.
    """
    confirmed = record.confirmed
    if confirmed is None or confirmed.result is None:
        is_open = record.open_confirmation is not None
        why = "their trainings have not all ended" if is_open else "they were not trained again"
        raise StudyError(
            f"study {record.name} has no confirmed finalist, {why}: type `ucluster-tune confirm"
            f" {record.name}`, or leave --confirmed out for the best trial of the search"
        )
    chosen = confirmed.result.chosen
    known = ended_well(record, confirmed.plan)
    trainings = [training for (trial, _), training in known.items() if trial == chosen]
    return record.trials[chosen], max(trainings, key=lambda t: t.rank or (False, 0.0))
