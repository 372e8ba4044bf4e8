"""A driver killed at random moments, again and again: the study ends as if it never was.

Run it alone for the long form, 20 kills over one study:

    python -m tests.soak --kills 20

Every other life ends at a random number of epochs, so amid training; the rest at a random time, or
at a few epochs. All lives together have too few epochs to end the study, so that it is killed as
often as was asked for on a machine of any speed.
"""

import argparse
import random
import signal
import tempfile
import time
from pathlib import Path

from tests import small_study
from tests.agreement import assert_all_agrees
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.status import read_study

N_EPOCHS, GRACE_PERIOD = 120, 60
SPACE = {
    "loss.clustering_weight": {"type": "float", "low": 1.0, "high": 100.0, "log": True},
    "model.n_neighbors": {"type": "int", "low": 2, "high": 5},
}
_SHORTEST_LIFE_S, _LONGEST_LIFE_S = 3.0, 35.0  # a start takes about 8, on a busy machine 15
_LONGEST_WAIT_S = 200.0  # for epochs
_LOOK_EVERY_S = 0.05


def kill_and_resume(
    folder: Path,
    jets: Path,
    n_kills: int,
    n_trials: int,
    seed: int,
    longest_life_s: float = _LONGEST_LIFE_S,
) -> StudyRecord:
    """Kills a study's driver at random moments, resumes it to its end, and checks all it left."""
    moments = random.Random(seed)
    n_epochs_of_lives = _share_out(n_trials * GRACE_PERIOD // 2, n_kills, moments)
    file = small_study.write_study(
        folder / "soaked.yaml",
        jets,
        training={"n_epochs": N_EPOCHS, "n_pretraining_epochs": 2},
        search_space=SPACE,
        budget={"n_trials": n_trials},
        scheduler={"name": "asha", "grace_period": GRACE_PERIOD, "reduction_factor": 3.0},
        resources={"workers_per_trial": 1},  # trials run side by side
    )
    studies = folder / "studies"
    paths = StudiesFolder(studies).study("soaked")
    finished: dict[str, int] = {}
    n_killed = 0
    while True:
        has_begun = paths.record.exists()
        verb = ["resume", "soaked"] if has_begun else ["run", str(file)]
        running = small_study.RunningCommand(folder, *verb, "--studies-dir", studies)
        try:
            if n_killed < n_kills:
                life_s = moments.uniform(_SHORTEST_LIFE_S, longest_life_s)
                if n_killed % 2 == 0:
                    life_s = _LONGEST_WAIT_S
                _kill_within(running, paths.record, life_s, n_epochs_of_lives[n_killed])
                told = running.err.read_text()[-2000:]
                assert running.process.poll() == -signal.SIGKILL, f"{n_killed} kills:\n{told}"
                n_killed += 1
            else:
                assert running.end(timeout_s=300) == 0, running.err.read_text()[-2000:]
            left_over = running.left_over(timeout_s=30)
            assert not left_over, [small_study.command_line(process) for process in left_over]
        finally:
            running.kill()
        if paths.record.exists():
            finished = _assert_nothing_lost(read_study(paths), finished)
            if read_study(paths).state == "complete":
                break
    record = assert_all_agrees(studies, "soaked")
    assert n_killed == n_kills
    assert len(record.trials) == record.n_finished == n_trials
    # Of what was run, at most the epoch in flight was run again, each time a trial went on.
    for trial in record.trials.values():
        assert trial.n_epochs_again == 0, trial
        assert trial.outcome in ("complete", "stopped_early"), trial
    return record


def _share_out(n_epochs: int, n_lives: int, moments: random.Random) -> list[int]:
    """Shares epochs out among lives at random, at least one to each."""
    ends = sorted(moments.uniform(0, n_epochs) for _ in range(n_lives))
    return [max(1, round(end - start)) for start, end in zip([0.0, *ends], ends, strict=False)]


def _kill_within(
    running: small_study.RunningCommand, record: Path, seconds: float, n_epochs: int
) -> None:
    """Kills the command after so many seconds, or once its trials ran so many epochs."""
    deadline = time.monotonic() + seconds
    last_epoch = _n_epochs(record) + n_epochs
    while time.monotonic() < deadline and running.process.poll() is None:
        running.note_processes()
        if _n_epochs(record) >= last_epoch:
            break
        time.sleep(_LOOK_EVERY_S)
    if running.process.poll() is None:
        running.process.kill()
        running.end()


def _n_epochs(record: Path) -> int:
    return record.read_bytes().count(b'"event":"epoch"') if record.exists() else 0


def _assert_nothing_lost(record: StudyRecord, finished: dict[str, int]) -> dict[str, int]:
    """Returns the epochs of all trials that ended; those that ended before are as they were."""
    now = {
        trial.id: trial.epochs
        for trial in record.trials.values()
        if trial.outcome in ("complete", "stopped_early", "failed")
    }
    assert {name: now.get(name) for name in finished} == finished
    return now


def main() -> None:
    """Runs the long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        jets = small_study.write_small_dataset(Path(folder) / "jets")
        record = kill_and_resume(
            Path(folder), jets, arguments.kills, arguments.trials, arguments.seed
        )
    for trial in record.trials.values():
        print(trial.id, trial.outcome, trial.epochs, "restored", trial.restored_epochs)
    print(
        f"{arguments.kills} kills, {record.n_sessions} drivers that came as far as the record,"
        f" {len(record.trials)} trials: all agrees"
    )


if __name__ == "__main__":
    main()
