"""What is shown of a job's output."""

import pytest

from ucluster_tune.cluster.launched.jobs import JobOutput

RAYS = (
    "2026-01-01 12:00:00,123\tINFO job_manager.py:581 -- Runtime env is setting up.\n"
    "Running entrypoint for job check-7c18: python -m ucluster_tune cluster check --json\n"
)


def shown(*pieces):
    told: list[str] = []
    output = JobOutput(told.append)
    for piece in pieces:
        output.add(piece)
    output.end()
    return "".join(told)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "own",
    ['{\n  "ok": true\n}\n', "no newline", "", "Runtime env is setting up, says the job\n"],
)
def test_lines_of_ray_before_the_jobs_own_are_left_out(own, size):
    text = RAYS + own
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert shown(*pieces) == own


@pytest.mark.parametrize("text", ["first\nRunning entrypoint for job x\n", "half a line"])
def test_output_without_them_is_shown_whole(text):
    assert shown(text) == text


def test_a_line_is_shown_as_soon_as_it_is_clear_whose_it_is():
    told: list[str] = []
    output = JobOutput(told.append)
    output.add(RAYS[:-5])
    assert told == []
    output.add(RAYS[-5:] + "a")
    output.add("b")
    assert told == ["a", "b"]
