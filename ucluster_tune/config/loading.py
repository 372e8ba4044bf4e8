"""From a YAML file to a study's configuration and back; all faults are found at once."""

import os
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import ucluster_tune
from ucluster_tune.config.automatic import grid_fault, scheduler_faults
from ucluster_tune.config.constraints import constraint_faults, constraint_text_faults
from ucluster_tune.config.names import did_you_mean, nearest
from ucluster_tune.config.overrides import RANGE_KEYS, absolute_path, apply_overrides, sections
from ucluster_tune.config.points import (
    dependency_faults,
    drawn_point_faults,
    is_own_name,
    names_in,
)
from ucluster_tune.config.search_space import (
    as_field,
    as_hyperparameter,
    corners,
    fit,
    outside_fault,
    prior_fault,
    published_values,
    range_faults,
    unknown_path_fault,
)
from ucluster_tune.config.section import Rule, Section
from ucluster_tune.config.study import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    PriorConfig,
    StudyConfig,
)
from ucluster_tune.config.study_rules import STUDY_RULES
from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.config.wording import section_faults, show
from ucluster_tune.config.yaml_text import format_yaml, read_yaml_mapping
from ucluster_tune.errors import ConfigurationError

_RANGES: dict[str, type[FloatParameter | IntParameter | CategoricalParameter]] = {
    "float": FloatParameter,
    "int": IntParameter,
    "categorical": CategoricalParameter,
}


def load_study_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> StudyConfig:
    """Return the study that a YAML file describes, with `path=value` overrides.

    A relative `data.path` is taken from the file's folder, a missing name is the file's. A
    searched value has no fixed one beside it: its section holds the published value, fitted into
    the range.

    Raises ConfigurationError with all faults of the file and the overrides.
    """
    file = Path(path)
    raw, faults = apply_overrides(_with_absolute_data(read_yaml_mapping(file), file), overrides)
    if raw.get("name") is None:
        raw["name"] = file.stem
    return _checked(str(path), raw, faults)


def change_config(config: StudyConfig, overrides: Sequence[str]) -> StudyConfig:
    """Return the configuration with `path=value` overrides.

    A value that is searched from here on has no fixed one any more.

    Raises ConfigurationError with all faults of the overrides, alone and with what they meet.
    """
    before = _as_raw(config)
    raw, faults = apply_overrides(before, overrides)
    for path in raw["search_space"] or {}:
        name, _, key = path.partition(".")
        if raw.get(name, {}).get(key) == before.get(name, {}).get(key):
            raw.get(name, {}).pop(key, None)
    return _checked("--set", raw, faults)


def _checked(source: str, raw: Mapping[str, Any], faults: Sequence[str]) -> StudyConfig:
    check = _Check(raw)
    check.run()
    if faults or check.faults:
        raise ConfigurationError(source, [*faults, *check.faults])
    study = StudyConfig.model_validate(check.cleaned)
    unfit = grid_fault(study)
    if found := [
        *([unfit] if unfit else []),
        *scheduler_faults(study),
        *constraint_faults(study),
        *drawn_point_faults(study),
    ]:
        raise ConfigurationError(source, found)
    return study


def dump_config(config: StudyConfig | TrialConfig) -> str:
    """Return YAML text that `load_study_config` reads back as an equal configuration."""
    return format_yaml(_as_raw(config))


def _as_raw(config: StudyConfig | TrialConfig) -> dict[str, Any]:
    values = config.model_dump(mode="json")
    for path in (*getattr(config, "search_space", ()), *getattr(config, "derived", ())):
        name, _, key = path.partition(".")
        values.get(name, {}).pop(key, None)  # a searched value has no fixed one beside it
    return values


def _with_absolute_data(raw: dict[str, Any], file: Path) -> dict[str, Any]:
    data = raw.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("path"), str):
        return raw
    folder = Path(os.path.abspath(file)).parent  # noqa: PTH100 (resolve() would follow links)
    return {**raw, "data": {**data, "path": absolute_path(data["path"], folder)}}


class _Check:
    """Checks a raw mapping part by part and gathers what is wrong.

    `possible` holds, for each path whose own value is sound, all extreme values that it can take;
    rules between values are tried on every combination.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.faults: list[str] = []
        self.possible: dict[str, tuple[Any, ...]] = {}
        self.ranges: dict[str, Parameter] = {}
        self.derived: dict[str, str] = {}
        self.rules: list[Rule] = list(STUDY_RULES)
        self.cleaned: dict[str, Any] = {}
        self.elsewhere = {
            key: f"{name}.{key}"
            for name, section in sections().items()
            for key in section.model_fields
        }

    def run(self) -> None:
        """Fill `faults`; without any, `cleaned` makes a StudyConfig."""
        self._unknown_sections()
        self._name()
        for name, section in sections().items():
            self._section(name, section)
        self._derived()
        self._search_space()
        self._dependencies()
        self._try_first()
        self._constraints()
        self._grace_period()
        for rule in self.rules:
            self._rule(rule)

    def _unknown_sections(self) -> None:
        for key in self.raw:
            if key not in StudyConfig.model_fields:
                ending = did_you_mean(key, StudyConfig.model_fields, self.elsewhere)
                self.faults.append(f"{key}: unknown key; {ending}")

    def _name(self) -> None:
        name = self.raw["name"]
        faults: list[str] = []
        try:
            StudyConfig.model_validate({"name": name})
        except ValidationError as error:  # for want of `data`, if for nothing else
            faults = section_faults(StudyConfig, error, "").get("name", [])
        if faults:
            self.faults += faults
            return
        self.possible["name"] = (name,)
        self.cleaned["name"] = name

    def _section(self, name: str, section: type[Section]) -> None:
        raw: Any = self.raw.get(name)
        raw = {} if raw is None else raw  # `loss:` with nothing below it
        faults: dict[str, list[str]] = {}
        try:
            section.model_validate(raw)
        except ValidationError as error:
            faults = section_faults(section, error, name, self.elsewhere)
        self.faults += [fault for found in faults.values() for fault in found]
        if not isinstance(raw, dict):
            return
        self.cleaned[name] = dict(raw)
        for key, field in section.model_fields.items():
            if key not in faults:
                self.possible[f"{name}.{key}"] = (raw.get(key, field.default),)

    def _search_space(self) -> None:
        raw = self.raw.get("search_space")
        if raw is not None and not isinstance(raw, dict):
            self.faults.append(f"search_space: must be a mapping of ranges, got {show(raw)}")
            return
        self.cleaned["search_space"] = dict(raw or {})
        used = names_in(self.derived)
        for path, entry in (raw or {}).items():
            is_own = path in used and is_own_name(path)
            unknown = None if is_own else unknown_path_fault(path)
            if unknown is not None:
                self.faults.append(f"search_space.{path}: {unknown}")
            parameter = self._range(f"search_space.{path}", entry)
            if is_own and parameter is not None:
                self.ranges[path] = parameter
                self.faults += self._prior_outside(path, parameter)
            elif unknown is None and not is_own:
                self._searched(path, parameter)

    def _derived(self) -> None:
        raw = self.raw.get("derived")
        if raw is None:
            return
        if not isinstance(raw, dict):
            self.faults.append(f"derived: must be a mapping of formulas, got {show(raw)}")
            return
        self.cleaned["derived"] = dict(raw)
        for path, text in raw.items():
            if not isinstance(text, str):
                self.faults.append(f"derived.{path}: must be a formula, got {show(text)}")
                continue
            self.derived[str(path)] = text
            self._refuse_fixed(str(path), "is derived", f" (--set derived.{path}=null ends that)")
            self.possible.pop(path, None)

    def _dependencies(self) -> None:
        """Gather the faults of conditions and formulas; without any, points can be made."""
        self.faults += dependency_faults(self.ranges, self.derived)

    def _constraints(self) -> None:
        raw = self.raw.get("constraints")
        if raw is not None:
            self.faults += constraint_text_faults(raw, self.ranges)
            self.cleaned["constraints"] = raw

    def _try_first(self) -> None:
        for place, point in enumerate(self.cleaned.get("sampler", {}).get("try_first") or ()):
            for path, value in point.items() if isinstance(point, dict) else ():
                where = f"sampler.try_first[{place}].{path}"
                if path not in self.ranges:
                    self.faults.append(f"{where}: is not searched; leave it out")
                    continue
                fault = outside_fault(as_hyperparameter(value), self.ranges[path])
                self.faults += [f"{where}: {fault}"] if fault else []

    def _range(self, where: str, raw: Any) -> Parameter | None:
        """Return the checked range of a search-space entry, None when it has a fault."""
        if not isinstance(raw, dict):
            example = "{type: float, low: 0.1, high: 10}"
            self.faults.append(f"{where}: must be a range such as {example}, got {show(raw)}")
            return None
        kind = raw.get("type")
        if not isinstance(kind, str) or kind not in _RANGES:
            suggestion = nearest(kind, _RANGES) if isinstance(kind, str) else None
            ending = f"; did you mean {suggestion}?" if suggestion else ""
            given = f", got {show(kind)}" if "type" in raw else ", but it is not given"
            self.faults.append(f"{where}.type: must be one of {', '.join(_RANGES)}{given}{ending}")
            self.faults += [
                f"{where}.{key}: unknown key; {did_you_mean(key, RANGE_KEYS)}"
                for key in raw
                if key not in RANGE_KEYS
            ]
            return None
        section = _RANGES[kind]
        faults = self._prior_faults(f"{where}.prior", raw.get("prior"))
        parameter = None
        try:
            parameter = section.model_validate({**raw, "prior": None} if faults else raw)
        except ValidationError as error:
            faults |= section_faults(section, error, where)
        self.faults += [fault for found in faults.values() for fault in found]
        self.rules += [rule.under(where) for rule in section.rules]
        for key, field in section.model_fields.items():
            if key not in faults:
                self.possible[f"{where}.{key}"] = (raw.get(key, field.default),)
        return parameter

    @staticmethod
    def _prior_faults(where: str, raw: Any) -> dict[str, list[str]]:
        try:
            if raw is not None:
                PriorConfig.model_validate(raw)
        except ValidationError as error:
            found = section_faults(PriorConfig, error, where)
            return {"prior": [fault for faults in found.values() for fault in faults]}
        return {}

    def _searched(self, path: str, parameter: Parameter | None) -> None:
        """Put a searched range in the place of its field's fixed value."""
        self._refuse_fixed(
            path, "is searched", f" (--set search_space.{path}=null ends the search of it)"
        )
        self.possible.pop(path, None)
        if parameter is None:
            return
        faults = range_faults(path, parameter)
        self.faults += faults or self._prior_outside(path, parameter)
        if not faults:
            self.ranges[path] = parameter
            name, _, key = path.partition(".")
            published = published_values()[path]
            outside = () if parameter.when is None else (published,)
            self.possible[path] = (*corners(parameter), *outside)
            value = published if parameter.when else fit(published, parameter)
            self.cleaned.get(name, {})[key] = as_field(path, value)

    @staticmethod
    def _prior_outside(path: str, parameter: Parameter) -> list[str]:
        fault = prior_fault(path, parameter)
        return [] if fault is None else [fault]

    def _refuse_fixed(self, path: str, other: str, hint: str = "") -> None:
        name, _, key = path.partition(".")
        fixed = self.raw.get(name)
        if isinstance(fixed, dict) and key in fixed:
            self.faults.append(
                f"{path}: has a fixed value, {show(fixed[key])}, and {other}; leave one out{hint}"
            )

    def _grace_period(self) -> None:
        """Fill in a grace period that nobody wrote: the longest pretraining and an epoch more.

        All epochs where a trial may have fewer.
        """
        section = self.cleaned.get("scheduler")
        n_epochs = self.possible.get("training.n_epochs")
        pretraining = self.possible.get("training.n_pretraining_epochs")
        if section is None or not n_epochs or not pretraining or "grace_period" in section:
            return
        section["grace_period"] = min(*n_epochs, max(pretraining) + 1)
        self.possible["scheduler.grace_period"] = (section["grace_period"],)

    def _rule(self, rule: Rule) -> None:
        if not all(need in self.possible for need in rule.needs):
            return
        for values in product(*(self.possible[need] for need in rule.needs)):
            message = rule.message(*values)
            if message is not None:
                where = (
                    f"search_space.{rule.blames}" if rule.blames in self.ranges else rule.blames
                )
                self.faults.append(f"{where}: {message}")
                return


def shipped_search_spaces() -> dict[str, Path]:
    """Return the search spaces that ship, by name, such as `quickstart`; none where they are not.

    They lie beside the package in a checkout, beside its environment in an image.
    """
    folders = (Path(ucluster_tune.__file__).parents[1], Path(sys.prefix).parent)
    found: dict[str, Path] = {}
    for folder in folders:
        for file in sorted((folder / "search_spaces").glob("*.yaml")):
            found.setdefault(file.stem, file)
    return found
