"""`ucluster-tune data simulate`, as typed."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from ucluster_tune.cli.data import jet_options
from ucluster_tune.cli.data.group import data
from ucluster_tune.cli.data.simulate import simulate as simulate_command
from ucluster_tune.data.format import features, schema
from ucluster_tune.data.format.manifest import read_manifest, verify_files
from ucluster_tune.data.making.writer import DEFAULT_ROW_GROUP_SIZE
from ucluster_tune.data.simulation.settings import SimulationSettings
from ucluster_tune.data.simulation.splits import DEFAULT_FRACTIONS
from ucluster_tune.errors import DataError, MachineError

needs_generator = pytest.mark.skipif(
    find_spec("pythia8mc") is None or find_spec("fastjet") is None,
    reason="Pythia 8 and FastJet are not installed: uv sync --extra simulate",
)

SAMPLE = Path(__file__).parents[2] / "search_spaces" / "data" / "wzt_sample"


def simulate(*arguments):
    return CliRunner().invoke(data, ["simulate", *(str(part) for part in arguments)])


def simulated(folder, *arguments):
    result = simulate("--out", folder, "--no-mpi", *arguments)
    assert result.exit_code == 0, result.output
    return result


@needs_generator
@pytest.mark.slow
def test_a_data_set_is_made_and_described(tmp_path):
    folder = tmp_path / "jets"
    result = simulated(folder, "--classes", "t,w", "--jets-per-class", 10, "--row-group-size", 5)
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    assert manifest.classes == ("w", "t")
    assert manifest.counts == {
        "train": {"w": 6, "t": 6},
        "validation": {"w": 2, "t": 2},
        "test": {"w": 2, "t": 2},
    }
    assert "Pythia 8" in manifest.source
    assert "FastJet 3" in manifest.source
    assert manifest.settings["multiparton_interactions"] is False
    assert manifest.settings["min_pt_gev"] == 0.25
    multiplicities = manifest.settings["mean_multiplicity"]
    assert isinstance(multiplicities, dict)
    assert set(multiplicities) == {"w", "t"}
    file = pq.ParquetFile(folder / "train-00000.parquet")
    assert file.num_row_groups == 3
    assert file.schema_arrow.equals(schema.jets_schema(), check_metadata=True)
    assert "12 train, 4 validation, 4 test" in result.stdout
    assert "simulating jets" not in result.stdout
    assert "simulating jets" in result.stderr


@needs_generator
@pytest.mark.slow
def test_the_recorded_command_makes_the_same_jets_with_other_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--classes", "w,z", "--jets-per-class", 8, "--seed", 3, "--min-pt", 0.5]
    simulated("first", *options, "--processes", 2)
    first = read_manifest("first")
    program, group, *arguments = first.command.split()
    assert (program, group) == ("ucluster-tune", "data")
    arguments = ["second" if part == "first" else part for part in arguments]
    result = CliRunner().invoke(data, [*arguments, "--processes", "1"])
    assert result.exit_code == 0, result.output
    second = read_manifest("second")
    assert second.dataset_checksum == first.dataset_checksum
    assert second.settings == first.settings
    simulated("other", *options[:-4], "--seed", 4, "--min-pt", 0.5)
    assert read_manifest("other").dataset_checksum != first.dataset_checksum


@needs_generator
def test_an_existing_folder_is_refused_before_simulating(tmp_path):
    (tmp_path / "precious").write_text("")
    result = simulate("--out", tmp_path, "--jets-per-class", 10_000_000)
    assert isinstance(result.exception, DataError)
    assert "nothing is ever overwritten" in str(result.exception)


@pytest.mark.parametrize("library", ["pythia8mc", "fastjet"])
def test_a_missing_extra_is_named_before_anything_is_made(tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    result = simulate("--out", tmp_path / "jets")
    assert isinstance(result.exception, MachineError)
    assert "`make install`" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--classes", "w,b"], "'b' is no class"),
        (["--classes", ""], "'' is no class"),
        (["--classes", "w,z,w"], "names a class twice"),
        (["--jets-per-class", "0"], "not in the range"),
        (["--jets-per-class", "many"], "not a valid integer"),
        (["--jets-per-class", "2"], "leave none for validation"),
        (["--seed", "-1"], "not in the range"),
        (["--processes", "0"], "not in the range"),
        (["--min-pt", "-1"], "not in the range"),
        (["--min-pt", "nan"], "not a number"),
        (["--radius", "0"], "not in the range"),
        (["--smearing-scale", "-0.5"], "not in the range"),
        (["--parton-pt-min", "1100"], "must be below --parton-pt-max 1005"),
        (["--fractions", "0.5,0.5"], "three numbers"),
        (["--fractions", "0.5,0.4,0.2"], "the sum must be 1, it is 1.1"),
        (["--fractions", "1.5,-0.5,0"], "each must lie in [0, 1]"),
        (["--fractions", "nan,0.5,0.5"], "each must lie in [0, 1]"),
        (["--fractions", "0,0.5,0.5"], "the first above 0"),
        (["--fractions", "a,b,c"], "not three numbers"),
        (["--row-group-size", "0"], "not in the range"),
        (["--significant-bits", "25"], "not in the range"),
    ],
)
def test_bad_values_are_usage_errors(tmp_path, options, message):
    result = simulate("--out", tmp_path / "jets", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_asked_for():
    result = simulate()
    assert result.exit_code == 2
    assert "Missing option '--out'" in result.stderr


@needs_generator
def test_splits_with_fraction_zero_get_no_file(tmp_path):
    simulated(tmp_path / "jets", "--classes", "z", "--jets-per-class", 2, "--fractions", "1,0,0")
    assert sorted(path.name for path in (tmp_path / "jets").iterdir()) == [
        "manifest.json",
        "train-00000.parquet",
    ]


def test_help_and_defaults_are_those_of_the_layers_below():
    assert jet_options.CLASS_NAMES == features.CLASS_NAMES
    assert jet_options.SPLITS == schema.SPLITS
    defaults = {option.name: option.default for option in simulate_command.params}
    settings = SimulationSettings()
    assert defaults["fractions"] == ",".join(str(fraction) for fraction in DEFAULT_FRACTIONS)
    assert defaults["row_group_size"] == DEFAULT_ROW_GROUP_SIZE
    for option, field in (
        ("radius", "jet_radius"),
        ("parton_pt_min", "parton_pt_min_gev"),
        ("parton_pt_max", "parton_pt_max_gev"),
        ("on_shell", "on_shell"),
        ("mpi", "multiparton_interactions"),
        ("emulation", "emulation"),
        ("smearing_scale", "smearing_scale"),
        ("min_pt", "min_pt_gev"),
        ("significant_bits", "significant_bits"),
    ):
        assert defaults[option] == getattr(settings, field)


def test_help_loads_no_library_of_weight():
    code = (
        "import sys, ucluster_tune.cli.data.group\n"
        "heavy = {'numpy', 'pyarrow', 'pydantic', 'rich', 'h5py', 'requests', 'pythia8mc'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_the_committed_sample_is_whole_and_small():
    manifest = read_manifest(SAMPLE)
    verify_files(SAMPLE, manifest)
    assert manifest.classes == ("w", "z", "t")
    assert {split: sum(counts.values()) for split, counts in manifest.counts.items()} == {
        "train": 9600,
        "validation": 2400,
        "test": 3000,
    }
    assert manifest.settings["emulation"] is True
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 12_000_000
    document = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    recorded = set(manifest.command.split())
    assert recorded <= set(document.replace("\\\n", " ").split())
    assert json.loads((SAMPLE / "manifest.json").read_text())["format_version"] == 2
