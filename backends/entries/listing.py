"""Directory listings: whole, or a page after a name, in the order of names.

A page costs one pass over the names and a stat of its own entries only, needs no state between
pages, and stays right while others write: an entry that is there all along is told exactly once.
"""

import heapq
import os
import posixpath
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backends.fs import directory, entry_errors, paths
from core.errors import StorageError
from core.names import VFolderPath

_READ = os.O_RDONLY | os.O_DIRECTORY
_FORMAT = 0o170000
_KINDS = {stat.S_IFDIR: "DIRECTORY", stat.S_IFLNK: "SYMLINK"}
Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Some entries of a directory; `next` is the name to go on after, None at the end."""

    items: list[Item]
    next: str | None = None


def list_directory(
    root: int, path: VFolderPath, limit: int = 0, after: str | None = None
) -> EntryPage:
    """The entries of a directory in the order of their names (by code point).

    Args:
        root: descriptor of the vfolder.
        path: the directory.
        limit: at most so many entries; 0 means all.
        after: only names after this one.

    Raises:
        PathEscape: the path leads outside.
        EntryRefused: no such directory.
    """
    with entry_errors(str(path)):
        descriptor = paths.open_beneath(root, path, _READ)
        try:
            return _page(root, descriptor, path, limit, after)
        finally:
            os.close(descriptor)


def _page(
    root: int, descriptor: int, path: VFolderPath, limit: int, after: str | None
) -> EntryPage:
    found: Iterable[str] = directory.names(descriptor)
    if after is not None:
        found = (name for name in found if name > after)
    chosen = heapq.nsmallest(limit + 1, found) if limit else sorted(found)
    more = bool(limit) and len(chosen) > limit
    if more:
        chosen.pop()
    return EntryPage(_items(root, descriptor, path, chosen), chosen[-1] if more else None)


def _items(root: int, descriptor: int, path: VFolderPath, chosen: list[str]) -> list[Item]:
    """Tell each entry; one that is gone since it was named is left out."""
    items: list[Item] = []
    moment = datetime.fromtimestamp
    for name, told in zip(chosen, directory.stats(descriptor, chosen), strict=True):
        if told is None:
            continue
        mode, size, changed, modified = told
        kind = _KINDS.get(mode & _FORMAT, "FILE")
        items.append(
            {
                "name": name,
                "type": kind,
                "stat": {
                    "mode": mode,
                    "size": size,
                    "created": moment(changed, UTC),
                    "modified": moment(modified, UTC),
                },
                "symlink_target": _target(root, path, name) if kind == "SYMLINK" else "",
            },
        )
    return items


def _target(root: int, directory: VFolderPath, name: str) -> str:
    """Where a link leads, relative to the listed directory; empty when that is outside of it."""
    try:
        linked = paths.open_beneath(root, directory / VFolderPath((name,)), os.O_PATH)
        try:
            base = paths.open_directory(root, directory)
            try:
                return _relative(os.readlink(f"/proc/self/fd/{linked}"), base)
            finally:
                os.close(base)
        finally:
            os.close(linked)
    except (StorageError, OSError):  # dangling, outside, or gone since the scan
        return ""


def _relative(target: str, base: int) -> str:
    here = os.readlink(f"/proc/self/fd/{base}")
    if target == here or not target.startswith(f"{here}/"):
        return ""
    return posixpath.relpath(target, here)
