"""Conditions on a row's values: `seed < 4 and (color == 'red' or steps in [20, 30])`.

Written as Python writes them, and read by Python's own parser; of its grammar only this is taken, and nothing is run:

    either     = both ("or" both)*
    both       = one ("and" one)*
    one        = "not" one | "(" either ")" | value (SIGN value)*
    SIGN       = "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not in"
    value      = NAME | number | 'text' | "text" | true | false | null | "[" [value ("," value)*] "]"

NAME is a parameter, a free column, or another name that rows have, such as `path`; nothing is looked up in it. Numbers
equal texts that write them, since a table's columns come as text. Null equals null alone, and is neither less nor more.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sdbatch.spec.problems import show

LONGEST = 2000
"""Characters."""
Values = Mapping[str, Any]
_EXAMPLE = "such as: seed < 4 and color == 'red'"
_ORDER: Mapping[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Lt: ("<", operator.lt), ast.LtE: ("<=", operator.le), ast.Gt: (">", operator.gt), ast.GtE: (">=", operator.ge),
}  # fmt: skip
_CONSTANTS = {"true": True, "false": False, "null": None}
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)
_WHOLE = re.compile(r"\s*[-+]?\d{1,40}\s*", re.ASCII)


@dataclass(frozen=True)
class Condition:
    """A condition as read.

    Attributes:
        names: what it reads of a row, each once.
    """

    text: str
    names: tuple[str, ...]
    _tree: ast.expr

    def __call__(self, values: Values) -> bool:
        """Whether it holds.

        Args:
            values: one for each of `names`.

        Raises:
            ValueError: values cannot be compared, or what is there is neither true nor false.
        """
        return _holds(self._tree, values)


@lru_cache(maxsize=64)
def parse(text: str) -> Condition:
    """Read a condition.

    Raises:
        ValueError: it is none.
    """
    if len(text) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} characters")
    names: dict[str, None] = {}
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        _check(tree, names)
    except SyntaxError as error:
        raise ValueError(f"is no condition: {error.msg}; {_EXAMPLE}") from None
    except (RecursionError, MemoryError):
        raise ValueError("has too many brackets within brackets") from None
    return Condition(text, tuple(names), tree)


def _check(node: ast.expr, names: dict[str, None]) -> None:
    """Refuse all that is not of the grammar; collect the names."""
    if isinstance(node, ast.BoolOp):
        parts = node.values
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        parts = [node.operand]
    elif isinstance(node, ast.Compare):
        if wrong := [sign for sign in node.ops if isinstance(sign, (ast.Is, ast.IsNot))]:
            raise ValueError(f"is no condition: use {'==' if isinstance(wrong[0], ast.Is) else '!='}; {_EXAMPLE}")
        parts = [node.left, *node.comparators]
    elif isinstance(node, ast.List):
        parts = node.elts
    elif (name := _name(node)) is not None:
        if name not in _CONSTANTS:
            names[name] = None
        return
    elif isinstance(_signed(node), (int, float, str)):
        return
    else:
        raise ValueError(f"is no condition: {show(ast.unparse(node))} is nothing that it may hold; {_EXAMPLE}")
    for part in parts:
        _check(part, names)


def _name(node: ast.expr) -> str | None:
    """`seed`, or `base.seed`: a stage's."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else None


def _signed(node: ast.expr) -> Any:
    """A constant, or a number with a sign; None for what is neither."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _signed(node.operand)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return (-value if isinstance(node.op, ast.USub) else value) if number else None
    return node.value if isinstance(node, ast.Constant) and not isinstance(node.value, (bytes, complex)) else None


def _holds(node: ast.expr, values: Values) -> bool:
    if isinstance(node, ast.BoolOp):
        together = all if isinstance(node.op, ast.And) else any
        return together(_holds(part, values) for part in node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _holds(node.operand, values)
    if isinstance(node, ast.Compare):
        terms = [_value(part, values) for part in (node.left, *node.comparators)]
        return all(_compared(*one) for one in zip(terms, node.ops, terms[1:], strict=False))
    value = _value(node, values)
    if not isinstance(value, bool):
        raise ValueError(f"{show(value)} is neither true nor false; compare it with something")
    return value


def _value(node: ast.expr, values: Values) -> Any:
    if isinstance(node, ast.List):
        return [_value(part, values) for part in node.elts]
    name = _name(node)
    if name is not None:
        return _CONSTANTS[name] if name in _CONSTANTS else values[name]
    if isinstance(node, (ast.BoolOp, ast.Compare)) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)):
        return _holds(node, values)
    return _signed(node)


def _compared(left: Any, sign: ast.cmpop, right: Any) -> bool:
    if isinstance(sign, (ast.Eq, ast.NotEq)):
        return _equal(left, right) == isinstance(sign, ast.Eq)
    if isinstance(sign, (ast.In, ast.NotIn)):
        if not isinstance(right, list):
            raise ValueError(f"{show(right)} is no list")
        return any(_equal(left, item) for item in right) == isinstance(sign, ast.In)
    if left is None or right is None:
        return False
    text, order = _ORDER[type(sign)]
    if isinstance(left, str) and isinstance(right, str):
        return order(left, right)
    one, other = _number(left), _number(right)
    if one is None or other is None:
        raise ValueError(f"{show(left)} {text} {show(right)}: these have no order")
    return order(one, other)


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, str) == isinstance(right, str):
        return bool(left == right and isinstance(left, bool) == isinstance(right, bool))
    one = _number(left)
    return one is not None and one == _number(right)


def _number(value: Any) -> int | float | None:
    """A number, or what a text writes; None where it is none."""
    if isinstance(value, str):
        if _WHOLE.fullmatch(value):
            return int(value)
        return float(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return None if math.isnan(value) else value
