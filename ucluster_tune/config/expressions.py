"""Formulas of hyperparameters as a search-space file has them; parsed, never run as Python."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from ucluster_tune.config.names import did_you_mean

_MAX_LENGTH: Final = 1000
_OPERATIONS: Final[dict[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: lambda left, right: left * right if _are_numbers(left, right) else None,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda base, power: float(base) ** float(power),  # 9**9**9 overflows at once
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.And: lambda *values: all(values),
    ast.Or: lambda *values: any(values),
}
_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "min": min,
    "max": max,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
}
_OF_SEVERAL: Final = ("min", "max")
_KNOWN: Final = ", ".join(
    f"{name}(a, b)" if name in _OF_SEVERAL else f"{name}(a)" for name in _FUNCTIONS
)


def _are_numbers(*values: object) -> bool:  # a text times a number fills the memory
    return all(isinstance(value, int | float) for value in values)


class Formula:
    """Arithmetic on values by dotted path.

    Args:
        text: numbers, paths, `+ - * / // % **`, `min`, `max`, `sqrt`, `exp`, `log`, `round`,
            `floor`, `ceil`.

    Raises:
        ValueError: it is not that; the message says what is wrong, without the text.

    >>> Formula("training.learning_rate * sqrt(4)").value({"training.learning_rate": 0.5})
    1.0
    """

    kind, example = "formula", "1e-3 * sqrt(n_workers)"

    def __init__(self, text: str) -> None:
        if len(text) > _MAX_LENGTH:
            raise ValueError(f"is longer than {_MAX_LENGTH} characters")
        try:
            self._root = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"is no {self.kind} such as {self.example}") from error
        self.text = text
        self.paths = frozenset(_paths(self._root))

    def value(self, values: Mapping[str, Any]) -> Any:
        """Return what it comes to; None where it cannot be computed, as in a division by zero.

        Args:
            values: of all its paths at least.
        """
        try:
            return _value(self._root, values)
        except (ArithmeticError, TypeError, ValueError):
            return None

    def unknown_path_fault(self, known: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the first path that is not known, or None."""
        unknown = sorted(self.paths - known.keys())
        return (
            f"unknown value {unknown[0]}; {did_you_mean(unknown[0], known)}" if unknown else None
        )


class Condition(Formula):
    """Comparisons of formulas, joined by `and`, `or`, `not`; arguments and errors as of those.

    >>> condition = Condition("model.n_neighbors * 2 < max(loss.focal_weight, 7)")
    >>> condition.holds({"model.n_neighbors": 3, "loss.focal_weight": 1.0})
    True
    """

    kind, example = "condition", "model.n_neighbors * training.global_batch_size <= 8192"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        if not isinstance(self._root, ast.Compare | ast.BoolOp | ast.UnaryOp):
            raise ValueError(f"compares nothing; write a condition such as {self.example}")

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Return whether it does; not where it cannot be computed."""
        return bool(self.value(values))


def _dotted(node: ast.AST) -> str | None:
    """Return the dotted path that a node spells, None for another one."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        section = _dotted(node.value)
        return None if section is None else f"{section}.{node.attr}"
    return None


def _parts(node: ast.AST) -> tuple[list[type[ast.AST]], list[ast.expr]]:
    """Return the operations of a node and what they take."""
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            return [type(op)], [left, right]
        case ast.UnaryOp(op=op, operand=operand):
            return [type(op)], [operand]
        case ast.BoolOp(op=op, values=values):
            return [type(op)], values
        case ast.Compare(left=left, ops=ops, comparators=others):
            return [type(op) for op in ops], [left, *others]
    raise ValueError(f"holds {ast.unparse(node)}, which is no arithmetic and no comparison")


def _paths(node: ast.AST) -> set[str]:
    """Return the paths in a node; raise ValueError where it holds what is not understood."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
        return set()
    path = _dotted(node)
    if path is not None:
        return {path}
    if isinstance(node, ast.Call):
        name, n_arguments = _dotted(node.func), len(node.args)
        fits = n_arguments > 1 if name in _OF_SEVERAL else n_arguments == 1
        if name not in _FUNCTIONS or node.keywords or not fits:
            raise ValueError(f"holds {ast.unparse(node)}; known are {_KNOWN}")
        return set().union(*map(_paths, node.args))
    operations, operands = _parts(node)
    if any(operation not in _OPERATIONS for operation in operations):
        raise ValueError(f"holds {ast.unparse(node)}, with an operation that is not known")
    return set().union(*map(_paths, operands))


def _value(node: ast.AST, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    path = _dotted(node)
    if path is not None:
        return values[path]
    if isinstance(node, ast.Call):
        return _FUNCTIONS[_dotted(node.func) or ""](*(_value(each, values) for each in node.args))
    operations, operands = _parts(node)
    computed = [_value(operand, values) for operand in operands]
    if isinstance(node, ast.Compare):
        pairs = zip(operations, computed, computed[1:], strict=False)
        return all(_OPERATIONS[operation](left, right) for operation, left, right in pairs)
    return _OPERATIONS[operations[0]](*computed)
