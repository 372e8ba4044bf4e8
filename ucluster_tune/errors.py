"""Every error that this package raises on purpose.

    UClusterTuneError
    ├── ConfigurationError   a YAML file or option; carries all faults found
    ├── DataError            a data set: missing, damaged, of a newer version, empty
    │   ├── MissingError             a file, folder or bucket is not there
    │   └── UnreachableError         a storage does not answer, and may do so later
    ├── ModelError           weights that do not fit the network
    ├── CheckpointError      a checkpoint: damaged, not ours, not writable
    │   └── BucketError              a bucket cannot be used now; its contents may be whole
    ├── TrainingError        training went wrong
    │   ├── NonFiniteLossError       a loss is NaN or infinite
    │   └── CollapsedEmbeddingError  all jets are one point, for good
    ├── TrialError           a trial's workers failed or did not start
    ├── StudyError           a study: unknown, in use, of a newer version
    └── MachineError         this machine: disk, memory, ports, missing software

A message states the fact, the value and the next step. The command line prints it alone and
exits with 1; anything else keeps its traceback.
"""

from collections.abc import Sequence


class UClusterTuneError(Exception):
    """Base of all errors that a user can mend."""


class ConfigurationError(UClusterTuneError):
    """One or several faults in a configuration file or option.

    Args:
        source: the file or option that was read.
        faults: one line each: `yaml.path: rule, got value`.
    """

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.source = source
        self.faults = tuple(faults)
        super().__init__(source, self.faults)

    def __str__(self) -> str:
        n_faults = len(self.faults)
        head = f"{self.source}: {n_faults} fault{'s' if n_faults != 1 else ''}"
        return "\n".join([head, *(f"  {fault}" for fault in self.faults)])


class DataError(UClusterTuneError):
    """A data set cannot be used as it is."""


class MissingError(DataError):
    """A file, folder or bucket is not there."""


class UnreachableError(DataError):
    """A storage does not answer in time; it may be there again later."""


class ModelError(UClusterTuneError):
    """Weights and network do not fit each other."""


class CheckpointError(UClusterTuneError):
    """A checkpoint cannot be written or read."""


class BucketError(CheckpointError):
    """A bucket cannot be used now; what lies in it may be whole all the same."""


class TrainingError(UClusterTuneError):
    """Training cannot go on."""


class NonFiniteLossError(TrainingError):
    """A loss is NaN or infinite: this configuration diverges, and would do so again."""


class CollapsedEmbeddingError(TrainingError):
    """The embedding is zero for every jet and has no gradient: this network is dead."""


class TrialError(UClusterTuneError):
    """The workers of a trial failed or could not be started."""


class StudyError(UClusterTuneError):
    """A study cannot be run, read or found."""


class MachineError(UClusterTuneError):
    """This machine lacks what the program needs."""
