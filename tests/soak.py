"""A driver killed at random moments, again and again: the study ends as if it never was.

Run it alone for the long form, 20 kills over one study:

    python -m tests.soak --kills 20
"""

import argparse
import random
import signal
import tempfile
import time
from pathlib import Path

from tests import small_study
from tests.agreement import assert_all_agrees
from ucluster_tune.search.paths import StudiesFolder
from ucluster_tune.search.record import StudyRecord
from ucluster_tune.search.status import read_study

N_EPOCHS = 120
SPACE = {
    "loss.clustering_weight": {"type": "float", "low": 1.0, "high": 100.0, "log": True},
    "model.n_neighbors": {"type": "int", "low": 2, "high": 5},
}
_LONGEST_LIFE_S = 35.0  # a start takes about 8, on a busy machine 15


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
    file = small_study.write_study(
        folder / "soaked.yaml",
        jets,
        training={"n_epochs": N_EPOCHS, "n_pretraining_epochs": 2},
        search_space=SPACE,
        budget={"n_trials": n_trials},
        scheduler={"name": "asha", "grace_period": 20, "reduction_factor": 3.0},
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
                _kill_within(running, moments.uniform(3.0, longest_life_s))
                code = running.process.poll()
                assert code in (0, -signal.SIGKILL), running.err.read_text()[-2000:]
                n_killed += code == -signal.SIGKILL
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
    assert len(record.trials) == record.n_finished == n_trials
    # Of what was run, at most the epoch in flight was run again, each time a trial went on.
    for trial in record.trials.values():
        assert trial.n_epochs_again == 0, trial
        assert trial.outcome in ("complete", "stopped_early"), trial
    return record


def _kill_within(running: small_study.RunningCommand, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and running.process.poll() is None:
        running.note_processes()
        time.sleep(0.2)
    if running.process.poll() is None:
        running.process.kill()
        running.end()


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
    print(f"{record.n_sessions} drivers, {len(record.trials)} trials: all agrees")


if __name__ == "__main__":
    main()
