import pytest

from ucluster_tune.config.overrides import apply_overrides

RANGE = {"type": "float", "low": 1.0, "high": 2.0}


def applied(mapping, *overrides):
    result, faults = apply_overrides(mapping, overrides)
    assert faults == []
    return result


def test_values_are_read_as_yaml():
    assert applied({}, "training.learning_rate=1e-4", "model.first_widths=[8, 16]") == {
        "training": {"learning_rate": 1e-4},
        "model": {"first_widths": [8, 16]},
    }


def test_the_last_of_two_overrides_wins():
    assert applied({}, "name=a", "name=b") == {"name": "b"}


def test_what_the_file_says_is_kept_and_the_mapping_is_not_changed():
    mapping = {"training": {"seed": 3, "n_epochs": 5}, "loss": None}
    assert applied(mapping, "training.n_epochs=9", "loss.focal_weight=2") == {
        "training": {"seed": 3, "n_epochs": 9},
        "loss": {"focal_weight": 2},
    }
    assert mapping == {"training": {"seed": 3, "n_epochs": 5}, "loss": None}


def test_a_range_can_be_changed_set_and_taken_away():
    mapping = {"search_space": {"loss.focal_weight": RANGE}}
    changed = applied(mapping, "search_space.loss.focal_weight.low=0.5")
    assert changed["search_space"]["loss.focal_weight"] == {**RANGE, "low": 0.5}
    assert mapping["search_space"]["loss.focal_weight"] == RANGE
    assert applied(mapping, "search_space.loss.focal_weight=null") == {"search_space": {}}
    put = applied({}, "search_space.model.n_clusters={type: int, low: 2, high: 5}")
    assert put["search_space"]["model.n_clusters"] == {"type": "int", "low": 2, "high": 5}


def test_a_value_may_hold_an_equals_sign():
    assert applied({}, "tracking.uri=http://host/?a=b") == {
        "tracking": {"uri": "http://host/?a=b"}
    }


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("foo", "--set foo: write path=value, such as training.n_epochs=50"),
        ("training.n_epoch=3", "unknown path 'training.n_epoch'; did you mean training.n_epochs?"),
        ("n_epochs=3", "did you mean training.n_epochs?"),
        ("=3", "unknown path ''; legal sections: "),
        ("zzz=3", "unknown path 'zzz'; legal sections: name, data, model"),
        ("model.first_widths.0=3", "did you mean model.first_widths?"),
        ("search_space.training.seed.low=3", "unknown path"),
        ("loss.focal_weight=[", "--set loss.focal_weight=[: line 1, column 2: not YAML"),
        ("loss.focal_weight=*x", "aliases (*x) are not read"),
    ],
)
def test_an_override_that_cannot_be_is_a_fault_and_changes_nothing(override, fault):
    result, faults = apply_overrides({}, [override])
    assert result == {}
    assert len(faults) == 1
    assert faults[0].startswith("--set ")
    assert fault in faults[0]
