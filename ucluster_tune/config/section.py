"""The base of all configuration sections, and conditions between their fields.

A section is frozen, refuses unknown keys and converts nothing: 3.0 is no whole number, "3" no
number. Lists become tuples, the one conversion that YAML needs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

RULE_ERROR = "broken_rule"
AnySection = TypeVar("AnySection", bound="Section")


@dataclass(frozen=True)
class Rule:
    """A condition between several values.

    Attributes:
        blames: the value that the message is about.
        needs: the values that `message` is called with, in this order.
        message: returns what is wrong, or None where the condition holds.
    """

    blames: str
    needs: tuple[str, ...]
    message: Callable[..., str | None]

    def under(self, prefix: str) -> "Rule":
        """Return the same rule with the section's path before each name."""
        return Rule(
            f"{prefix}.{self.blames}",
            tuple(f"{prefix}.{need}" for need in self.needs),
            self.message,
        )


def broken_rules(
    rules: Sequence[Rule], values: Mapping[str, object]
) -> Iterator[tuple[Rule, str]]:
    """Yield each broken rule with its message; a rule with an unknown value is skipped."""
    for rule in rules:
        if all(need in values for need in rule.needs):
            message = rule.message(*(values[need] for need in rule.needs))
            if message is not None:
                yield rule, message


class Section(BaseModel):
    """A frozen section that refuses unknown keys and values of a wrong type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _rules_hold(self: AnySection) -> AnySection:
        values: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        faults = [
            InitErrorDetails(
                type=PydanticCustomError(RULE_ERROR, "{message}", {"message": message}),
                loc=(rule.blames,),
                input=values[rule.blames],
            )
            for rule, message in broken_rules(self.rules, values)
        ]
        if faults:
            raise ValidationError.from_exception_data(type(self).__name__, faults)
        return self
