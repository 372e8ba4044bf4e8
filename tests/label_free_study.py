"""A study whose trials left clusters and embeddings of validation jets, told in events."""

import io
from typing import Any

import numpy as np

from tests.study_events import epoch, started, study_config, trial_ended, trial_started
from ucluster_tune.study.events import StudyEnded
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord

N_JETS = 240
TRUTH = np.arange(N_JETS) % 3
OTHERS = np.random.default_rng(0).integers(0, 3, N_JETS)  # the same for all: shares alone differ


def write_left_files(
    paths: StudyPaths,
    trial: str,
    number: int,
    spoiled: float,
    classes: Any = TRUTH,
    *,
    is_labelled: bool = True,
) -> None:
    """What a trial leaves of an epoch: its clusters are the truth, but for a share of the jets.

    Its embedding has a place a true class; `classes` are the labels that the file tells.
    """
    rng = np.random.default_rng(int(trial))
    n_spoiled = round(spoiled * N_JETS)
    cluster = TRUTH.copy()
    cluster[:n_spoiled] = OTHERS[:n_spoiled]
    embedding = np.eye(3)[TRUTH] * 3 + rng.normal(scale=0.5, size=(N_JETS, 3))
    file = io.BytesIO()
    np.savez(
        file, embedding=embedding.astype(np.float32), cluster=cluster,
        jet_class=classes if is_labelled else np.full(N_JETS, -1),
        mass_gev=np.linspace(60, 180, N_JETS, dtype=np.float32), pt_gev=np.ones(N_JETS),
        centroids=np.eye(3, dtype=np.float32), confusion=np.zeros((3, 3 * is_labelled), np.int64),
        class_names=np.array(["w", "z", "t"] if is_labelled else [], str),
    )  # fmt: skip
    path = paths.trial(trial).evaluation(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.getvalue())


def label_free_study(paths: StudyPaths, n_trials: int, **options: Any) -> StudyRecord:
    """A trial n is worse the larger n is, at its last epoch than at the one before.

    Args:
        paths: where its files and its journal go.
        n_trials: of epochs 5 and 6, whose files are kept.
        options: of `write_left_files`.
    """
    events: list[Any] = [started(study_config(budget={"n_trials": max(n_trials, 1)}))]
    for n in range(1, n_trials + 1):
        trial = f"{n:04d}"
        events.append(trial_started(trial))
        for number in range(1, 7):
            spoiled = 0.7 * n / (n_trials + 1) - (0.05 if number == 5 else 0)
            values = {"stability": 0.8, "silhouette": 0.5 + n / 100}
            events.append(epoch(trial, number, 1 - spoiled, **values))
            if number >= 5:
                write_left_files(paths, trial, number, max(0.0, spoiled), **options)
        events.append(trial_ended(trial, "complete", 6))
    events.append(StudyEnded(state="complete"))
    paths.root.mkdir(parents=True, exist_ok=True)
    with StudyJournal(paths.record) as journal:
        for event in events:
            journal.append(event)
    record = StudyRecord(events[0])
    for event in events[1:]:
        record.apply(event)
    return record
