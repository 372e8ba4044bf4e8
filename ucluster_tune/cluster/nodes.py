"""What each node of the Ray that this process is connected to tells of itself.

Each node is asked by an actor that is bound to it and takes no resources, so that a busy cluster
answers too. Every wait has a limit; a node that does not answer says so in its answer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ucluster_tune.cluster.fitness import probe
from ucluster_tune.trial.processes import host
from ucluster_tune.trial.processes.nodes import Node

_MORE_S = 10.0  # for the answer itself, beyond what a node may take to find it


@dataclass(frozen=True)
class Questions:
    """What nodes are asked beyond themselves.

    Attributes:
        token_folder: of `cluster.fitness.shared_folder`, None for none.
        token: in it.
        data: path or URI of a data set, None for none.
    """

    token_folder: str | None = None
    token: str = ""
    data: str | None = None


@dataclass(frozen=True)
class NodeFacts:
    """What one node tells of itself.

    Attributes:
        fault: why it gave no answer; all that follows is empty then.
        host_fault: why it cannot resolve its own host name.
        versions: by name, None for what is not installed.
        interfaces: IPv4 addresses by network interface, without the loopback.
        n_gpu_devices: GPUs that the system has, None where that cannot be told.
        shared: `fault` and `detail` of the token in the shared folder.
        data: `checksum` and `fault` of the data set.
        libraries: `fault` and `n_gpus` of TensorFlow with Horovod, None where not asked.
    """

    node: Node
    fault: str | None = None
    host_fault: str | None = None
    versions: dict[str, str | None] = field(default_factory=dict)
    interfaces: dict[str, list[str]] = field(default_factory=dict)
    n_gpu_devices: int | None = None
    disk_free: int = 0
    memory_free: int = 0
    shared: dict[str, str | None] | None = None
    data: dict[str, str | None] | None = None
    libraries: dict[str, Any] | None = None


@contextmanager
def probes(nodes: Sequence[Node]) -> Iterator["Probes"]:
    """Give an actor on each node, to be asked; they end with the block."""
    asked = Probes(nodes)
    try:
        yield asked
    finally:
        asked.end()


class Probes:
    """Actors, one on each node.

    Args:
        nodes: to be asked.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        actor: Any = ray.remote(probe.Probe)
        with _sent_by_value(probe, host):
            self._actors: dict[Node, Any] = {
                node: actor.options(
                    num_cpus=0,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
                ).remote()
                for node in nodes
            }

    def facts(self, questions: Questions, limit_s: float) -> list[NodeFacts]:
        """Return what each node tells, in the order of the nodes."""
        references = {
            node: actor.facts.remote(
                {
                    "token_folder": questions.token_folder,
                    "token": questions.token,
                    "node_id": node.id,
                    "data": questions.data,
                }
            )
            for node, actor in self._actors.items()
        }
        answers = _answers(references, limit_s)
        return [
            NodeFacts(node, fault=answer) if isinstance(answer, str) else NodeFacts(node, **answer)
            for node, answer in answers.items()
        ]

    def libraries(self, told: list[NodeFacts], limit_s: float) -> list[NodeFacts]:
        """Return the same facts with what TensorFlow and Horovod are like; takes seconds."""
        references = {
            facts.node: self._actors[facts.node].libraries.remote(limit_s)
            for facts in told
            if not facts.fault
        }
        answers = _answers(references, limit_s + _MORE_S)
        return [
            replace(facts, libraries=_library_answer(answers[facts.node]))
            if facts.node in answers
            else facts
            for facts in told
        ]

    def n_workers_at_most(self, head: Node, limit_s: float) -> float:
        """Return how many nodes an autoscaler on the head may have beside it.

        Raises:
            ray.exceptions.RayError: the head gives no answer.
        """
        reference = self._actors[head].n_workers_at_most.remote()
        return float(ray.get(reference, timeout=limit_s))

    def end(self) -> None:
        """End the actors."""
        for actor in self._actors.values():
            ray.kill(actor, no_restart=True)


@contextmanager
def _sent_by_value(*modules: ModuleType) -> Iterator[None]:
    """Have what is pickled in the block carry the code of these modules, not their names."""
    pickle: Any = ray.cloudpickle
    for module in modules:
        pickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            pickle.unregister_pickle_by_value(module)


def _answers(references: dict[Node, Any], limit_s: float) -> dict[Node, Any]:
    """Return each node's answer, or why it gave none, as text."""
    waiting = list(references.values())
    if waiting:
        ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=limit_s)
    answers: dict[Node, Any] = {}
    for node, reference in references.items():
        if reference not in ready:
            answers[node] = f"no answer within {limit_s:g} s"
            continue
        try:
            answers[node] = ray.get(reference)
        except ray.exceptions.RayError as error:
            answers[node] = _in_words(error)
    return answers


def _library_answer(answer: Any) -> dict[str, Any]:
    return {"fault": answer} if isinstance(answer, str) else dict(answer)


def _in_words(error: Exception) -> str:
    """Return the last telling line of one of Ray's long errors."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if isinstance(error, ray.exceptions.RayTaskError) and lines else ""
    return (last or (lines[0] if lines else type(error).__name__))[:300]
