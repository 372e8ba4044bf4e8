"""`ucluster-tune evaluate`, as typed."""

import json
from dataclasses import replace
from itertools import combinations, permutations
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from tests import small_study
from tests.hls4ml_files import made_up_file
from tests.models.test_prediction import make_model
from tests.small_datasets import made_up_jets, write_jets, write_tables
from tests.training.small_training import MODEL
from ucluster_tune.cli.main import main
from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.format.parquet_files import pack_table
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.model.abcnet import build_abcnet
from ucluster_tune.models.prediction import Predictor
from ucluster_tune.models.saved import write_model


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


@pytest.fixture(scope="module")
def blurred(tmp_path_factory):
    """Jets whose masses tell their classes only half; two batches of 512 and a rest."""
    generator = np.random.default_rng(3)
    tables = {}
    for split, n_jets in (("train", 150), ("test", 1100)):
        table = made_up_jets(n_jets, classes=("w", "z", "t", "t", "z", "t"), seed=n_jets)
        mass_gev = table["mass_gev"].to_numpy() + generator.normal(size=n_jets) * 25
        index = table.schema.get_field_index("mass_gev")
        field = table.schema.field(index)
        tables[split] = table.set_column(index, field, pa.array(mass_gev, field.type))
    return write_tables(tmp_path_factory.mktemp("blurred") / "jets", tables, row_group_size=256)


@pytest.fixture(scope="module")
def sorter(tmp_path_factory):
    """A model that puts jets into all its clusters: a centroid amid some jets of each class."""
    model, layout = make_model(), build_abcnet(MODEL).parameters
    arrays = layout.to_arrays(model.parameters)
    jets = pack_table(made_up_jets(30), CLASS_NAMES)
    embedding = Predictor(model).predict([jets]).embedding
    arrays["centroids"] = np.stack([embedding[index::3].mean(axis=0) for index in range(3)])
    folder = tmp_path_factory.mktemp("sorter") / "model"
    write_model(replace(model, parameters=layout.to_vector(arrays)), folder)
    return folder


@pytest.fixture(scope="module")
def measured(sorter, blurred, tmp_path_factory):
    """The JSON and the table of one evaluation, and what they are about, put together by hand."""
    out = tmp_path_factory.mktemp("predicted") / "clusters.parquet"
    CliRunner().invoke(
        main, ["predict", str(sorter), str(blurred), "--out", str(out), "--split", "test"]
    )
    found = SimpleNamespace(document=numbers(sorter, blurred), table=run(sorter, blurred))
    found.cluster = pq.read_table(out)["cluster"].to_numpy()
    for split in ("train", "test"):
        jets = pq.read_table(blurred / f"{split}-00000.parquet")
        mass_gev = jets["mass_gev"].to_numpy()
        passes = (mass_gev > 10) & (mass_gev < 200)
        names = jets["jet_class"].to_pylist()
        jet_class = np.array([["w", "z", "t"].index(name) for name in names])
        found.__dict__[split] = mass_gev[passes], jet_class[passes]
        if split == "test":
            found.cluster = found.cluster[passes]
    return found


def matching(cluster, jet_class):
    """The class of each of three clusters that most jets agree with, found by trying all."""
    return max(
        (np.array(order) for order in permutations(range(3))),
        key=lambda order: np.mean(order[cluster] == jet_class),
    )


def accuracy(cluster, jet_class):
    return np.mean(matching(cluster, jet_class)[cluster] == jet_class)


def batched_accuracy(cluster, jet_class):
    starts = range(0, len(cluster) - 511, 512)
    return np.mean([accuracy(cluster[s : s + 512], jet_class[s : s + 512]) for s in starts])


def pair_index(cluster, jet_class):
    """The adjusted Rand index from its definition: pairs that are together in both."""
    first, second = np.triu_indices(len(cluster), 1)
    together, alike = cluster[first] == cluster[second], jet_class[first] == jet_class[second]
    by_chance = together.mean() * alike.mean()
    most = (together.mean() + alike.mean()) / 2
    return ((together & alike).mean() - by_chance) / (most - by_chance)


def resampled(measure, cluster, jet_class):
    """The percentiles of a number over jets drawn one by one."""
    generator = np.random.default_rng(11)
    n_jets = len(cluster)
    draws = (generator.integers(0, n_jets, n_jets) for _ in range(800))
    return np.percentile([measure(cluster[d], jet_class[d]) for d in draws], [2.5, 97.5])


def check_numbers(found, cluster, jet_class):
    assert found["clustering_accuracy"] == pytest.approx(accuracy(cluster, jet_class))
    assert found["clustering_accuracy_batched"] == pytest.approx(
        batched_accuracy(cluster, jet_class)
    )
    for name, measure in (
        ("clustering_accuracy_interval", accuracy),
        ("clustering_accuracy_batched_interval", batched_accuracy),
    ):
        wanted = resampled(measure, cluster, jet_class)
        assert found[name] == pytest.approx(wanted, abs=0.007), "but for the chance of draws"
    largest = sum(np.bincount(jet_class[cluster == k]).max() for k in np.unique(cluster))
    assert found["purity"] == pytest.approx(largest / len(cluster))
    assert found["nmi"] == pytest.approx(normalized_mutual_info_score(jet_class, cluster))
    assert found["ari"] == pytest.approx(pair_index(cluster, jet_class))
    counts = [[np.sum((cluster == k) & (jet_class == c)) for c in range(3)] for k in range(3)]
    assert found["confusion"] == counts
    matched = matching(cluster, jet_class).tolist()
    assert list(found["by_class"]) == ["w", "z", "t"]
    for index, quality in enumerate(found["by_class"].values()):
        mine, inside = jet_class == index, cluster == matched.index(index)
        assert quality == {
            "cluster": matched.index(index),
            "n_jets": mine.sum(),
            "efficiency": pytest.approx(inside[mine].mean()),
            "purity": pytest.approx(mine[inside].mean()),
        }


def test_numbers_of_the_model_are_those_of_its_predicted_clusters(measured):
    document, (mass_gev, jet_class) = measured.document, measured.test
    check_numbers(document["results"]["model"], measured.cluster, jet_class)
    assert document["results"]["model"]["thresholds_gev"] is None
    assert document["selection"]["classes"] == ["w", "z", "t"]
    assert 1024 < len(mass_gev) < 1100
    assert document["jets"] == {
        "read": 1100,
        "passed": len(mass_gev),
        "outside_mass_window": 1100 - len(mass_gev),
        "other_class": 0,
        "unlabelled": 0,
        "unknown_classes": [],
        "without_constituents": 0,
        "by_class": dict(zip("wzt", np.bincount(jet_class).tolist(), strict=True)),
    }
    assert document["reference"]["accuracy"] == 0.81
    assert document["bootstrap"] == {"resamples": 1000, "seed": 1, "level": 0.95}


def test_mass_alone_is_measured_in_the_same_way_with_what_training_jets_gave(measured):
    document, (mass_gev, jet_class) = measured.document, measured.test
    seen, seen_class = measured.train
    assert document["chosen_on"] == f"chosen on {len(seen)} training jets"
    fit = KMeans(3, n_init=10, random_state=1).fit(seen[:, None].astype(float))
    ranks = np.argsort(np.argsort(fit.cluster_centers_[:, 0]))  # clusters by mass, ascending
    by_kmeans = ranks[fit.predict(mass_gev[:, None].astype(float))]
    check_numbers(document["results"]["kmeans_mass"], by_kmeans, jet_class)

    found = document["results"]["mass_thresholds"]
    (cuts,) = found["thresholds_gev"]
    check_numbers(found, np.digitize(mass_gev, cuts), jet_class)
    tried = np.append(np.sort(seen), 200)
    best = max(
        accuracy(np.digitize(seen, pair), seen_class)
        for pair in combinations(tried[::3], 2)  # a third of them; all are tried a layer below
    )
    assert accuracy(np.digitize(seen, cuts), seen_class) >= best


def lines_of(text):
    return [" ".join(line.split()) for line in text.splitlines()]


def after(lines, start, n_lines=1):
    """The lines behind the only one that starts so, that one first."""
    (place,) = (index for index, line in enumerate(lines) if line.startswith(start))
    return lines[place : place + n_lines]


def per_cent(share):
    return f"{100 * share:.1f} %"


def test_every_cell_of_the_table_is_a_number_of_the_json(measured):
    document, lines = measured.document, lines_of(measured.table.stdout)
    jets, results = document["jets"], document["results"]
    assert after(lines, "accuracy in batches", 2) == [
        "accuracy in batches",
        "95 % interval 95 % interval purity NMI ARI",
    ]
    for name, key in (
        ("model", "model"),
        ("two mass thresholds", "mass_thresholds"),
        ("k-means on jet mass", "kmeans_mass"),
    ):
        found = results[key]
        intervals = (found[f"clustering_accuracy{which}_interval"] for which in ("", "_batched"))
        assert after(lines, f"{name} ", 2) == [
            f"{name} {per_cent(found['clustering_accuracy'])}"
            f" {per_cent(found['clustering_accuracy_batched'])} {per_cent(found['purity'])}"
            f" {found['nmi']:.3f} {found['ari']:.3f}",
            " ".join(f"{100 * low:.1f} to {100 * high:.1f}" for low, high in intervals),
        ]
    assert after(lines, "published, other jets") == ["published, other jets 81.0 %"]
    class_table = after(lines, "class jets", 5)
    assert class_table[0] == "class jets cluster efficiency purity"
    assert class_table[2:] == [
        f"{label} {quality['n_jets']} {quality['cluster']} {per_cent(quality['efficiency'])}"
        f" {per_cent(quality['purity'])}"
        for label, quality in zip(
            ("W", "Z", "top"), results["model"]["by_class"].values(), strict=True
        )
    ]
    shown = [word for line in class_table[2:] for word in line.split()]
    assert len(set(shown)) > 12, "hardly a number twice: columns that change places are seen"
    by_class = zip(("W", "Z", "top"), jets["by_class"].values(), strict=True)
    assert "warning" not in measured.table.stdout
    assert after(lines, "Jets", 3) == [
        f"Jets {jets['passed']:,} of 1,100 pass 10 < mass < 200 GeV;"
        f" {jets['outside_mass_window']} outside the window",
        "window as published, and as the model was trained",
        ", ".join(f"{label} {n_jets}" for label, n_jets in by_class),
    ]
    low, high = results["mass_thresholds"]["thresholds_gev"][0]
    notes = " ".join(lines)
    assert (
        f"thresholds at {low:.1f} and {high:.1f} GeV; they and k-means on the mass are"
        f" {document['chosen_on']}"
    ) in notes
    assert "anew in each batch of 512, as published" in notes
    assert "published 81.0 %: arXiv:2010.07106" in notes
    assert "HLS4ML" in notes


def test_the_table_fits_80_columns_and_names_the_next_step(measured, sorter):
    result, lines = measured.table, measured.table.stdout.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert lines[-1].startswith("Next, the cluster of every jet: ")
    assert f"ucluster-tune predict {sorter} " in lines[-1]
    assert f"evaluating: {measured.document['jets']['passed']:,} jets" in result.stderr


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
    narrow = replace(make_model(), selection=Selection(85.0, 180.0, ("z", "t")))
    write_model(narrow, tmp_path / "narrow")
    document = numbers(tmp_path / "narrow", jets)
    assert document["selection"]["text"] == "z, t with 85 < mass < 180 GeV"
    assert document["jets"]["passed"] == 40
    wider = numbers(tmp_path / "narrow", jets, "--mass-min", 0, "--classes", "w,z,t")
    assert wider["jets"]["passed"] == 60


WIDE = "0 < mass < 500 GeV"
PUBLISHED = "10 < mass < 200 GeV"
BOTH = ("--mass-min", 0, "--mass-max", 300)


@pytest.mark.parametrize(
    ("kind", "options", "n_passed", "origin"),
    [
        ("h5", (), 4, f"as published; the model was trained on {WIDE} (--window model)"),
        ("parquet", (), 6, f"as the model was trained; published is {PUBLISHED} (--window pub"),
        ("h5", ("--window", "model"), 6, "as the model was trained; published is"),
        ("parquet", ("--window", "published"), 4, "as published; the model was trained on"),
        ("h5", ("--mass-max", 300), 5, "from --mass-max, else as published; the model"),
        ("h5", BOTH, 6, "from --mass-min and --mass-max"),
    ],
)
def test_the_window_says_where_it_comes_from(tmp_path, kind, options, n_passed, origin):
    """Masses of 5 and 250 GeV are those that the windows differ by."""
    wide = replace(make_model(), selection=Selection(0.0, 500.0))
    write_model(wide, tmp_path / "wide")
    if kind == "h5":
        file = made_up_file(7)
        file.jet_column("j_mass")[:3] = 5.0, 250.0, 600.0
        data = file.write(tmp_path / "jets.h5")
    else:
        table = made_up_jets(7)
        masses = [5.0, 250.0, 600.0, *table["mass_gev"].to_pylist()[3:]]
        field = table.schema.field("mass_gev")
        table = table.set_column(1, field, pa.array(masses, field.type))
        data = write_tables(tmp_path / "jets", {"test": table})
    document, text = numbers(tmp_path / "wide", data, *options), ""
    assert document["jets"]["passed"] == n_passed
    assert document["selection"]["window_from"].startswith(origin)
    if not options:
        text = " ".join(run(tmp_path / "wide", data).stdout.split())
        assert f"window {origin}" in text


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


@pytest.mark.parametrize("name", ["confusion.png", "new/folder/confusion.pdf", "x.svg"])
def test_the_confusion_matrix_is_drawn(model, jets, tmp_path, name):
    result = run(model, jets, "--plot", tmp_path / name)
    assert result.exit_code == 0, result.output
    magic = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[name[-3:]]
    assert (tmp_path / name).read_bytes().startswith(magic)
    assert f"confusion matrix: {tmp_path / name}" in result.stderr


def test_where_no_picture_can_be_drawn_nothing_is_computed(model, jets):
    result = run(model, jets, "--plot", "/sys/x.png")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: /sys/x.png: cannot be written: ")
    assert "evaluating" not in result.stderr


def test_a_picture_that_fails_takes_no_numbers_with_it(model, jets, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    result = run(model, jets, "--json", "--plot", tmp_path / "x.png")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["jets"]["passed"] == 60
    assert "x.png: cannot be written: No space left on device" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("--plot", "s3://bucket/x.png"), 2, "is a URI, and this must be a path"),
        (("--mass-min", 300), 2, "--mass-min 300 must be below --mass-max 200"),
        (("--mass-min", 180, "--mass-max", 190), 1, "none of 60 jets passes 180 < mass < 190"),
        (("--classes", "g"), 1, "none of 60 jets passes g with"),
        (("--classes", "b"), 2, "'b' is no class"),
        (("--plot", "confusion.gif"), 2, "must end in one of .png, .pdf, .svg"),
        (("--plot", "/sys/no/folder/confusion.png"), 1, "confusion.png: cannot be written: "),
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
    reason = "6 in the window have no class or an unknown one, and an accuracy needs classes"
    assert reason in result.stderr
    assert "Unknown" not in result.stderr


def test_an_unknown_class_is_named(model, tmp_path):
    table = made_up_jets(8)
    for name, labels in (("all", ["higgs"] * 8), ("some", ["w", "z", "t", "w", *["higgs"] * 4])):
        changed = table.set_column(0, table.schema.field(0), pa.array(labels, pa.string()))
        write_tables(tmp_path / name, {"test": changed})
    result = run(model, tmp_path / "all")
    assert result.exit_code == 1
    assert "Unknown in column jet_class: 'higgs'; the classes are g, q, w, z, t" in result.stderr
    counts = numbers(model, tmp_path / "some")["jets"]
    assert (counts["unlabelled"], counts["unknown_classes"]) == (4, ["higgs"])
    text = " ".join(run(model, tmp_path / "some").stdout.split())
    assert "4 without class or of an unknown one ('higgs')" in text


def test_jets_without_constituents_are_counted_and_told(model, tmp_path):
    file = made_up_file(12)
    file.constituents[[2, 5, 7]] = 0
    file.jet_column("j_mass")[7] = 250.0  # not selected, so not counted
    path = file.write(tmp_path / "jets.h5")
    assert numbers(model, path)["jets"]["without_constituents"] == 2
    text = " ".join(run(model, path).stdout.split())
    assert "warning: 2 of the 11 have no constituents" in text
    assert "`data convert` leaves such jets out" in text


@pytest.mark.slow
@pytest.mark.cluster
def test_workers_make_no_difference(model, jets):
    together = small_study.call("evaluate", model, jets, "--json", "--workers", "2")
    assert together.returncode == 0, together.stderr
    assert numbers(model, jets) == json.loads(together.stdout)


def test_a_damaged_jet_has_the_name_that_predict_gives_it(model, tmp_path):
    """Its number in its file, though jets before it are selected away."""
    file = made_up_file(12)
    file.jet_column("j_mass")[:4] = 250.0
    for name in ("j1_etarel", "j1_phirel", "j1_deltaR", "j1_costhetarel"):
        file.column(name)[7] = 1e38
    path = file.write(tmp_path / "jets.h5")
    wanted = f"Error: {path}: jet 7"
    assert run(model, path).stderr.splitlines()[-1].startswith(wanted)
    out = str(tmp_path / "clusters.parquet")
    result = CliRunner().invoke(main, ["predict", str(model), str(path), "--out", out])
    assert result.stderr.splitlines()[-1].startswith(wanted)


def test_a_data_set_in_a_bucket_gives_the_same_numbers(model, jets, s3_server):
    s3_server.make_bucket("data")
    uri = s3_server.upload(jets, "data")
    wanted, found = numbers(model, jets), numbers(model, uri)
    assert found.pop("data") == f"{uri}, test jets"
    del wanted["data"]
    assert found == wanted
