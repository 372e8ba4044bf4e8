from pathlib import Path

import click
import pytest

from ucluster_tune.cli.studies.cluster import check, next_command
from ucluster_tune.cli.studies.on_cluster import SearchCommand
from ucluster_tune.report.cells import program

QUICKSTART = str(Path(__file__).parents[2] / "search_spaces" / "quickstart.yaml")


def typed(*words: str) -> click.Context:
    return check.make_context("check", list(words))


@pytest.mark.parametrize("file", ["search_space.yaml", "jets.yaml"])
def test_the_search_comes_after_the_check_whatever_its_file_is_called(file: str) -> None:
    ctx = typed(file, "--set", "data.path=a b", "--json", "--address", "10.0.0.1:6379")
    assert next_command(ctx) == (
        f"{program()} run {file} --set 'data.path=a b' --address 10.0.0.1:6379"
    )
    assert next_command(typed("--local")) == f"{program()} cluster check FILE --local"


def test_a_check_that_is_sent_to_a_cluster_tells_what_to_type_where_it_came_from() -> None:
    assert isinstance(check, SearchCommand)
    ctx = typed(QUICKSTART, "--set", "training.seed=2", "--cluster", "lab.yaml")
    sent = check.job(ctx).words
    assert list(sent[:2]) == ["cluster", "check"]
    there = typed(*sent[2:])
    assert there.params["next_typed"] == (
        f"{program()} run {QUICKSTART} --set training.seed=2 --cluster lab.yaml"
    )


def test_what_is_sent_along_is_no_option_for_people() -> None:
    assert "--next" not in check.get_help(typed())
