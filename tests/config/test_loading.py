import pytest

from ucluster_tune.config.loading import dump_config, load_study_config
from ucluster_tune.config.points import published_point
from ucluster_tune.config.study import (
    FloatParameter,
    IntParameter,
    SchedulerConfig,
    StudyConfig,
)
from ucluster_tune.config.trial import DataConfig, LossConfig, TrainingConfig, TrialConfig
from ucluster_tune.errors import ConfigurationError, StudyError
from ucluster_tune.study.paths import StudiesFolder

SPACE = """
search_space:
  loss.clustering_weight: {type: float, low: 0.1, high: 5, log: true}
  training.n_pretraining_epochs: {type: int, low: 2, high: 8, step: 3}
"""


@pytest.fixture
def load(tmp_path):
    """Writes YAML text as jets.yaml and loads it."""

    def write_and_load(text, *overrides, name="jets.yaml"):
        file = tmp_path / name
        file.write_text(text)
        return load_study_config(file, overrides)

    return write_and_load


@pytest.fixture
def faults_of(load):
    """All faults of a YAML text, which has a data section unless it brings one."""

    def faults(text, *overrides, name="jets.yaml"):
        if not text.startswith("data:") and "\ndata:" not in text:
            text = "data: {path: jets}\n" + text
        with pytest.raises(ConfigurationError) as caught:
            load(text, *overrides, name=name)
        return list(caught.value.faults)

    return faults


def test_the_smallest_file_is_the_published_recipe(load, tmp_path):
    study = load("data: {path: jets}")
    assert study == StudyConfig(
        name="jets",
        data=DataConfig(path=str(tmp_path / "jets")),
        scheduler=SchedulerConfig(grace_period=22),  # after the published pretraining
    )


def test_numbers_may_be_written_as_physicists_do(load):
    study = load("data: {path: jets}\ntraining: {learning_rate: 1e-4, global_batch_size: 1_024}")
    assert study.training.learning_rate == 1e-4
    assert study.training.global_batch_size == 1024


def test_an_empty_section_holds_the_defaults(load):
    assert load("data: {path: jets}\nloss:\nsearch_space:\n").loss == LossConfig()


def test_a_relative_data_path_is_taken_from_the_files_folder(load, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    assert load("data: {path: ../jets}").data.path == str(tmp_path.parent / "jets")
    assert load("data: {path: /jets}").data.path == "/jets"
    assert load("data: {path: s3://bucket/jets}").data.path == "s3://bucket/jets"


def test_a_relative_file_name_is_taken_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "jets.yaml").write_text("data: {path: jets}")
    monkeypatch.chdir(tmp_path)
    assert load_study_config("jets.yaml").data.path == str(tmp_path / "jets")


def test_a_home_folder_is_expanded(load, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert load("data: {path: ~/jets}").data.path == "/home/ada/jets"


def test_an_overridden_data_path_is_taken_from_the_working_directory(load, monkeypatch):
    monkeypatch.chdir("/usr")
    assert load("data: {path: jets}", "data.path=other").data.path == "/usr/other"


def test_the_name_is_the_files_unless_given(load):
    assert load("data: {path: jets}", name="w-z_t.2.yaml").name == "w-z_t.2"
    assert load("data: {path: jets}\nname: mine").name == "mine"
    assert load("data: {path: jets}\nname:\n").name == "jets"


def test_a_file_name_that_names_no_study_is_refused(faults_of):
    (fault,) = faults_of("", name="my jets.yaml")
    assert fault.startswith("name: must hold 1 to 64 letters")
    assert "got 'my jets'" in fault


@pytest.mark.parametrize("name", ["../x", "/x", "''", ".x", "a" * 65, '"a\\n"', "'a/b'"])
def test_a_name_that_is_a_path_is_refused(faults_of, name):
    (fault,) = faults_of(f"name: {name}")
    assert fault.startswith("name: must hold 1 to 64 letters")


@pytest.mark.parametrize("name", ["mlflow.db", "mlflow.db2", "mlflow.db-wal", "mlartifacts-2"])
def test_names_that_run_would_refuse_are_refused_by_check(faults_of, tmp_path, name):
    (fault,) = faults_of(f"name: {name}")
    with pytest.raises(StudyError) as refused:
        StudiesFolder(tmp_path).study(name)
    assert str(refused.value) == f"the name of a study {fault.removeprefix('name: ')}"
    assert "MLflow store beside the studies" in fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("data: {}", "data.path: required, but not given"),
        ("data:", "data.path: required, but not given"),
        ("data: jets", "data: must be a mapping (`key: value` lines), got 'jets'"),
        ("data: {path: ''}", "data.path: must not be empty"),
        ("data: {path: 3}", "data.path: must be text, got 3: put it in quotes"),
        ('data: {path: "a\\0b"}', "data.path: must not hold a NUL character"),
        (
            "data: {path: a, classes: [w, x]}",
            "data.classes[1]: must be one of g, q, w, z, t, got 'x'",
        ),
        ("data: {path: a, classes: w}", "data.classes: must be a list, got 'w'"),
        ("data: {path: a, classes: []}", "data.classes: must hold at least 1 values, got []"),
        (
            "data: {path: a, classes: [w, w]}",
            "data.classes: must not repeat a class, got ['w', 'w']",
        ),
        (
            "data: {path: a, mass_min_gev: 300}",
            "data.mass_min_gev: must be below mass_max_gev (200.0), got 300",
        ),
        ("model: [3]", "model: must be a mapping (`key: value` lines), got [3]"),
        ("model: {n_neighbor: 3}", "model.n_neighbor: unknown key; did you mean n_neighbors?"),
        ("model: {N-Neighbors: 3}", "model.N-Neighbors: unknown key; did you mean n_neighbors?"),
        (
            "model: {learning_rate: 3}",
            "model.learning_rate: unknown key; did you mean training.learning_rate?",
        ),
        ("n_epochs: 3", "n_epochs: unknown key; did you mean training.n_epochs?"),
        ("modle: {}", "modle: unknown key; did you mean model?"),
        (
            "budget: {zz: 3}",
            "budget.zz: unknown key; legal here: n_trials, until, total_epochs, hours, core_hours,"
            " gpu_hours, cost, price_per_gpu_hour, price_per_core_hour, target, patience",
        ),
        ("model: {n_clusters: 1}", "model.n_clusters: must be >= 2, got 1"),
        ("model: {n_clusters: 65}", "model.n_clusters: must be <= 64, got 65"),
        ("model: {n_clusters: 3.0}", "model.n_clusters: must be a whole number, got 3.0: write 3"),
        ("model: {n_clusters: 2.5}", "model.n_clusters: must be a whole number, got 2.5"),
        ("model: {n_clusters: true}", "model.n_clusters: must be a whole number, got true"),
        ("model: {n_clusters:}", "model.n_clusters: must be a whole number, got null"),
        (
            "model: {n_clusters: '3'}",
            "model.n_clusters: must be a whole number, got '3': leave out the quotes",
        ),
        ("model: {first_widths: [8]}", "model.first_widths[1]: required, but not given"),
        (
            "model: {first_widths: [8, 8, 8]}",
            "model.first_widths: must hold at most 2 values, got [8, 8, 8]",
        ),
        ("model: {first_widths: [8, 0]}", "model.first_widths[1]: must be >= 1, got 0"),
        ("loss: {focal_weight: many}", "loss.focal_weight: must be a number, got 'many'"),
        ("loss: {focal_weight: .nan}", "loss.focal_weight: must be a finite number, got nan"),
        ("loss: {focal_weight: 1e999}", "loss.focal_weight: must be a finite number, got inf"),
        ("training: {learning_rate: 0}", "training.learning_rate: must be > 0, got 0"),
        ("training: {adam_beta_1: 1}", "training.adam_beta_1: must be < 1, got 1"),
        (
            "training: {n_epochs: 10}",
            "training.n_pretraining_epochs: must be below n_epochs (10), or no clustering epoch"
            " is left, got 21",
        ),
        (
            "training: {learning_rate: 1e-6}",
            "training.learning_rate_min: is a floor and must not exceed learning_rate (1e-06),"
            " got 1e-05",
        ),
        (
            "sampler: {published_first: yes}",
            "sampler.published_first: must be true or false, got 'yes'",
        ),
        (
            "sampler: {name: tp}",
            "sampler.name: must be one of auto, tpe, random, qmc, grid, nsga2, nsga3, got 'tp';"
            " did you mean tpe?",
        ),
        (
            "scheduler: {grace_period: 300}",
            "scheduler.grace_period: must not exceed training.n_epochs (200) when the scheduler is"
            " asha, got 300; set it to 200 or less, or leave it out",
        ),
        (
            "objective: {metric: total_loss}",
            "objective.direction: must be minimize for total_loss, got maximize",
        ),
        (
            "training: {n_jets: 100}",
            "training.n_jets: must be at least global_batch_size (512), got 100",
        ),
        (
            "objective: {others: [ari, ari]}",
            "objective.others: must repeat neither each other nor objective.metric,"
            " clustering_accuracy, got ['ari', 'ari']",
        ),
        (
            "objective: {metric: ari, others: [ari]}",
            "objective.others: must repeat neither each other nor objective.metric, ari, got"
            " ['ari']",
        ),
        (
            "objective: {others: [accuracy]}",
            "objective.others[0]: must be one of clustering_accuracy, clustering_accuracy_batched,"
            " purity, nmi, ari, focal_loss, clustering_loss, total_loss, silhouette, stability,"
            " seconds, got"
            " 'accuracy'",
        ),
        (
            "objective: {metric: silhouette, direction: minimize}",
            "objective.direction: must be maximize for silhouette, got minimize",
        ),
        (
            "objective: {direction: minimize}",
            "objective.direction: must be maximize for clustering_accuracy, got minimize",
        ),
        (
            "resources: {workers_per_trial: 1000}",
            "training.global_batch_size: must be at least resources.workers_per_trial (1000), one"
            " jet a worker and step, got 512",
        ),
        (
            "tracking: {experiment: 1e4}",
            "tracking.experiment: must be text, got 10000.0: put it in quotes",
        ),
        ("search_space: 3", "search_space: must be a mapping of ranges, got 3"),
    ],
)
def test_each_fault_names_path_rule_and_value(faults_of, text, fault):
    assert faults_of(text) == [fault]


def test_a_grace_period_counts_for_asha_only(load):
    text = "data: {path: jets}\nscheduler: {name: none, grace_period: 300}"
    assert load(text).scheduler.grace_period == 300


SHORT = "data: {path: jets}\ntraining: {n_epochs: 3, n_pretraining_epochs: 1}\n"


@pytest.mark.parametrize("scheduler", ["", "scheduler:", "scheduler: {reduction_factor: 2}"])
def test_a_grace_period_that_is_not_written_ends_after_pretraining(load, scheduler):
    study = load(SHORT + scheduler)
    assert study.scheduler.grace_period == 2
    longer = load(SHORT + scheduler, "training.n_epochs=9", "training.n_pretraining_epochs=4")
    assert longer.scheduler.grace_period == 5


def test_a_grace_period_that_is_not_written_fits_the_shortest_of_searched_trainings(load):
    epochs = "training.n_epochs: {type: categorical, choices: [20, 4, 6]}"
    pretraining = "data: {path: jets}\ntraining: {n_pretraining_epochs: 3}\n"
    assert load(pretraining + in_space([epochs])).scheduler.grace_period == 4


@pytest.mark.parametrize(
    "text",
    [SHORT + "scheduler: {grace_period: 5}", SHORT + "scheduler: {name: asha, grace_period: 5}"],
)
def test_a_written_grace_period_is_not_changed_for_a_short_training(faults_of, load, text):
    assert faults_of(text) == [
        "scheduler.grace_period: must not exceed training.n_epochs (3) when the scheduler is asha,"
        " got 5; set it to 3 or less, or leave it out"
    ]
    assert load(text, "scheduler.grace_period=3").scheduler.grace_period == 3


def test_faults_of_scheduler_and_epochs_are_told_where_no_grace_period_is_written(faults_of):
    mapping = "scheduler: must be a mapping (`key: value` lines), got 'asha'"
    assert faults_of(SHORT + "scheduler: asha") == [mapping]
    assert faults_of("training: {n_epochs: x}\nscheduler:") == [
        "training.n_epochs: must be a whole number, got 'x'"
    ]


def in_space(entries):
    return "search_space:\n" + "".join(f"  {entry}\n" for entry in entries)


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (
            "training.learning_rate: {type: float, low: 0.0, high: 1, log: true}",
            "training.learning_rate.low: must be > 0 when log is true, got 0.0",
        ),
        (
            "training.learning_rate: {type: float, low: 1, high: 0.1}",
            "training.learning_rate.low: must not be above high (0.1), got 1",
        ),
        (
            "loss.focal_weight: {type: float, low: 1, high: 2, log: true, step: 0.5}",
            "loss.focal_weight.step: excludes log: true, leave one of them out, got 0.5",
        ),
        (
            "loss.focal_weight: {type: float, low: 1, high: 2, step: 1e-300}",
            "loss.focal_weight.step: makes more than 1000000000 values, leave it out, got 1e-300",
        ),
        (
            "loss.focal_weight: {type: float, low: 1, high: .inf}",
            "loss.focal_weight.high: must be a finite number, got inf",
        ),
        (
            "loss.focal_weight: {type: float, low: 1}",
            "loss.focal_weight.high: required, but not given",
        ),
        (
            "loss.focal_weight: {type: float, lowest: 1, low: 1, high: 2}",
            "loss.focal_weight.lowest: unknown key; did you mean low?",
        ),
        (
            "loss.focal_weight: {type: flaot, low: 1, high: 2}",
            "loss.focal_weight.type: must be one of float, int, categorical, got 'flaot'; did you"
            " mean float?",
        ),
        (
            "loss.focal_weight: {low: 1, high: 2}",
            "loss.focal_weight.type: must be one of float, int, categorical, but it is not given",
        ),
        (
            "loss.focal_weight: [1, 2]",
            "loss.focal_weight: must be a range such as {type: float, low: 0.1, high: 10},"
            " got [1, 2]",
        ),
        (
            "loss.focal_wieght: {type: float, low: 1, high: 2}",
            "loss.focal_wieght: unknown value; did you mean loss.focal_weight?",
        ),
        (
            "n_neighbors: {type: int, low: 5, high: 20}",
            "n_neighbors: unknown value; did you mean model.n_neighbors?",
        ),
        (
            "loss.learning_rate: {type: float, low: 0.1, high: 1}",
            "loss.learning_rate: unknown value; did you mean training.learning_rate?",
        ),
        (
            "training.seed: {type: int, low: 1, high: 3}",
            "training.seed: cannot be searched: a better seed is luck, not a better model",
        ),
        (
            "model.first_widths: {type: categorical, choices: [1]}",
            "model.first_widths.choices[0]: model.first_widths must be a list, got 1",
        ),
        (
            "data.path: {type: categorical, choices: [a, b]}",
            "data.path: unknown value; legal here: model.n_clusters",
        ),
        (
            "model.n_neighbors: {type: float, low: 5, high: 20}",
            "model.n_neighbors.type: must be int, model.n_neighbors takes whole numbers only,"
            " got float",
        ),
        (
            "model.n_clusters: {type: int, low: 1, high: 5}",
            "model.n_clusters.low: model.n_clusters must be >= 2, got 1",
        ),
        (
            "model.n_clusters: {type: int, low: 3, high: 65}",
            "model.n_clusters.high: model.n_clusters must be <= 64, got 65",
        ),
        (
            "model.n_clusters: {type: categorical, choices: [3, four]}",
            "model.n_clusters.choices[1]: model.n_clusters must be a whole number, got 'four'",
        ),
        (
            "loss.focal_weight: {type: categorical, choices: [3, true]}",
            "loss.focal_weight.choices[1]: loss.focal_weight must be a number, got true",
        ),
        (
            "loss.focal_weight: {type: categorical, choices: [3, null]}",
            "loss.focal_weight.choices[1]: must be a finite number, text, true or false, got null",
        ),
        (
            "loss.focal_weight: {type: categorical, choices: [3, 3.0]}",
            "loss.focal_weight.choices: must not repeat, got [3, 3.0]",
        ),
        (
            "loss.focal_weight: {type: categorical, choices: []}",
            "loss.focal_weight.choices: must hold at least 1 values, got []",
        ),
        (
            "training.n_pretraining_epochs: {type: int, low: 5, high: 200}",
            "training.n_pretraining_epochs: must be below n_epochs (200), or no clustering epoch"
            " is left, got 200",
        ),
    ],
)
def test_each_fault_of_the_search_space_names_path_rule_and_value(faults_of, entry, fault):
    (found,) = faults_of(in_space([entry]))
    assert found.startswith(f"search_space.{fault}")


def test_nested_search_spaces_are_told_of_dotted_paths(faults_of):
    faults = faults_of("search_space: {model: {n_clusters: {type: int, low: 2, high: 5}}}")
    assert faults[0] == (
        "search_space.model: names a whole section; write the dotted path of one value, such as"
        " model.n_clusters"
    )


def test_constraints_are_checked_over_all_corners_of_the_space(faults_of, load):
    entries = [
        "training.n_pretraining_epochs: {type: int, low: 2, high: 9}",
        "training.n_epochs: {type: categorical, choices: [20, 9]}",
    ]
    assert faults_of(in_space(entries), "scheduler.grace_period=10") == [
        "search_space.training.n_pretraining_epochs: must be below n_epochs (9), or no clustering"
        " epoch is left, got 9",
        "scheduler.grace_period: must not exceed training.n_epochs (9) when the scheduler is asha,"
        " got 10; set it to 9 or less, or leave it out",
    ]
    entries[0] = entries[0].replace("9", "8")
    study = load("data: {path: jets}\n" + in_space(entries))
    assert study.training.n_pretraining_epochs == 8


def test_a_value_both_fixed_and_searched_is_refused(faults_of):
    text = "loss: {clustering_weight: 3}\ntraining: {n_epochs: 20}" + SPACE
    assert faults_of(text) == [
        "loss.clustering_weight: has a fixed value, 3, and is searched; leave one out"
        " (--set search_space.loss.clustering_weight=null ends the search of it)"
    ]


def test_a_searched_value_stands_in_its_section_as_the_published_one_fitted(load):
    study = load("data: {path: jets}\ntraining: {n_epochs: 20}" + SPACE)
    assert study.loss.clustering_weight == 5.0
    assert study.training.n_pretraining_epochs == 8
    assert published_point(study) == {
        "loss.clustering_weight": 5.0,
        "training.n_pretraining_epochs": 8,
    }


def test_all_faults_are_found_at_once(faults_of):
    faults = faults_of(
        "nmae: x\n"
        "data: {path: jets, mass_min_gev: 500}\n"
        "model: {n_neighbor: 3, n_clusters: 1}\n"
        "training: {learning_rate: -1, n_epochs: 5}\n"
        "search_space:\n"
        "  loss.focal_weight: {type: float, low: 2, high: 1, lgo: true}\n"
        "  loss.nothing: {type: int, low: x, high: 1}\n",
        "trainig.n_epochs=3",
        "n_epochs",
    )
    paths = [fault.split(":")[0] for fault in faults]
    assert paths == [
        "--set trainig.n_epochs=3",
        "--set n_epochs",
        "nmae",
        "model.n_clusters",
        "model.n_neighbor",
        "training.learning_rate",
        "search_space.loss.focal_weight.lgo",
        "search_space.loss.nothing",
        "search_space.loss.nothing.low",
        "data.mass_min_gev",
        "training.n_pretraining_epochs",
        "search_space.loss.focal_weight.low",
    ]


def test_a_rule_about_a_faulty_range_is_not_tried_with_the_default(faults_of):
    entry = "training.n_pretraining_epochs: {type: int, low: x, high: 3}"
    assert faults_of(in_space([entry]), "training.n_epochs=10") == [
        "search_space.training.n_pretraining_epochs.low: must be a whole number, got 'x'"
    ]


def test_a_rule_about_a_faulty_value_is_not_tried(faults_of):
    assert faults_of("training: {n_epochs: many}") == [
        "training.n_epochs: must be a whole number, got 'many'"
    ]


def test_configurations_are_read_back_as_they_were(load, tmp_path):
    study = load(
        "data: {path: jets, classes: [w, t]}\n"
        "name: '1e4'\n"
        "model: {first_widths: [8, 16]}\n"
        "training: {n_epochs: 30}\n"
        "tracking: {experiment: 'no: #1 ü', uri: 'sqlite:///x'}\n" + SPACE
    )
    (tmp_path / "again.yaml").write_text(dump_config(study))
    assert load_study_config(tmp_path / "again.yaml") == study


def test_a_trials_configuration_is_read_back_as_a_study_without_search(tmp_path):
    trial = TrialConfig(
        data=DataConfig(path="/jets"), training=TrainingConfig(n_epochs=30, learning_rate=1e-4)
    )
    (tmp_path / "best.yaml").write_text(dump_config(trial))
    study = load_study_config(tmp_path / "best.yaml")
    assert study.search_space == {}
    assert (
        TrialConfig(data=study.data, model=study.model, loss=study.loss, training=study.training)
        == trial
    )


def test_the_search_space_keeps_its_types_and_order(load):
    study = load("data: {path: jets}" + SPACE)
    assert study.search_space == {
        "loss.clustering_weight": FloatParameter(type="float", low=0.1, high=5, log=True),
        "training.n_pretraining_epochs": IntParameter(type="int", low=2, high=8, step=3),
    }
    assert list(study.search_space) == ["loss.clustering_weight", "training.n_pretraining_epochs"]


def test_a_budget_that_never_ends_is_refused(faults_of, load):
    (fault,) = faults_of("budget: {n_trials: null}")
    assert fault.startswith("budget.n_trials: must be a number where none of budget.until,")
    budget = load("data: {path: jets}\nbudget: {n_trials: null, until: 2026-12-24T18:00Z}").budget
    assert (budget.n_trials, budget.until) == (None, "2026-12-24T18:00Z")


@pytest.mark.parametrize("until", ["tomorrow", "2026-12-24T18:00", "2026-13-24T18:00Z"])
def test_a_budgets_time_must_say_which_time_zone_it_is_of(faults_of, until):
    (fault,) = faults_of(f"budget: {{until: '{until}'}}")
    assert fault.startswith("budget.until: must be a time with its offset from UTC")


def test_classes_by_other_names_are_told_once_each_with_the_near_one(faults_of):
    assert faults_of("data: {path: jets, classes: [W, Z, top]}") == [
        f"data.classes[{place}]: must be one of g, q, w, z, t, got {typed!r}; did you mean {near}?"
        for place, (typed, near) in enumerate([("W", "w"), ("Z", "z"), ("top", "t")])
    ]


def test_a_decimal_comma_and_a_missing_space_are_told_where_they_stand(faults_of):
    assert faults_of("training:\n  n_epochs:2") == [
        "training: must be a mapping (`key: value` lines), got 'n_epochs:2': write a space after"
        " the colon: `n_epochs: 2`"
    ]
    assert faults_of("training: {learning_rate: '0,001'}") == [
        "training.learning_rate: must be a number, got '0,001': write 0.001, with a point"
    ]
