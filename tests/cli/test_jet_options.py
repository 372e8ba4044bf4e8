"""A URI where a path of this machine is needed is refused, and nothing is made of it."""

import pytest
from click.testing import CliRunner

from ucluster_tune.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        (["convert", "jets.h5", "--out", "s3://bucket/x"], "make the data set here, copy it with"),
        (["convert", "s3://bucket/x", "--out", "x"], "copy the files here first"),
        (["simulate", "--out", "gs://bucket/x"], "make the data set here, copy it with"),
        (["download", "3602254", "--to", "s3://bucket/x"], "fetch the files here"),
        (["describe", "x", "--plot", "s3://bucket/x.png"], "draw it here"),
        (["convert", "file:///x.h5", "--out", "x"], "write the path without file://"),
    ],
)
def test_a_uri_is_refused_with_what_to_do(tmp_path, monkeypatch, arguments, instead):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["data", *arguments])
    assert result.exit_code == 2
    told = " ".join(result.output.split())
    assert "://" in told
    assert instead in told
    assert not list(tmp_path.iterdir())
