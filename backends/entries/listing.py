"""Directory listings: complete, or one page after a name, in the order of names.

A page costs one pass over the names and a stat of its own entries only. It needs no state between
pages. It stays right while other processes write: an entry that exists all along is listed exactly
once.
"""

import heapq
import os
import posixpath
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from backends.fs import directory, entry_errors, paths
from core.errors import StorageError
from core.names import VFolderPath, utc

_READ = os.O_RDONLY | os.O_DIRECTORY
_FORMAT = 0o170000
_KINDS = {stat.S_IFDIR: "DIRECTORY", stat.S_IFLNK: "SYMLINK"}
Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Some entries of a directory; the next page starts after the name `next`, None at the end."""

    items: list[Item]
    next: str | None = None


def list_directory(
    root: int, path: VFolderPath, limit: int = 0, after: str | None = None
) -> EntryPage:
    """Return the entries of a directory in the order of their names (by code point).

    Args:
        root: descriptor of the vfolder.
        path: the directory.
        limit: the most entries returned; 0 means all.
        after: only names after this one.

    Raises:
        PathEscape: the path leads outside the vfolder.
        EntryRefused: there is no such directory.
    """
    with entry_errors(str(path)):
        descriptor = paths.open_beneath(root, path, _READ)
        try:
            return _page(root, descriptor, path, limit, after)
        finally:
            os.close(descriptor)


def list_named(
    root: int, path: VFolderPath, prefix: str, limit: int = 0, after: str | None = None
) -> EntryPage:
    """Return those entries of a directory whose names begin so; see `list_directory`."""
    with entry_errors(str(path)):
        descriptor = paths.open_beneath(root, path, _READ)
        try:
            return _page(root, descriptor, path, limit, after, prefix=prefix)
        finally:
            os.close(descriptor)


def list_below(
    root: int, base: VFolderPath, path: VFolderPath, limit: int = 0, after: str | None = None
) -> EntryPage:
    """Return the entries of a directory as `list_directory`, where `base` is the root.

    No path and no link leads out of `base`: it is open while the path is resolved.
    """
    with entry_errors(str(path)):
        descriptor = paths.open_directory(root, base)
        try:
            return list_directory(descriptor, path, limit, after)
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class DescribedEntry:
    """One entry as a listing has it, and the entity tag of a file's content without quotes."""

    item: Item
    etag: str | None = None


def describe_entry(root: int, path: VFolderPath) -> DescribedEntry:
    """Return what is known of one entry; of a link itself, not of its target.

    Raises:
        PathEscape: the path leads outside the vfolder.
        EntryNotFound: there is no such entry.
    """
    status = paths.stat_beneath(root, path, follow=False)
    kind = _KINDS.get(status.st_mode & _FORMAT, "FILE")
    link = kind == "SYMLINK"
    attributes = {
        "mode": status.st_mode,
        "size": status.st_size,
        "created": utc(status.st_ctime),
        "modified": utc(status.st_mtime),
    }
    item: Item = {
        "name": path.name,
        "type": kind,
        "stat": attributes,
        "symlink_target": _target(root, path.parent, path.name) if link else "",
    }
    return DescribedEntry(item, paths.file_tag(status) if stat.S_ISREG(status.st_mode) else None)


def _page(
    root: int,
    descriptor: int,
    path: VFolderPath,
    limit: int,
    after: str | None,
    *,
    prefix: str = "",
) -> EntryPage:
    names: Iterable[str] = directory.names(descriptor)
    if prefix:
        names = (name for name in names if name.startswith(prefix))
    if after is not None:
        names = (name for name in names if name > after)
    page = heapq.nsmallest(limit + 1, names) if limit else sorted(names)
    more = bool(limit) and len(page) > limit
    if more:
        page.pop()
    return EntryPage(_items(root, descriptor, path, page), page[-1] if more else None)


def _items(root: int, descriptor: int, path: VFolderPath, names: list[str]) -> list[Item]:
    """Describe each entry; an entry that was removed meanwhile is left out."""
    items: list[Item] = []
    for name, status in zip(names, directory.stats(descriptor, names), strict=True):
        if status is None:
            continue
        mode, size, changed, modified = status
        kind = _KINDS.get(mode & _FORMAT, "FILE")
        items.append(
            {
                "name": name,
                "type": kind,
                "stat": {
                    "mode": mode,
                    "size": size,
                    "created": utc(changed),
                    "modified": utc(modified),
                },
                "symlink_target": _target(root, path, name) if kind == "SYMLINK" else "",
            },
        )
    return items


def _target(root: int, directory: VFolderPath, name: str) -> str:
    """Return a link's target, relative to the listed directory; empty when it is outside of it.

    A link that leads to no entry (dangling, looping, or absolute) is read as text.
    """
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
    except (StorageError, OSError):  # dangling, looping, absolute, outside, or removed meanwhile
        return _written(root, directory, name)


def _written(root: int, directory: VFolderPath, name: str) -> str:
    """Return the target that the text of a link names, as `_target` does; it need not exist."""
    try:
        with paths.parent_beneath(root, directory / VFolderPath((name,))) as (holder, link):
            text = os.readlink(link, dir_fd=holder)
        top = os.readlink(f"/proc/self/fd/{root}")
        if text.startswith(f"{top}/"):
            target = VFolderPath.parse(text[len(top) + 1 :])
        else:
            target = VFolderPath.parse(_joined(directory, text))
    except (StorageError, OSError):
        return ""
    inside = target.parts[: len(directory.parts)] == directory.parts
    return "/".join(target.parts[len(directory.parts) :]) if inside else ""


def _joined(directory: VFolderPath, text: str) -> str:
    return text if text.startswith("/") else f"{directory}/{text}"


def _relative(target: str, base: int) -> str:
    here = os.readlink(f"/proc/self/fd/{base}")
    if target == here or not target.startswith(f"{here}/"):
        return ""
    return posixpath.relpath(target, here)
