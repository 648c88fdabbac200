"""Which entries of a source have arrived at the target of a transfer, so that they may be removed.

An entry has arrived when the target has an equal one, and it did not change since the copy began,
by the kernel's own time of its last change (`st_ctime`). A directory has arrived when everything
below it has. Content is read on both sides where that time proves nothing: below a directory that
changed, which may be another one by now, and of a file with several names, of which one was moved.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from backends.fs import is_same_time, reason_of
from backends.tree import (
    Anchor,
    Selection,
    content,
    join,
    probe_granularity,
    split_name,
    stat_entry,
)

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHANGED = "it changed since the copy began"
_CAME = "it came since the copy began"
_ABSENT = "the target has no such entry"
_OTHER = "the target has another entry of this name"
_SPECIAL = "it is a special file, which is not copied"
#: The reason of an entry that the rules of the request leave out.
EXCLUDED = ""


@dataclass(frozen=True, slots=True)
class TreeSide:
    """A tree: the entry `base` below an open directory, or that directory when it is empty."""

    anchor: Anchor
    base: str = ""

    @classmethod
    def of(cls, fd: int, base: str = "") -> "TreeSide":
        """Return the tree below a descriptor that the caller keeps open."""
        return cls(Anchor(fd), base)

    def at(self, path: str) -> str:
        """Return the path of an entry of the tree from the open directory."""
        return join(self.base, path) if path else self.base

    def below(self, path: str) -> "TreeSide":
        """Return the tree of an entry of this one."""
        return TreeSide(self.anchor, self.at(path))


class Stays(NamedTuple):
    """An entry that stays in the source: its path from the top of the tree, and the reason."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalTerms:
    """When an entry has arrived.

    `since_ns` is when the copy began, by the clock of the source. With `read_all` the content of
    each file is compared. `scratch` is a directory of the target's file system, whose time is
    changed for a moment. `on_bytes` is called with the number of bytes read; it may raise.
    """

    since_ns: int
    scratch: int
    selection: Selection | None = None
    read_all: bool = False
    on_bytes: Callable[[int], None] = lambda _: None


class Arrivals:
    """Compares a source with a target."""

    def __init__(self, source: TreeSide, target: TreeSide, terms: ArrivalTerms) -> None:
        self._source = source
        self._target = target
        self._terms = terms
        self._granularity = probe_granularity(Anchor(terms.scratch))

    def first_left(
        self, path: str, *, doubt: bool = False, moved: TreeSide | None = None
    ) -> Stays | None:
        """Return the first entry at or below a path that has not arrived; None when all have.

        `doubt` says that a directory above changed. `moved` is where the entry was moved to since
        it was looked at, which changed its own time. Costs a look at each entry on both sides.
        """
        look = _Look(self._terms, self._granularity, path)
        here, there = moved or self._source.below(path), self._target.below(path)
        return look(here, there, doubt=doubt, moved=moved is not None)

    def has_changed(self, path: str) -> bool:
        """Return whether the directory at a path of the source changed since the copy began."""
        fd = self._source.anchor.open(self._source.at(path))
        try:
            return os.fstat(fd).st_ctime_ns >= self._terms.since_ns
        finally:
            os.close(fd)


class _Look:
    """One look at an entry, and at everything below it."""

    def __init__(self, terms: ArrivalTerms, granularity_ns: int, top: str) -> None:
        self._terms = terms
        self._granularity = granularity_ns
        self._top = top
        #: Directories below the top that are still to be read, and whether one above changed.
        self._pending: list[tuple[str, bool]] = []

    def __call__(
        self, here: TreeSide, there: TreeSide, *, doubt: bool, moved: bool
    ) -> Stays | None:
        try:
            found = self._first(here, there, doubt=doubt, moved=moved)
            while found is None and self._pending:
                path, doubt = self._pending.pop()
                found = self._directory(here, there, path, doubt=doubt, moved=moved and not path)
        except OSError as error:
            return Stays(self._top, reason_of(error))
        return found

    def _first(self, here: TreeSide, there: TreeSide, *, doubt: bool, moved: bool) -> Stays | None:
        """Look at the entry itself; that of the target may be the root of a vfolder."""
        (above, name), (above_there, name_there) = split_name(here.base), split_name(there.base)
        a = here.anchor.open(above)
        try:
            b = there.anchor.open(above_there)
            try:
                sides = (a, name), (b, name_there or ".")
                return self._entry("", sides, doubt=doubt, moved=moved)
            finally:
                os.close(b)
        finally:
            os.close(a)

    def _directory(
        self, here: TreeSide, there: TreeSide, path: str, *, doubt: bool, moved: bool
    ) -> Stays | None:
        a = here.anchor.open(here.at(path))
        try:
            b = there.anchor.open(there.at(path))
            try:
                # The time of one that was moved is that of its move; the caller says what it knows.
                changed = not moved and os.fstat(a).st_ctime_ns >= self._terms.since_ns
                return self._entries(path, a, b, doubt=doubt or changed)
            finally:
                os.close(b)
        finally:
            os.close(a)

    def _entries(self, path: str, a: int, b: int, *, doubt: bool) -> Stays | None:
        with os.scandir(a) as listing:
            for entry in listing:
                sides = (a, entry.name), (b, entry.name)
                found = self._entry(join(path, entry.name), sides, doubt=doubt, moved=False)
                if found is not None:
                    return found
        return None

    def _entry(
        self, path: str, sides: tuple[tuple[int, str], tuple[int, str]], *, doubt: bool, moved: bool
    ) -> Stays | None:
        """Look at one entry; a directory is read later."""
        (a, name), (b, name_there) = sides
        self._terms.on_bytes(0)
        here, there = stat_entry(name, a), stat_entry(name_there, b)
        if here is None:  # it was removed meanwhile
            return None
        full = join(self._top, path) if path else self._top
        selection = self._terms.selection
        if selection is not None and full and not selection.includes(full, here):
            return Stays(full, EXCLUDED)
        reason = self._reason(here, there, sides, doubt=doubt, moved=moved)
        if reason is not None:
            return Stays(full, reason)
        if stat.S_ISDIR(here.st_mode):
            self._pending.append((path, doubt))
        return None

    def _reason(
        self,
        here: os.stat_result,
        there: os.stat_result | None,
        sides: tuple[tuple[int, str], tuple[int, str]],
        *,
        doubt: bool,
        moved: bool,
    ) -> str | None:
        """Return why an entry has not arrived, or None."""
        kind = stat.S_IFMT(here.st_mode)
        changed = here.st_ctime_ns >= self._terms.since_ns
        if kind not in (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK):
            return _SPECIAL
        if there is None or stat.S_IFMT(there.st_mode) != kind:
            return _OTHER if there else _CAME if changed else _ABSENT
        if kind == stat.S_IFDIR:
            return None
        if changed and not moved and (here.st_nlink == 1 or here.st_mode != there.st_mode):
            return _CHANGED
        read = doubt or self._terms.read_all or (changed and not moved)
        if self._is_same(here, there, sides, read=read):
            return None
        return _CHANGED if changed else _OTHER

    def _is_same(
        self,
        here: os.stat_result,
        there: os.stat_result,
        sides: tuple[tuple[int, str], tuple[int, str]],
        *,
        read: bool,
    ) -> bool:
        if not is_same_time(here.st_mtime_ns, there.st_mtime_ns, self._granularity):
            return False
        if stat.S_ISLNK(here.st_mode):
            targets = [os.readlink(name, dir_fd=fd) for fd, name in sides]
            return targets[0] == targets[1]
        if here.st_size != there.st_size:
            return False
        if not read:
            return True
        try:
            digests = [self._digest(fd, name, here.st_size) for fd, name in sides]
        except content.ShortSource:
            return False
        return digests[0] == digests[1]

    def _digest(self, directory: int, name: str, size_bytes: int) -> bytes:
        digest = content.DIGESTS["xxh3"]()
        fd = os.open(name, _READ, dir_fd=directory)
        try:
            content.hash_span(fd, (0, size_bytes), digest, self._terms.on_bytes)
        finally:
            os.close(fd)
        return digest.digest()
