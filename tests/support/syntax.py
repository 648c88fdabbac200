"""What our own files define, parsed once for all tests of a process."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")


class Definition(NamedTuple):
    """A class, a function or a method."""

    name: str
    line: int
    lines: int
    is_class: bool
    #: Whether it stands alone in its module, not in a class or a function.
    is_top: bool
    #: Of a function: those given by their place, without `self` and `cls`.
    positional: int


@cache
def definitions_of(path: Path) -> tuple[Definition, ...]:
    """Return all definitions of a file; expressions have none, so only statements are looked at."""
    module = ast.parse(path.read_text("utf-8"))
    top = {id(node) for node in module.body}
    found = []
    for node in _statements(module):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            is_class = isinstance(node, ast.ClassDef)
            lines = (node.end_lineno or 0) - node.lineno + 1
            positional = 0 if isinstance(node, ast.ClassDef) else _positional(node)
            is_top = id(node) in top
            found.append(Definition(node.name, node.lineno, lines, is_class, is_top, positional))
    return tuple(found)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    for block in _BLOCKS:
        inner = getattr(node, block, ())
        if isinstance(inner, list):  # an expression with `if` has one node there
            for one in inner:
                yield one
                yield from _statements(one)


def _positional(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = [*function.args.posonlyargs, *function.args.args]
    return sum(argument.arg not in ("self", "cls") for argument in arguments)
