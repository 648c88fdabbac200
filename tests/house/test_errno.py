"""One errno table: `backends/fs/errors.py` says what an errno means, and no other file does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.syntax import our_files, parsed

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("api", "backends", "core", "workers")
TABLE = "backends/fs/errors.py"


def trees() -> Iterator[tuple[str, ast.AST]]:
    """Each of our files that names an errno, parsed."""
    for room in ROOMS:
        for path in our_files(ROOT / room):
            text = path.read_text("utf-8")
            if re.search(r"\berrno\.E[A-Z]+", text):
                yield str(path.relative_to(ROOT)), parsed(text)


def numbers_in(node: ast.AST) -> list[str]:
    """The names of the errnos that are keys of a dict or patterns of a match."""
    if isinstance(node, ast.Dict):
        return [name for key in node.keys if (name := errno_name(key))]
    if isinstance(node, ast.match_case):
        return [name for part in ast.walk(node.pattern) if (name := errno_name(part))]
    return []


def errno_name(node: ast.AST | None) -> str:
    if isinstance(node, ast.MatchValue):
        return errno_name(node.value)
    named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    return node.attr if named and node.value.id == "errno" else ""  # type: ignore[union-attr] # checked


def test_only_one_file_maps_errnos_to_errors() -> None:
    """Sets of errnos are fine: they choose what to do, not what to answer."""
    mapping = {path for path, tree in trees() if any(map(numbers_in, ast.walk(tree)))}
    assert mapping == {TABLE}


def test_an_errno_has_one_entry_in_the_table() -> None:
    tree = parsed((ROOT / TABLE).read_text("utf-8"))
    tables = [node for node in ast.walk(tree) if isinstance(node, ast.Dict) and numbers_in(node)]
    names = [name for table in tables for name in numbers_in(table)]
    grouped = [
        name
        for table in tables
        for value in table.values
        for part in ast.walk(value)
        if (name := errno_name(part))
    ]
    every = names + grouped
    assert every
    assert len(every) == len(set(every)), "an errno has two entries"
