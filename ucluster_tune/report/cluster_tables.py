"""What the check of a cluster found, as a table."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ucluster_tune.cluster.fitness.comparisons import CheckRow
from ucluster_tune.report import cells
from ucluster_tune.report.cells import unfolded


def checks_table(rows: Sequence[CheckRow]) -> RenderableType:
    """Return one row a check and node, and below it the remedy of each fault.

    Remedies name commands: print it with crop=False.
    """
    table = cells.plain_table("check", "node", "", "found", left=("check", "node", "", "found"))
    for column in table.columns[1:]:
        column.no_wrap, column.overflow = False, "fold"
    before = ""
    for row in rows:
        mark = Text("✓", style="green") if row.ok else Text("✗", style="red")
        found = Text(row.found, style="" if row.ok else "red")
        shown = "" if row.check == before else row.check
        table.add_row(Text(shown), Text(row.node), mark, found)
        before = row.check
    return Group(table, *_remedies(rows))


def _remedies(rows: Sequence[CheckRow]) -> list[RenderableType]:
    """Return each remedy once, with the nodes and checks that it is for."""
    places: dict[str, list[str]] = {}
    for row in rows:
        if not row.ok:
            places.setdefault(row.remedy, []).append(f"{row.check} of {row.node}")
    if not places:
        return []
    lines: list[RenderableType] = [Text(), Text("What to do", style="bold")]
    for remedy, where in places.items():
        lines += [Text(", ".join(where), style="bold"), unfolded(f"  {remedy}")]
    return lines
