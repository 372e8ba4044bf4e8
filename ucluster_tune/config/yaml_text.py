"""YAML text to plain Python values and back, without YAML's traps.

Scalars follow YAML 1.2: `1e-4` is a number, `010` is ten, `no` is text and not false, dates are
text. Refused with one clear line each: aliases (a few lines of them can stand for gigabytes), tags
(they can name Python objects), duplicate keys, keys that are no text, several documents in one
file. Knows nothing of what the values mean.
"""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ucluster_tune.errors import ConfigurationError

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20
MAX_VALUES = 10_000  # reading more would take seconds
_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9][0-9_]*\Z")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"
    r"|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
)
_NUMBER_STARTS = list("-+.0123456789")
_SPACES = "\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000\ufeff"
# Where YAML expects structure: before a key or a dash, and after them.
_FOREIGN_SPACE = re.compile(rf"^ *(?:- *)*(?:[\w.]+ *:)? *(?P<space>[{_SPACES}])")
GLUED = re.compile(r"(\s*[A-Za-z_][\w.]*):([^\s:/\\][^:]*)\Z")
"""A line `key:value`, without the space that makes it a key and its value."""
_MAX_DIGITS = 400  # more than any float; int() of thousands of digits is slow and then refused


class _Loader(yaml.SafeLoader):
    """Collects what is refused in `faults` and reads on."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own way)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.faults: list[str] = []
        self.depth = 0
        self.n_values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML
        where = _place(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            raise _RefusedError(
                f"{where}: aliases (*{_short(str(event.anchor))}) are not read, repeat the value"
            )
        if getattr(event, "tag", None) is not None:
            raise _RefusedError(
                f"{where}: the tag {_short(event.tag)!r} is not read, write a plain value"
            )
        if self.depth > MAX_DEPTH:
            raise _RefusedError(f"{where}: nested more than {MAX_DEPTH} levels deep")
        self.n_values += 1
        if self.n_values > MAX_VALUES:
            raise _RefusedError(f"holds more than {MAX_VALUES} values: is this the right file?")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            where = _place(key_node.start_mark)
            if key_node.tag != _TAG + "str":
                shown = key_node.value if key_node.id == "scalar" else f"a {key_node.id}"
                hint = ""
                if key_node.tag in (_TAG + "int", _TAG + "float") and not value_node.value:
                    hint = "; is the comma before it meant as a decimal point? write a point"
                self.faults.append(f"{where}: a key must be text, got {_short(shown)}{hint}")
                continue
            key = key_node.value
            if key in mapping:
                self.faults.append(f"{where}: the key {_short(key)!r} stands twice, leave one out")
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping

    def construct_number(self, node: yaml.ScalarNode) -> int | float | None:
        text = node.value.replace("_", "")
        try:
            if len(text) > _MAX_DIGITS:
                raise ValueError
            if node.tag == _TAG + "int":
                return int(text)
            return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        except ValueError:
            self.faults.append(f"{_place(node.start_mark)}: {_short(node.value)!r} is no number")
            return None

    def construct_truth(self, node: yaml.ScalarNode) -> bool:
        return bool(node.value.lower() == "true")


_Loader.yaml_constructors = dict(yaml.SafeLoader.yaml_constructors)
_Loader.add_constructor(_TAG + "int", _Loader.construct_number)
_Loader.add_constructor(_TAG + "float", _Loader.construct_number)
_Loader.add_constructor(_TAG + "bool", _Loader.construct_truth)
_Loader.add_implicit_resolver(
    _TAG + "null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]
)
_Loader.add_implicit_resolver(
    _TAG + "bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")
)
_Loader.add_implicit_resolver(_TAG + "int", _INT, _NUMBER_STARTS)
_Loader.add_implicit_resolver(_TAG + "float", _FLOAT, _NUMBER_STARTS)


class _RefusedError(Exception):
    """Ends the reading: what follows would be misread."""


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 readers would take for something other than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_implicit_resolver(_TAG + "float", _FLOAT, _NUMBER_STARTS)
_Dumper.add_implicit_resolver(_TAG + "int", _INT, _NUMBER_STARTS)
_Dumper.add_representer(
    list, lambda dumper, data: dumper.represent_sequence(_TAG + "seq", data, flow_style=True)
)


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # YAML counts these as line breaks, and folds them away unless they are written as escapes.
    style = '"' if re.search(f"[\x85\u2028\u2029{_SPACES}]", text) else None
    return dumper.represent_scalar(_TAG + "str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _foreign_space(text: str) -> str | None:
    """Return the first space that YAML takes for a letter, where a plain one is meant."""
    for number, line in enumerate(text.split("\n"), start=1):
        found = _FOREIGN_SPACE.search(line)
        if found is not None:
            column, code = found.start("space") + 1, ord(found["space"])
            return (
                f"line {number}, column {column}: a space that YAML takes for a letter"
                f" (U+{code:04X}, as word processors write it): replace it by a plain one"
            )
    return None


def _syntax_fault(error: yaml.YAMLError, text: str) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        return (
            f"line {line}, column {column}: not YAML: the character"
            f" U+{ord(text[error.position]):04X} cannot stand in a file: delete it"
        )
    glued = _glued(error, text)
    if glued is not None:
        return glued
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    mark = getattr(error, "problem_mark", None)
    if "\\t" in problem:
        problem += " (indent with spaces, not tabs)"
    if "expected a single document" in (getattr(error, "context", None) or ""):
        problem = "a second document starts here; one file holds one"
    return f"{_place(mark)}: not YAML: {problem}" if mark else f"not YAML: {problem}"


def _glued(error: yaml.YAMLError, text: str) -> str | None:
    """Return the line before a fault that lacks the space after its colon."""
    mark: Any = getattr(error, "problem_mark", None)
    if mark is None or "mapping values are not allowed" not in str(error):
        return None
    lines = text.split("\n")
    for number in range(mark.line, max(-1, mark.line - 3), -1):
        found = GLUED.match(lines[number])
        if found is not None:
            return (
                f"line {number + 1}, column {len(found[1]) + 1}: not YAML: no space after the"
                f" colon: write `{found[1].strip()}: {found[2]}`"
            )
    return None


def parse_yaml(text: str) -> tuple[Any, list[str]]:
    """Return the value that the text holds, and all faults found in the text itself.

    With a fault that makes the rest unreadable, the value is None.

    >>> parse_yaml("{rate: 1e-4, name: no}")
    ({'rate': 0.0001, 'name': 'no'}, [])
    """
    foreign = _foreign_space(text)
    if foreign is not None:
        return None, [foreign]
    loader = None
    try:
        loader = _Loader(text)
        value = loader.get_single_data()
    except _RefusedError as refused:
        return None, [*(loader.faults if loader else ()), str(refused)]
    except yaml.YAMLError as error:
        return None, [*(loader.faults if loader else ()), _syntax_fault(error, text)]
    finally:
        if loader is not None:
            loader.dispose()
    return value, loader.faults


def format_yaml(value: Any) -> str:
    """Return the YAML text that `parse_yaml` reads back as the value; lists stand on one line."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=99,
    )
    return text


def quoted(text: str) -> str:
    """Return a text on one line of YAML, in quotes where it would be read as something else.

    Not JSON's quotes, some of whose escapes YAML refuses.

    >>> quoted("jets"), quoted("2024"), parse_yaml(quoted("a: \\N{GRINNING FACE}"))[1]
    ('jets', '"2024"', [])
    """
    if parse_yaml(text) == (text, []):
        return text
    line: str = yaml.dump(text, default_style='"', width=math.inf)
    return line.rstrip("\n")


def read_yaml_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises ConfigurationError with all faults when there is no such file, it cannot be read, is
    larger than 1 MiB, is no UTF-8 text, no YAML, or holds something other than a mapping.
    """
    value, faults = parse_yaml(_read_text(Path(path)))
    if not faults and value is None:
        faults = ["the file is empty; write at least `data:` with the data set's `path:`"]
    elif not faults and not isinstance(value, dict):
        faults = [f"must hold a mapping (`key: value` lines), got a {_kind(value)}"]
    if faults:
        raise ConfigurationError(str(path), faults)
    mapping: dict[str, Any] = value
    return mapping


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "list"
    return "text" if isinstance(value, str) else "single value"


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigurationError(str(path), [_missing(path)]) from None
    except IsADirectoryError:
        raise ConfigurationError(str(path), [_folder(path)]) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(str(path), [f"cannot be read: {reason}"]) from None
    if len(content) > MAX_BYTES:
        raise ConfigurationError(str(path), ["is larger than 1 MiB: is this the right file?"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fault = f"is not UTF-8 text (byte {error.start}): save it as UTF-8"
        raise ConfigurationError(str(path), [fault]) from None


def _yaml_files(folder: Path) -> Sequence[str]:
    try:
        return sorted(p.name for p in folder.iterdir() if p.suffix in (".yaml", ".yml"))[:5]
    except OSError:
        return []


def _missing(path: Path) -> str:
    found = _yaml_files(path.parent)
    return "there is no such file" + (f"; there are {', '.join(found)}" if found else "")


def _folder(path: Path) -> str:
    found = _yaml_files(path)
    hint = f", such as {path / found[0]}" if found else ""
    return f"is a folder: name a YAML file{hint}"
