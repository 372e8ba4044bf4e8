"""Each promise of docs/reliability.md names its tests, and they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "reliability.md"


def promises() -> dict[str, list[str]]:
    """The tests that each row of the table of promises names."""
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text.partition("## The promises")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    assert rows[0] == [" what happens", "what is promised", "tests "]
    return {row[0].strip(): re.findall(r"`(test_\w+)`", row[2]) for row in rows[1:]}


def names_of_tests() -> list[str]:
    """The names of all tests."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [
        name
        for file in files
        for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)
    ]


def test_each_promise_names_tests_that_are_there() -> None:
    there = names_of_tests()
    assert len(promises()) > 20
    for what, names in promises().items():
        assert names, f"no test for: {what}"
        for name in names:
            assert there.count(name) == 1, f"{name}, for: {what}"
