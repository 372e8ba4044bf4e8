import math
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ucluster_tune.config.yaml_text import (
    MAX_DEPTH,
    MAX_VALUES,
    format_yaml,
    parse_yaml,
    quoted,
    read_yaml_mapping,
)
from ucluster_tune.errors import ConfigurationError


def value_of(text):
    value, faults = parse_yaml(text)
    assert faults == []
    return value


def only_fault_of(text):
    _, faults = parse_yaml(text)
    assert len(faults) == 1, faults
    return faults[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("1.0e-4", 1e-4),
        ("-.5", -0.5),
        ("+3", 3),
        ("3.", 3.0),
        ("010", 10),
        ("500_000", 500_000),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
    ],
)
def test_numbers_and_truth_values_are_read_as_meant(text, value):
    read = value_of(f"key: {text}")["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text", ["no", "on", "y", "2026-01-01", "1:30", "0x1f", "1.2.3", "e5", "="]
)
def test_text_stays_text(text):
    assert value_of(f"key: {text}") == {"key": text}


def test_a_merge_key_is_an_ordinary_key():
    assert value_of("<<: {a: 1}") == {"<<": {"a": 1}}


def test_every_duplicate_key_is_named_with_its_line():
    _, faults = parse_yaml("a: 1\nb: {c: 1, c: 2}\na: 3\n")
    assert faults == [
        "line 2, column 11: the key 'c' stands twice, leave one out",
        "line 3, column 1: the key 'a' stands twice, leave one out",
    ]


@pytest.mark.parametrize("key", ["1", "true", "1.5", "~"])
def test_keys_that_are_no_text_are_refused(key):
    assert only_fault_of(f"{key}: 1") == f"line 1, column 1: a key must be text, got {key}"


def test_lists_as_keys_are_refused():
    assert "a key must be text, got a sequence" in only_fault_of("[a]: 1")


def test_aliases_are_refused():
    assert "aliases (*x) are not read" in only_fault_of("a: &x [1]\nb: *x\n")


def test_a_billion_laughs_ends_at_once():
    lines = ["a0: &a0 [lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    start = time.monotonic()
    assert "aliases" in only_fault_of("\n".join(lines))
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    "tagged",
    ["!!python/object/apply:os.system [ls]", "!mine 3", "!!int '3'", "!!binary aGk=", "! x"],
)
def test_tags_are_refused(tagged):
    assert "the tag" in only_fault_of(f"a: {tagged}")


def test_deep_nesting_is_refused():
    assert f"more than {MAX_DEPTH} levels" in only_fault_of("a: " + "[" * 100_000)
    assert value_of("a: " + "[" * 10 + "]" * 10)


def test_very_many_values_are_refused():
    assert f"more than {MAX_VALUES} values" in only_fault_of("a: [" + "1," * MAX_VALUES + "]")


def test_a_number_of_thousands_of_digits_is_refused():
    assert "is no number" in only_fault_of("a: " + "9" * 5000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "line 1, column 5: not YAML"),
        ("a:\n\tb: 1", "indent with spaces, not tabs"),
        ("a: 'x", "not YAML"),
        ("a: b: c", "mapping values are not allowed here"),
        ("a: 1\n---\nb: 2", "line 2, column 1: not YAML: a second document starts here"),
        ("a: \x07", "line 1, column 4: not YAML: the character U+0007 cannot stand in a file"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_place(text, words):
    assert words in only_fault_of(text)


@pytest.mark.parametrize(
    "text", ["1e-4", "010", "no", "null", "true", "3", "1_0", "", " a", "a: b", "#"]
)
def test_dumped_text_is_read_back_as_text_by_us_and_by_other_readers(text):
    dumped = format_yaml({"key": text})
    assert value_of(dumped) == {"key": text}
    assert yaml.safe_load(dumped) == {"key": text}


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_whatever_is_dumped_is_read_back(value):
    assert parse_yaml(format_yaml({"key": value})) == ({"key": value}, [])


def refusal_of(path):
    with pytest.raises(ConfigurationError) as caught:
        read_yaml_mapping(path)
    assert caught.value.source == str(path)
    (fault,) = caught.value.faults
    return fault


def test_a_missing_file_names_its_neighbors(tmp_path):
    (tmp_path / "jets.yaml").write_text("a: 1")
    assert refusal_of(tmp_path / "jet.yaml") == "there is no such file; there are jets.yaml"
    assert refusal_of(tmp_path / "none" / "jet.yaml") == "there is no such file"


def test_a_folder_names_a_file_in_it(tmp_path):
    assert refusal_of(tmp_path) == "is a folder: name a YAML file"
    (tmp_path / "jets.yaml").write_text("a: 1")
    assert refusal_of(tmp_path).endswith("jets.yaml")


def test_a_file_below_a_file_is_refused(tmp_path):
    (tmp_path / "jets.yaml").write_text("a: 1")
    assert refusal_of(tmp_path / "jets.yaml" / "x") == "cannot be read: Not a directory"


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    # The tests may run as root, who may read everything.
    monkeypatch.setattr("pathlib.Path.open", refuse)
    assert refusal_of(tmp_path / "jets.yaml") == "cannot be read: Permission denied"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"# only a comment\n", "the file is empty"),
        (b"- a\n- b\n", "must hold a mapping (`key: value` lines), got a list"),
        (b"just text", "got a text"),
        (b"3", "got a single value"),
        (b"a: \xff\n", "is not UTF-8 text (byte 3)"),
        ("a: 1".encode("utf-16"), "is not UTF-8 text (byte 0)"),
        (b"a: 1\n" + b"#" * 1024 * 1024, "is larger than 1 MiB"),
    ],
)
def test_what_holds_no_mapping_is_refused(tmp_path, content, words):
    (tmp_path / "jets.yaml").write_bytes(content)
    assert words in refusal_of(tmp_path / "jets.yaml")


def test_a_byte_order_mark_is_no_fault(tmp_path):
    (tmp_path / "jets.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert read_yaml_mapping(tmp_path / "jets.yaml") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: x\x01y\n", "line 2, column 5: not YAML: the character U+0001 cannot stand in"),
        (
            "training:\n  n_epochs:2\n  seed: 3\n",
            "line 2, column 11: not YAML: no space after the colon: write `n_epochs: 2`",
        ),
        (
            "training:\n\xa0 n_epochs: 2\n",
            "line 2, column 1: a space that YAML takes for a letter",
        ),
        ("training:\n  n_epochs:\u2003 2\n", "line 2, column 12: a space that YAML takes"),
        ("{low: 0,001, high: 1}\n", "is the comma before it meant as a decimal point?"),
    ],
)
def test_what_a_keyboard_or_word_processor_did_is_told_where_it_stands(text, told):
    value, faults = parse_yaml(text)
    assert value is None or faults
    assert told in faults[0]


@pytest.mark.parametrize(
    "text",
    ["jets", "2024", "no: x #y", "/data/\N{GRINNING FACE} \U00020bb7", "a\xa0b", "\x7f", "", "~"],
)
def test_a_quoted_text_is_read_as_it_was(text):
    assert parse_yaml(quoted(text)) == (text, [])
    assert "\n" not in quoted(text)
