"""`path=value` options over what a YAML file says. Knows nothing of the values' rules."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ucluster_tune.config.names import is_remote_name, nearest
from ucluster_tune.config.passwords import hide_passwords
from ucluster_tune.config.search_space import published_values
from ucluster_tune.config.section import Section
from ucluster_tune.config.study import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    StudyConfig,
)
from ucluster_tune.config.yaml_text import parse_yaml

RANGE_KEYS = sorted(
    {
        *FloatParameter.model_fields,
        *IntParameter.model_fields,
        *CategoricalParameter.model_fields,
    }
)


def sections() -> dict[str, type[Section]]:
    """Return the sections of a study by name; all but `name` and `search_space`."""
    return {
        name: field.annotation
        for name, field in StudyConfig.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def _legal_paths() -> dict[str, tuple[str, ...]]:
    """Return each path that can be set, with the keys that lead to it."""
    legal: dict[str, tuple[str, ...]] = {name: (name,) for name in StudyConfig.model_fields}
    for name, section in sections().items():
        legal.update({f"{name}.{key}": (name, key) for key in section.model_fields})
    for path in published_values():
        legal[f"derived.{path}"] = ("derived", path)
        full = f"search_space.{path}"
        legal[full] = ("search_space", path)
        legal.update({f"{full}.{key}": ("search_space", path, key) for key in RANGE_KEYS})
    return legal


def apply_overrides(
    mapping: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return the mapping with each `path=value` set, and a fault for each that cannot be.

    A value is read as YAML. `search_space.PATH=null` searches a value no more. A relative
    `data.path` is taken from the working directory.
    """
    result: dict[str, Any] = {
        key: dict(value) if isinstance(value, dict) else value for key, value in mapping.items()
    }
    faults, legal = [], _legal_paths()
    for typed in overrides:
        path, equals, text = (part.strip() for part in typed.partition("="))
        override = hide_passwords(typed)
        if not equals:
            faults.append(f"--set {override}: write path=value, such as training.n_epochs=50")
            continue
        if path not in legal:
            suggestion = nearest(path, legal) or nearest(
                path, {p.rpartition(".")[2]: 0 for p in legal}
            )
            ending = (
                f"did you mean {suggestion}?"
                if suggestion
                else f"legal sections: {', '.join(StudyConfig.model_fields)}"
            )
            faults.append(f"--set {override}: unknown path {path!r}; {ending}")
            continue
        value, text_faults = parse_yaml(text)
        faults += [f"--set {override}: {fault}" for fault in text_faults]
        if not text_faults:
            _put(result, legal[path], _from_here(value) if path == "data.path" else value)
    return result, faults


def _put(mapping: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    for key in keys[:-1]:
        inner = mapping.get(key)
        if inner is not None and not isinstance(inner, dict):
            return  # a fault of the file, found when the section is checked
        mapping[key] = dict(inner or {})
        mapping = mapping[key]
    if keys[0] in ("search_space", "derived") and len(keys) == 2 and value is None:
        mapping.pop(keys[-1], None)
    else:
        mapping[keys[-1]] = value


def _from_here(value: Any) -> Any:
    return absolute_path(value, Path.cwd()) if isinstance(value, str) else value


def absolute_path(path: str, folder: Path) -> str:
    """Return a data set's path made absolute; an address or a DOI stays as it is."""
    if not path or "://" in path or is_remote_name(path):
        return path
    return os.path.normpath(folder / os.path.expanduser(path))  # noqa: PTH111 (never raises)
