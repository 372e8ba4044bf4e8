"""Whether a cluster is fit for a search: what nodes tell, compared, each fault with its remedy.

`quick_check` is what a search does itself, in seconds, before it makes anything; `check_cluster`
also loads TensorFlow and Horovod on every node.
"""

from contextlib import ExitStack
from dataclasses import dataclass

from ucluster_tune.cluster.fitness.comparisons import CheckRow, compare, shared_rows
from ucluster_tune.cluster.fitness.shared_folder import DATASETS, shared_token
from ucluster_tune.cluster.nodes import Questions, probes
from ucluster_tune.config.study import ResourcesConfig, StudyConfig
from ucluster_tune.errors import MachineError
from ucluster_tune.storage.locations import locate
from ucluster_tune.trial.processes.nodes import living_nodes

_QUICK_LIMIT_S = 30.0
_FULL_LIMIT_S = 60.0
_LIBRARIES_LIMIT_S = 180.0


@dataclass(frozen=True)
class CheckRequest:
    """What a search needs of a cluster.

    Attributes:
        studies: path or URI of the folder of all studies, None where it does not matter.
        data: path or URI of the data set, None where it does not matter.
        resources: of a trial; None where no trial is at hand.
        datasets: path or URI of the folder that a data set is yet to be made in, None for none.
    """

    studies: str | None = None
    data: str | None = None
    resources: ResourcesConfig | None = None
    datasets: str | None = None

    @staticmethod
    def of(config: StudyConfig, studies: str) -> "CheckRequest":
        """Return what the study needs, kept in the folder `studies`."""
        return CheckRequest(studies, locate(config.data.path).text, config.resources)


def quick_check(request: CheckRequest) -> None:
    """Check what a search depends on, before anything of it is made.

    Versions, host names, interfaces, shared folder, data set, GPUs; seconds in a cluster
    that is well, half a minute where a node does not answer.

    Raises:
        MachineError: with all faults and their remedies.
    """
    rows, _ = _rows(request, _QUICK_LIMIT_S, with_libraries=False)
    faults = [row.in_words() for row in rows if not row.ok]
    if faults:
        n = len(faults)
        head = f"the cluster is not fit for this search: {n} fault{'s' * (n > 1)}"
        raise MachineError("\n".join([head, *(f"  {fault}" for fault in faults)]))


def check_cluster(request: CheckRequest) -> tuple[list[CheckRow], list[str]]:
    """Return one row a node and check, and the names of the nodes.

    Takes half a minute where all is well, some minutes where a node does not answer.
    """
    return _rows(request, _FULL_LIMIT_S, with_libraries=True)


def _rows(
    request: CheckRequest, limit_s: float, *, with_libraries: bool
) -> tuple[list[CheckRow], list[str]]:
    nodes = living_nodes()
    with ExitStack() as stack:
        token = None
        if request.studies is not None:
            token = stack.enter_context(shared_token(request.studies))
        asked = stack.enter_context(probes(nodes))
        questions = token.questions(request.data) if token else Questions(data=request.data)
        told = asked.facts(questions, limit_s)
        if with_libraries:
            told = asked.libraries(told, _LIBRARIES_LIMIT_S)
        rows = list(compare(told, request.data, request.resources, token))
        if request.datasets is not None:
            made = stack.enter_context(shared_token(request.datasets, DATASETS))
            told = [facts for facts in asked.facts(made.questions(), limit_s) if not facts.fault]
            rows += shared_rows(told, made)
    return rows, [node.name for node in nodes]
