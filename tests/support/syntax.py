"""Our own files, and what they define: parsed once for all tests of a process."""

import ast
import gc
import os
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


#: Directories of others' files, and of files that another test makes and removes meanwhile.
_NOT_OURS = ("__pycache__", "build", "node_modules")


def our_files(directory: Path) -> list[Path]:
    """Return the files in Python below a directory, sorted; what vanishes meanwhile is left out."""
    found = []
    for place, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if name not in _NOT_OURS]
        found += [Path(place, name) for name in names if name.endswith(".py")]
    return sorted(found)


def parsed(text: str) -> ast.Module:
    """Return the tree of a text in Python, without a collection of garbage meanwhile.

    Python before 3.11.8 fails where a finalizer parses, too: "AST constructor recursion depth
    mismatch" (CPython issue 106905).
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        if enabled:
            gc.enable()


@cache
def definitions_of(path: Path) -> tuple[Definition, ...]:
    """Return all definitions of a file; expressions have none, so only statements are looked at."""
    module = parsed(path.read_text("utf-8"))
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
