"""Faults in plain English: what pydantic found, with values as YAML shows them."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ucluster_tune.config.names import did_you_mean, nearest
from ucluster_tune.config.passwords import hide_passwords
from ucluster_tune.config.section import RULE_ERROR, Section
from ucluster_tune.config.yaml_text import GLUED

_MAX_SHOWN = 60

# pydantic's error types; {got} is the value, other names are pydantic's context.
_WORDING = {
    "missing": "required, but not given",
    "int_type": "must be a whole number, got {got}",
    "float_type": "must be a number, got {got}",
    "finite_number": "must be a finite number, got {got}",
    "bool_type": "must be true or false, got {got}",
    "string_type": "must be text, got {got}",
    "string_too_short": "must not be empty",
    "string_too_long": "must hold at most {max_length} characters, got {got}",
    "greater_than": "must be > {gt}, got {got}",
    "greater_than_equal": "must be >= {ge}, got {got}",
    "less_than": "must be < {lt}, got {got}",
    "less_than_equal": "must be <= {le}, got {got}",
    "tuple_type": "must be a list, got {got}",
    "too_short": "must hold at least {min_length} values, got {got}",
    "too_long": "must hold at most {max_length} values, got {got}",
    "model_type": "must be a mapping (`key: value` lines), got {got}",
    "dict_type": "must be a mapping (`key: value` lines), got {got}",
}


def show(value: object) -> str:
    """Return a value as YAML shows it, cut where it is long, without passwords of URIs.

    >>> show(None), show(True), show("a"), show(1e-5)
    ('null', 'true', "'a'", '1e-05')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        text = hide_passwords(repr(value))
    except ValueError:  # a whole number of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def _hint(kind: str, value: object) -> str:
    if kind in ("int_type", "float_type") and isinstance(value, str):
        return (
            f": write {value.replace(',', '.')}, with a point"
            if re.fullmatch(r"[-+]?\d*,\d+(e[-+]?\d+)?", value)
            else ": leave out the quotes"
            if re.fullmatch(r"\s*[-+.\d]+(e[-+]?\d+)?\s*", value)
            else ""
        )
    if kind in ("model_type", "dict_type") and isinstance(value, str):
        glued = GLUED.match(value)
        return f": write a space after the colon: `{glued[1]}: {glued[2]}`" if glued else ""
    if kind == "string_type" and isinstance(value, bool | int | float):
        return ": put it in quotes"
    if kind == "int_type" and isinstance(value, float) and value.is_integer():
        return f": write {int(value)}" if abs(value) < 1e15 else ""
    return ""


def _plain(bound: object) -> object:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _sentence(error: Mapping[str, Any]) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == RULE_ERROR:
        return str(context["message"])
    if kind == "literal_error":
        legal = re.findall(r"'([^']*)'", context["expected"])
        suggestion = nearest(value, legal) if isinstance(value, str) else None
        if suggestion is None and isinstance(value, str) and value[:1].lower() in legal:
            suggestion = value[0].lower()  # `t` for `top`
        ending = f"; did you mean {suggestion}?" if suggestion else ""
        return f"must be one of {', '.join(legal)}, got {show(value)}{ending}"
    if kind not in _WORDING:
        return f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {show(value)}"
    bounds = {name: _plain(bound) for name, bound in context.items()}
    return _WORDING[kind].format(got=show(value), **bounds) + _hint(kind, value)


def section_faults(
    section: type[Section],
    error: ValidationError,
    path: str,
    elsewhere: Mapping[str, str] | None = None,
) -> dict[str, list[str]]:
    """Return the faults of one section's own fields; the key is the field, "" for the whole.

    Broken rules are left out: who calls this checks the rules over the whole study.
    """
    faults: dict[str, list[str]] = {}
    seen = set()
    errors = error.errors()
    with_bad_items = {item["loc"][0] for item in errors if len(item["loc"]) > 1}
    for item in errors:
        if item["type"] == "too_short" and item["loc"][0] in with_bad_items:
            continue  # of the list that the bad ones were taken out of
        where = item["loc"][:2]  # deeper levels are the branches of a union
        if item["type"] == RULE_ERROR or where in seen:
            continue
        seen.add(where)
        field = str(where[0]) if where else ""
        full = f"{path}.{field}".strip(".")
        full += f"[{where[1]}]" if len(where) > 1 else ""
        if item["type"] == "extra_forbidden":
            sentence = f"unknown key; {did_you_mean(field, section.model_fields, elsewhere)}"
        elif len(item["loc"]) > 2:
            sentence = f"must be a finite number, text, true or false, got {show(item['input'])}"
        else:
            sentence = _sentence(dict(item))
        faults.setdefault(field, []).append(f"{full}: {sentence}")
    return faults
