"""The commands of docs/data.md do what the document says."""

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.hls4ml_files import write_folder, write_tar
from tests.zenodo_server import local_zenodo
from ucluster_tune.cli.data.group import data
from ucluster_tune.cli.main import main
from ucluster_tune.cli.studies.run import run
from ucluster_tune.data.format.manifest import Manifest, ManifestFile, read_manifest
from ucluster_tune.data.making.preparation import CACHE_VARIABLE
from ucluster_tune.data.making.zenodo import ADDRESS_VARIABLE

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "data.md").read_text()
# These take minutes to days: it is enough that they are understood.
ONLY_PARSED = ("simulate", "run")
COMMANDS: dict[str, click.Command] = {"data": data, "run": run}


def commands():
    """All commands of the document's blocks, in order."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("ucluster-tune ")]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the search spaces, where Zenodo and the cache are this machine's own."""
    archive = write_tar(tmp_path / "a.tar.gz", write_folder(tmp_path / "files", n_jets=60))
    served = {"hls4ml_LHCjet_100p_train.tar.gz": archive.read_bytes()}
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "search_spaces").mkdir()
    shutil.copy(ROOT / "search_spaces" / "jets.yaml", folder / "search_spaces")
    monkeypatch.chdir(folder)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    with local_zenodo(served) as server:
        monkeypatch.setenv(ADDRESS_VARIABLE, server.address)
        yield folder


def understood(arguments):
    """Parse a command without calling it."""
    command, names = COMMANDS[arguments[0]], arguments[1:]
    if isinstance(command, click.Group):
        command, names = command.commands[names[0]], names[1:]
    command.make_context("a test", names)


def test_every_command_of_the_document_works_from_first_to_last(workplace):
    ran = []
    for arguments in commands():
        if set(arguments[:2]) & set(ONLY_PARSED):
            understood(arguments)
            continue
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{arguments}: {result.output}"
        ran.append(" ".join(arguments[:2]))
    assert (
        ran
        == ["data download", "data convert", "check search_spaces/jets.yaml"]
        + ["data describe"] * 2
    )
    assert (workplace / "hls4ml.png").stat().st_size > 10_000
    assert sum(f.n_jets for f in read_manifest(workplace / "data" / "hls4ml").files) == 180


@pytest.mark.parametrize("name", ["convert", "download", "describe", "simulate"])
def test_every_option_is_in_the_document(name):
    for option in data.commands[name].params:
        for flag in option.opts:
            assert not flag.startswith("--") or flag in DOCUMENT, flag


def test_options_of_convert_have_the_defaults_of_the_document():
    table = DOCUMENT.partition("## Converting")[2]
    for name in ("classes", "fractions", "seed", "row-group-size", "max-bad-jets"):
        option = next(o for o in data.commands["convert"].params if f"--{name}" in o.opts)
        row = rf"\| `--{name}` \| `?{re.escape(str(option.default))}`? \|"
        assert re.search(row, table), name


def test_the_keys_of_the_manifest_are_those_there_are():
    section = DOCUMENT.partition("### manifest.json")[2].partition("###")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(Manifest.model_fields)
    (row,) = re.findall(r"^\| `files` \| (.*) \|$", section, re.MULTILINE)
    assert re.findall(r"`(\w+)`", row.replace("`train`, `validation` or `test`", "")) == list(
        ManifestFile.model_fields
    )
