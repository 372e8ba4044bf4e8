import io

from rich.console import Console

from ucluster_tune.cluster.fitness.comparisons import CheckRow
from ucluster_tune.report.cluster_tables import checks_table


def test_each_remedy_is_told_once_for_its_nodes_in_one_line_that_can_be_copied() -> None:
    remedy = "Horovod takes them for one machine: `hostnamectl set-hostname NAME` on one of them"
    rows = [
        CheckRow("a", "host name", False, "is localhost", remedy),
        CheckRow("b", "host name", False, "is localhost", remedy),
        CheckRow("b", "disk", True, "50.0 GiB free"),
    ]
    out = io.StringIO()
    Console(file=out, width=60).print(checks_table(rows), crop=False)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[-3:] == ["What to do", "host name of a, host name of b", f"  {remedy}"]
