"""docs/model.md: its commands run as they stand, in order, and its options are those there are."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tests.models.test_opening import make_checkpoint
from tests.models.test_published import made_up_arrays, save_with_saver
from tests.small_datasets import write_jets
from tests.small_study import call
from tests.study_events import four_trials
from tests.training.small_training import write_checkpoint
from ucluster_tune.cli.main import main
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.config.trial import LossConfig, ModelConfig, TrainingConfig
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.paths import StudyPaths

DOCUMENT = (Path(__file__).parents[1] / "docs" / "model.md").read_text()
COMMANDS = re.findall(r"^ucluster-tune .*$", DOCUMENT, re.MULTILINE)
WRITTEN = {"published/model.json", "back.ckpt.index", "clusters.parquet", "mine.parquet"}
WRITTEN |= {"best/saved_model.pb", "best_onnx/model.onnx"}


@pytest.fixture
def workplace(tmp_path):
    """A folder with all that the document's commands name, small."""
    (tmp_path / "logs").mkdir()
    save_with_saver(tmp_path / "logs" / "cluster.ckpt", made_up_arrays())
    write_jets(tmp_path / "search_spaces" / "data" / "wzt_sample")
    shutil.copytree(tmp_path / "search_spaces" / "data" / "wzt_sample", tmp_path / "data" / "mine")
    paths = StudyPaths(tmp_path / "studies" / "quickstart")
    paths.root.mkdir(parents=True)
    with StudyJournal(paths.record) as journal:
        for event in four_trials():
            journal.append(event)
    write_checkpoint(make_checkpoint(6, 6), paths.trial("0001").checkpoint(6))
    return tmp_path


@pytest.mark.slow
@pytest.mark.cluster
def test_every_command_of_the_document_runs(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    assert len(COMMANDS) >= 6
    for line in COMMANDS:
        program, *arguments = shlex.split(line)
        assert program == "ucluster-tune"
        if "--workers" in arguments:  # with a Ray that is its process's own
            result = call(*arguments)
            assert result.returncode == 0, f"{line}\n{result.stderr}"
        else:
            answer = CliRunner().invoke(main, arguments)
            assert answer.exit_code == 0, f"{line}\n{answer.output}"
    found = {str(path.relative_to(workplace)) for path in workplace.rglob("*") if path.is_file()}
    assert WRITTEN | {"confusion.png"} <= found


def test_the_search_space_of_the_document_loads(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    file = tmp_path / "options.yaml"
    file.write_text(yaml.safe_dump({"data": {"path": "jets"}, **yaml.safe_load(block)}))
    assert len(load_study_config(file).search_space) == 3


@pytest.mark.parametrize("section", [ModelConfig, LossConfig, TrainingConfig])
def test_options_of_the_document_exist_with_the_defaults_it_says(section):
    name = section.__name__.removesuffix("Config").lower()
    rows = re.findall(rf"^\| `{name}\.(\w+)` \| `?(\w+)`? \|", DOCUMENT, re.MULTILINE)
    assert rows
    for key, default in rows:
        value = section.model_fields[key].default
        assert str(value).lower() == default or float(value) == float(default), key
