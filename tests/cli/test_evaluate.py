"""`ucluster-tune evaluate`, as typed."""

import json
from itertools import permutations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from tests import small_study
from tests.hls4ml_files import made_up_file
from tests.small_datasets import made_up_jets, write_jets, write_tables
from tests.training.test_prediction import make_model
from ucluster_tune.cli.main import main
from ucluster_tune.training.saved_model import write_model


def run(*arguments):
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def numbers(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "small"
    write_model(make_model(), folder)
    return folder


@pytest.fixture(scope="module")
def jets(tmp_path_factory):
    return write_jets(tmp_path_factory.mktemp("data") / "jets", 90, 20, 60)


def test_numbers_are_those_of_the_predicted_clusters(model, jets, tmp_path):
    """Prediction and labels put together by hand, matched by trying everything."""
    document = numbers(model, jets)
    out = tmp_path / "clusters.parquet"
    CliRunner().invoke(
        main, ["predict", str(model), str(jets), "--out", str(out), "--split", "test"]
    )
    cluster = pq.read_table(out)["cluster"].to_numpy()
    names = pq.read_table(jets / "test-00000.parquet")["jet_class"].to_numpy()
    assert document["selection"]["classes"] == ["w", "z", "t"]
    jet_class = np.array([["w", "z", "t"].index(name) for name in names])
    found = document["results"]["model"]
    best = max(np.mean(np.array(o)[cluster] == jet_class) for o in permutations(range(3)))
    assert found["clustering_accuracy"] == pytest.approx(best)
    assert found["clustering_accuracy_batched"] == pytest.approx(best), "one batch of all jets"
    assert found["nmi"] == pytest.approx(normalized_mutual_info_score(jet_class, cluster))
    assert found["ari"] == pytest.approx(adjusted_rand_score(jet_class, cluster))
    assert np.sum(found["confusion"]) == len(cluster) == 60
    assert document["jets"] == {
        "read": 60,
        "passed": 60,
        "outside_mass_window": 0,
        "other_class": 0,
        "unlabelled": 0,
        "by_class": {"w": 20, "z": 20, "t": 20},
    }
    assert document["reference"]["accuracy"] == 0.81
    assert document["chosen_on"] == "chosen on 90 training jets"
    assert document["results"]["mass_thresholds"]["clustering_accuracy"] == 1.0


def test_the_table_shows_the_numbers_of_the_json(model, jets):
    document, result = numbers(model, jets), run(model, jets)
    text = result.stdout
    for found in document["results"].values():
        assert f"{100 * found['clustering_accuracy']:.1f} %" in text
        low, high = found["clustering_accuracy_interval"]
        assert f"{100 * low:.1f} to {100 * high:.1f}" in text
        assert f"{found['nmi']:.3f}" in text
    for quality in document["results"]["model"]["by_class"].values():
        assert f"{100 * quality['efficiency']:.1f} %" in text
    assert "60 of 60 pass 10 < mass < 200 GeV" in text
    assert "arXiv:2010.07106" in text
    assert "HLS4ML" in text
    assert max(map(len, text.splitlines()[:-1])) <= 80
    assert text.splitlines()[-1].startswith("Next, the cluster of every jet: ucluster-tune pred")
    assert "evaluating: 60 jets" in result.stderr


def test_the_same_seed_gives_the_same_numbers(model, jets):
    first, again = numbers(model, jets), numbers(model, jets)
    assert first == again
    other = numbers(model, jets, "--seed", 2, "--bootstrap", 150)
    for name, found in other["results"].items():
        same = {key: value for key, value in found.items() if not key.endswith("_interval")}
        assert same.items() <= first["results"][name].items()
    assert other["bootstrap"] == {"resamples": 150, "seed": 2, "level": 0.95}


def test_a_selection_is_applied_and_counted(model, tmp_path):
    table = made_up_jets(40, classes=("w", "z", "t", "q"))
    labels = pa.array([None, *table["jet_class"].to_pylist()[1:]], pa.string())
    data = write_tables(
        tmp_path / "jets", {"test": table.set_column(0, table.schema.field(0), labels)}
    )
    document = numbers(model, data, "--classes", "w,t", "--mass-max", 120)
    counts = document["jets"]
    assert counts["by_class"] == {"w": 9}
    assert counts["read"] == 40
    assert (counts["outside_mass_window"], counts["other_class"]) == (10, 20)
    assert counts["unlabelled"] == 1
    assert document["chosen_on"].startswith("chosen on each half of these jets")
    text = run(model, data, "--classes", "w,t", "--mass-max", 120).stdout
    assert "9 of 40 pass w, t with 10 < mass < 120 GeV" in text
    assert "10 outside the window" in text
    assert "1 without class" in text


def test_the_models_own_selection_is_the_default(jets, tmp_path):
    from dataclasses import replace

    from ucluster_tune.data.selection import Selection

    narrow = replace(make_model(), selection=Selection(85.0, 180.0, ("z", "t")))
    write_model(narrow, tmp_path / "narrow")
    document = numbers(tmp_path / "narrow", jets)
    assert document["selection"]["text"] == "z, t with 85 < mass < 180 GeV"
    assert document["jets"]["passed"] == 40
    wider = numbers(tmp_path / "narrow", jets, "--mass-min", 0, "--classes", "w,z,t")
    assert wider["jets"]["passed"] == 60


def test_hdf5_is_selected_as_published_and_says_how_many_jets_passed(model, tmp_path):
    file = made_up_file(60, classes=("w", "z", "t", "q"))
    file.jet_column("j_mass")[:12] = 250.0
    path = file.write(tmp_path / "jets.h5")
    document = numbers(model, path, "--classes", "w,z,t")
    assert document["selection"]["text"] == "w, z, t with 10 < mass < 200 GeV"
    assert document["jets"]["passed"] == 36
    assert document["jets"]["outside_mass_window"] == 12
    assert document["jets"]["other_class"] == 12
    assert (
        document["chosen_on"] == "chosen on each half of these jets and measured on the other half"
    )
    assert (
        "36 of 60 pass w, z, t with 10 < mass < 200 GeV"
        in run(model, path, "--classes", "w,z,t").stdout
    )


@pytest.mark.parametrize("name", ["confusion.png", "confusion.pdf", "confusion.svg"])
def test_the_confusion_matrix_is_drawn(model, jets, tmp_path, name):
    result = run(model, jets, "--plot", tmp_path / name)
    assert result.exit_code == 0, result.output
    magic = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[name[-3:]]
    assert (tmp_path / name).read_bytes().startswith(magic)
    assert f"confusion matrix: {tmp_path / name}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("--mass-min", 300), 2, "--mass-min 300 must be below --mass-max 200"),
        (("--mass-min", 180, "--mass-max", 190), 1, "none of 60 jets passes 180 < mass < 190"),
        (("--classes", "g"), 1, "none of 60 jets passes g with"),
        (("--classes", "b"), 2, "'b' is no class"),
        (("--plot", "confusion.gif"), 2, "must end in one of .png, .pdf, .svg"),
        (("--plot", "no/such/folder/confusion.png"), 1, "cannot be written"),
        (("--bootstrap", 1), 2, "not in the range"),
        (("--split", "holdout"), 2, "'holdout' is not one of"),
        (("--mass-min", "nan"), 2, "not a number"),
    ],
)
def test_wrong_input_gives_one_clear_error(model, jets, arguments, exit_code, message):
    result = run(model, jets, *arguments)
    assert result.exit_code == exit_code, result.output
    assert message in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_jets_without_labels_are_told(model, tmp_path):
    table = made_up_jets(6)
    nothing = pa.nulls(6, pa.string())
    data = write_tables(
        tmp_path / "jets", {"test": table.set_column(0, table.schema.field(0), nothing)}
    )
    result = run(model, data)
    assert result.exit_code == 1
    assert "6 in the window have no class, and an accuracy needs classes" in result.stderr


@pytest.mark.slow
@pytest.mark.cluster
def test_workers_make_no_difference(model, jets):
    alone, together = (
        small_study.call("evaluate", model, jets, "--json", "--workers", n) for n in ("1", "2")
    )
    assert alone.returncode == together.returncode == 0, together.stderr
    assert json.loads(alone.stdout) == json.loads(together.stdout)
