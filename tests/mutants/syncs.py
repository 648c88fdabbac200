"""Every call that brings something to disk, removed: found in the source, not listed by hand."""

import ast
from collections.abc import Iterator

from tests.mutants.mutation import ROOT, Mutation, source_of
from tests.support.syntax import parsed

ROOMS = ("api", "backends", "core", "deploy", "workers")
#: Calls by the last part of their name. `sync_file_range` only begins to write.
CALLS = {"fsync", "fdatasync", "syncfs", "sync", "sync_file_system", "sync_directory"}
#: Arguments that ask a function for a sync.
KEYWORDS = {"sync", "synced"}
#: The tests nearest to a file, by the beginning of its path; the first that fits counts.
NEAREST: dict[str, tuple[str, ...]] = {
    "backends/fs/atomic.py": ("test_notes.py",),
    "backends/fs/descriptors.py": ("test_notes.py", "test_trash.py"),
    "backends/mounted/": ("test_notes.py",),
    "backends/quota/": ("test_notes.py",),
    "backends/retention/snapshots.py": ("test_notes.py",),
    "backends/retention/": ("test_trash.py",),
    "backends/tree/": ("test_tree.py", "test_copies.py"),
    "backends/uploads/directories.py": ("test_uploads.py", "test_copies.py"),
    "backends/uploads/": ("test_uploads.py",),
    "backends/": ("test_copies.py",),
    "deploy/": ("test_notes.py",),
    "workers/run/": ("test_copies.py", "test_trash.py"),
    "workers/verbs/delete.py": ("test_trash.py",),
    "workers/verbs/trash.py": ("test_trash.py",),
    "workers/": ("test_copies.py",),
    "": ("test_notes.py", "test_trash.py", "test_copies.py", "test_uploads.py"),
}


def mutations() -> Iterator[Mutation]:
    """Yield one mutation for each sync of the source."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "node_modules" not in path.parts:
                yield from _in_file(str(path.relative_to(ROOT)))


def _in_file(file: str) -> Iterator[Mutation]:
    source = source_of(file)
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in ast.walk(parsed(source)):
        for part, replacement in _syncs(node):
            begin = starts[part.lineno - 1] + part.col_offset
            end = starts[(part.end_lineno or 0) - 1] + (part.end_col_offset or 0)
            name = f"no sync: {file}:{part.lineno} {source[begin:end]}"
            yield Mutation(name, file, begin, end, replacement, _nearest(file))


def _syncs(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Yield the expressions of a node to replace; columns are those of ASCII lines."""
    if not isinstance(node, ast.Call):
        return
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name in CALLS:
        yield node, "0"
    for keyword in node.keywords:
        if keyword.arg in KEYWORDS and getattr(keyword.value, "value", None) is True:
            yield keyword.value, "False"


def _nearest(file: str) -> tuple[str, ...]:
    names = next(tests for start, tests in NEAREST.items() if file.startswith(start))
    return tuple(f"tests/durability/{name}" for name in names)
