"""What nodes told, against what a search needs: one row a node and check.

Pure comparison; nothing is asked here but this process itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from ucluster_tune.cluster.fitness import probe
from ucluster_tune.cluster.fitness.shared_folder import SharedToken
from ucluster_tune.cluster.nodes import NodeFacts
from ucluster_tune.config.study import ResourcesConfig

_GIB = 2**30
_MIN_DISK_GIB = 2.0
_MIN_MEMORY_GIB = 1.0

_NAMES = {
    "python": "Python",
    "ray": "Ray",
    "tensorflow": "TensorFlow",
    "horovod": "Horovod",
    "ucluster_tune": "ucluster-tune",
}
_SAME_INSTALLATION = (
    "install the same on every node: the container image or the set-up commands of the cluster"
    " file, then `ray up` again, or `make install` on machines of your own"
)


@dataclass(frozen=True)
class CheckRow:
    """One check of one node.

    Attributes:
        node: its name; `driver` for the process that asks.
        check: what was looked at.
        ok: whether it is as it has to be.
        found: what it is.
        remedy: what to do about it; empty where nothing is.
    """

    node: str
    check: str
    ok: bool
    found: str
    remedy: str = ""

    def document(self) -> dict[str, object]:
        """Return the row as plain data."""
        return asdict(self)

    def in_words(self) -> str:
        """Return the row in one line."""
        text = f"{self.node}: {self.check}: {self.found}"
        return f"{text}; {self.remedy}" if self.remedy else text


def compare(
    told: Sequence[NodeFacts],
    data: str | None,
    resources: ResourcesConfig | None,
    token: SharedToken | None,
) -> Iterator[CheckRow]:
    """Yield all rows, check by check.

    Args:
        told: by the nodes.
        data: path or URI of the data set, None where it does not matter.
        resources: of a trial; None where no trial is at hand.
        token: that the nodes were shown, None where there was none.
    """
    for facts in told:
        if facts.fault:
            yield CheckRow(
                facts.node.name,
                "answer",
                False,
                facts.fault,
                "see `ray status` and, on the node, Ray's logs in /tmp/ray/session_latest/logs",
            )
    answered = [facts for facts in told if not facts.fault]
    yield from _versions(answered)
    yield from _host_names(answered)
    yield from _networks(answered)
    yield from _room(answered)
    if token is not None:
        yield from shared_rows(answered, token)
    if data is not None:
        yield from _data(answered, data)
    yield from _gpus(answered, resources)
    yield from _libraries(answered)


def _versions(told: Sequence[NodeFacts]) -> Iterator[CheckRow]:
    """Each node against this process; of Python the minor version matters."""
    own = probe.versions()
    for key, name in _NAMES.items():
        for facts in told:
            found = facts.versions.get(key)
            is_same = _relevant(key, found) == _relevant(key, own[key]) and found is not None
            if is_same:
                yield CheckRow(facts.node.name, name, True, str(found))
            elif found is None:
                remedy = f"{own[key]} is here; {_SAME_INSTALLATION}"
                yield CheckRow(facts.node.name, name, False, "not installed", remedy)
            else:
                remedy = f"{own[key] or 'none'} is here; {_SAME_INSTALLATION}"
                yield CheckRow(facts.node.name, name, False, found, remedy)


def _relevant(key: str, version: str | None) -> str | None:
    if key == "python" and version is not None:
        return ".".join(version.split(".")[:2])
    return version


def _host_names(told: Sequence[NodeFacts]) -> Iterator[CheckRow]:
    """Yield rows on names: a host that cannot resolve its own makes Gloo crash, two of one mix."""
    for facts in told:
        node = facts.node
        twins = [
            other.node.address
            for other in told
            if other.node.host == node.host and other.node.address != node.address
        ]
        if facts.host_fault:
            yield CheckRow(
                node.name,
                "host name",
                False,
                f"{node.host!r} does not resolve there: {facts.host_fault}",
                f"Horovod would crash: add the line `{node.address} {node.host}` to /etc/hosts"
                " of that node",
            )
        elif twins:
            yield CheckRow(
                node.name,
                "host name",
                False,
                f"{node.host!r} is also the name of {', '.join(twins)}",
                "Horovod takes them for one machine: `hostnamectl set-hostname NAME` on one of"
                " them, then start Ray there again",
            )
        else:
            yield CheckRow(node.name, "host name", True, f"{node.host} resolves")


def _networks(told: Sequence[NodeFacts]) -> Iterator[CheckRow]:
    """Yield how nodes are reached: workers meet at the addresses by which Ray knows them."""
    if len({facts.node.address for facts in told}) < 2:
        return
    for facts in told:
        node = facts.node
        shown = ", ".join(f"{name} {' '.join(ips)}" for name, ips in facts.interfaces.items())
        rays = [name for name, ips in facts.interfaces.items() if node.address in ips]
        if rays:
            found = f"{node.address} is on {rays[0]}"
            yield CheckRow(node.name, "network", True, found)
        else:
            yield CheckRow(
                node.name,
                "network",
                False,
                f"Ray's {node.address} is none of {shown or 'its addresses'}",
                "workers of a trial would not find each other across nodes: start Ray there with"
                " --node-ip-address of one that the other nodes reach",
            )


def _room(told: Sequence[NodeFacts]) -> Iterator[CheckRow]:
    for check, least, remedy in (
        ("disk", _MIN_DISK_GIB, "make room on the disk of /tmp"),
        ("memory", _MIN_MEMORY_GIB, "end what else runs there"),
    ):
        for facts in told:
            gib = (facts.disk_free if check == "disk" else facts.memory_free) / _GIB
            yield CheckRow(
                facts.node.name,
                check,
                gib >= least,
                f"{gib:.1f} GiB free",
                "" if gib >= least else f"{least:g} GiB are needed: {remedy}",
            )


def shared_rows(told: Sequence[NodeFacts], token: SharedToken) -> Iterator[CheckRow]:
    """Yield whether a folder is the same for each node that answered."""
    place, check, elsewhere = token.place, token.purpose.check, token.purpose.remedy
    if token.fault:
        yield CheckRow("driver", check, False, f"{place}: {token.fault}", elsewhere)
        return
    for facts in told:
        answer = facts.shared or {}
        fault, detail = answer.get("fault"), answer.get("detail")
        found = {
            None: f"{place} is shared and writable",
            "missing": f"{place} does not exist there",
            "other": f"{place} is another folder there",
            "unreadable": f"{place} cannot be read there: {detail}",
            "unusable": f"{detail}",
            "not writable": f"{place} cannot be written there: {detail}",
        }[fault]
        if fault is None and not token.is_answered_by(facts.node.id):
            fault, found = "other", f"{place}: what is written there is not seen by the driver"
        remedy = elsewhere
        if fault == "unusable":
            remedy = "give every node the same access: credentials, network, this package"
        if fault in ("unreadable", "not writable"):
            remedy = "let the user that Ray runs as read and write it on every node"
        yield CheckRow(facts.node.name, check, fault is None, found, "" if not fault else remedy)


def _data(told: Sequence[NodeFacts], place: str) -> Iterator[CheckRow]:
    own = probe.data_checksum(place)
    if own["fault"]:
        yield CheckRow("driver", "data set", False, own["fault"], "mend data.path")
        return
    for facts in told:
        answer = facts.data or {}
        fault, checksum = answer.get("fault"), answer.get("checksum") or ""
        if fault:
            remedy = f"keep {place} where every node sees it at the same path, or in s3://"
            yield CheckRow(facts.node.name, "data set", False, fault, remedy)
        elif checksum != own["checksum"]:
            found = f"{place} holds other jets: checksum {checksum[:12]}"
            remedy = f"the driver's is {(own['checksum'] or '')[:12]}: copy the data set anew"
            yield CheckRow(facts.node.name, "data set", False, found, remedy)
        else:
            yield CheckRow(facts.node.name, "data set", True, f"checksum {checksum[:12]}")


def _gpus(told: Sequence[NodeFacts], resources: ResourcesConfig | None) -> Iterator[CheckRow]:
    """Yield what Ray counts against what the system has; TensorFlow can see no more than that."""
    falls_back = resources is not None and resources.cpu_fallback
    matters = resources is None or resources.gpus_per_worker > 0
    for facts in told:
        counted = facts.node.n_gpus
        if not counted or not matters:
            continue
        seen, who = facts.n_gpu_devices, "the system has"
        if facts.libraries and not facts.libraries["fault"]:
            seen, who = facts.libraries["n_gpus"], "TensorFlow sees"
        found = f"Ray counts {counted:g}" + (f", {who} {seen}" if seen is not None else "")
        if seen is None or seen >= counted:
            yield CheckRow(facts.node.name, "GPUs", True, found)
        elif falls_back and not seen:
            found += ": training on the CPU, as resources.cpu_fallback allows"
            yield CheckRow(facts.node.name, "GPUs", True, found)
        else:
            yield CheckRow(
                facts.node.name,
                "GPUs",
                False,
                found,
                "install NVIDIA's driver and the gpu extra there, start Ray with the true"
                " --num-gpus, or set resources.cpu_fallback to true to train on CPUs",
            )


def _libraries(told: Sequence[NodeFacts]) -> Iterator[CheckRow]:
    for facts in told:
        if facts.libraries is None:
            continue
        fault = facts.libraries["fault"]
        yield CheckRow(
            facts.node.name,
            "training",
            not fault,
            fault or "TensorFlow and Horovod load",
            "" if not fault else _SAME_INSTALLATION,
        )
