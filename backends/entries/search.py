"""Search of entries below one directory: by a pattern of names, by kind, size and time."""

import fnmatch
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Literal

from msgspec import Struct

from backends.fs import entry_errors, paths
from backends.tree import Entry, WalkOptions, walk
from core.jobs import Control, Unattended
from core.jobs.requests import FindRequest
from core.names import VFolderPath, moment, moment_ns

#: What a search finds, by the words of requests.
FoundKind = Literal["file", "directory", "symlink"]
_IS_KIND: dict[str, Callable[[int], bool]] = {
    "file": stat.S_ISREG,
    "directory": stat.S_ISDIR,
    "symlink": stat.S_ISLNK,
}


class SearchTerms(Struct, frozen=True, kw_only=True):
    """What an entry has to be; None is no condition. Moments are nanoseconds of the epoch."""

    #: A pattern of the shell. With a slash it is compared with the path, else with the name.
    match: str = ""
    kind: FoundKind | None = None
    min_bytes: int | None = None
    max_bytes: int | None = None
    newer_than: int | None = None
    older_than: int | None = None


class FoundEntry(Struct, frozen=True, kw_only=True):
    """An entry that was found; `path` begins at the vfolder."""

    path: str
    kind: str
    #: The length of a file; None for others.
    size_bytes: int | None
    #: RFC 3339.
    modified_at: str


class SearchResult(Struct, frozen=True, kw_only=True):
    """What a bounded search found, and whether that is all."""

    entries: list[FoundEntry]
    complete: bool


def terms_of(request: FindRequest) -> SearchTerms:
    """Return what a request looks for."""
    return SearchTerms(
        match=request.match,
        kind=request.kind,
        min_bytes=request.min_bytes,
        max_bytes=request.max_bytes,
        newer_than=None if request.newer_than is None else moment_ns(request.newer_than),
        older_than=None if request.older_than is None else moment_ns(request.older_than),
    )


def found_below(
    root: int,
    path: VFolderPath,
    terms: SearchTerms,
    control: Control,
    on_unreadable: Callable[[str, str], None],
) -> Iterator[FoundEntry | None]:
    """Yield what is found below a directory, and None for each entry that was looked at in vain.

    Raises:
        PathEscape: the path leads outside the vfolder.
        EntryRefused: there is no such directory.
        Interrupted: the control says stop.
    """
    is_meant = _condition(terms)
    with entry_errors(str(path)):
        directory = paths.open_directory(root, path)
        try:
            options = WalkOptions(on_unreadable=on_unreadable)
            for entry in walk(directory, control=control, options=options):
                yield _found(path, entry) if is_meant(entry) else None
        finally:
            os.close(directory)


def search(
    root: int, path: VFolderPath, terms: SearchTerms, limit: int, seconds: float
) -> SearchResult:
    """Return what is found below a directory, in the order of paths, within bounds.

    It is not complete where there is more than `limit`, or where it would take longer.

    Raises:
        PathEscape, EntryRefused: as `found_below`.
    """
    deadline = time.monotonic() + seconds
    unread: list[str] = []
    found: list[FoundEntry] = []

    def on_unreadable(below: str, _reason: str) -> None:
        unread.append(below)

    for entry in found_below(root, path, terms, Unattended(), on_unreadable):
        if time.monotonic() > deadline or (entry is not None and len(found) == limit):
            return SearchResult(entries=found, complete=False)
        if entry is not None:
            found.append(entry)
    return SearchResult(entries=found, complete=not unread)


def _condition(terms: SearchTerms) -> Callable[[Entry], bool]:
    pattern = re.compile(fnmatch.translate(terms.match)) if terms.match else None
    is_kind = _IS_KIND[terms.kind] if terms.kind else None
    by_path = "/" in terms.match

    def is_meant(entry: Entry) -> bool:
        status = entry.status
        name = entry.path if by_path else entry.path.rpartition("/")[2]
        if pattern is not None and pattern.match(name) is None:
            return False
        if is_kind is not None and not is_kind(status.st_mode):
            return False
        size = status.st_size if stat.S_ISREG(status.st_mode) else None
        return _is_between(size, terms.min_bytes, terms.max_bytes) and _is_between(
            status.st_mtime_ns, terms.newer_than, terms.older_than
        )

    return is_meant


def _is_between(value: int | None, least: int | None, most: int | None) -> bool:
    """Return whether a value lies within bounds; one that does not exist meets no bound."""
    if least is None and most is None:
        return True
    if value is None:
        return False
    return (least is None or value >= least) and (most is None or value <= most)


def _found(base: VFolderPath, entry: Entry) -> FoundEntry:
    mode = entry.status.st_mode
    kind = next((name for name, is_kind in _IS_KIND.items() if is_kind(mode)), "file")
    parts = chain(base.parts, [entry.path])
    return FoundEntry(
        path="/".join(parts),
        kind=kind,
        size_bytes=entry.status.st_size if stat.S_ISREG(mode) else None,
        modified_at=moment(entry.status.st_mtime),
    )
