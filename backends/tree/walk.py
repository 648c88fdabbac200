"""Walk a tree in a stable order, from where a former walk stopped, through a filter.

For verbs that look at entries one by one (find, rescan, listings): entries come in the order of
their names' bytes, a directory before what is below it. Memory stays flat: the names of a very
large directory are sorted on disk. A walk may be stopped at any entry and go on after it.
"""

import errno
import os
import stat
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import islice

from backends.fs import reason_of
from backends.tree.files import Anchor, join
from backends.tree.processes import Sorter
from backends.tree.rules import EntryFacts, Filter
from core.jobs import Control

#: How many entries may pass between two calls of `control.check`.
CHECK_ENTRIES = 128
#: What is counted and named instead of ending the walk.
TOLERATED = frozenset(
    {errno.EACCES, errno.EPERM, errno.ESTALE, errno.EIO, errno.EXDEV, errno.ELOOP, errno.ENOTDIR},
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its path from the root and its attributes."""

    path: str
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether other entries may be below it."""
        return stat.S_ISDIR(self.status.st_mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkOptions:
    """Where to begin (after this path, as a former walk named it) and what to take."""

    after: str = ""
    filter: Filter | None = None
    cross_mounts: bool = False
    on_unreadable: Callable[[str, str], None] = field(default=lambda _path, _reason: None)


def walk(
    fd: int,
    *,
    control: Control,
    options: WalkOptions = WalkOptions(),
) -> Iterator[Entry]:
    """Give the entries below a directory, in the order of their paths' names.

    Vanished entries are left out. A directory that cannot be read is given itself, told to
    `options.on_unreadable`, and not entered. Costs one stat per entry and a sort per directory.

    Raises:
        Interrupted: the control says stop.
        OSError: the root itself cannot be read.
    """
    return _Walk(Anchor(fd, cross_mounts=options.cross_mounts), control, options).entries()


#: The entries of one directory; those on the way to where the walk begins come with the rest of
#: that way.
Level = Generator[tuple[Entry, list[bytes] | None], None, None]


class _Walk:
    def __init__(self, anchor: Anchor, control: Control, options: WalkOptions) -> None:
        self._anchor = anchor
        self._control = control
        self._options = options
        self._seen = 0

    def entries(self) -> Iterator[Entry]:
        stack: list[Level] = [self._directory("", os.fsencode(self._options.after).split(b"/"))]
        try:
            while stack:
                below = next(stack[-1], None)
                if below is None:
                    stack.pop()
                    continue
                entry, after = below
                if after is None:
                    yield entry
                if entry.is_directory:
                    stack.append(self._guarded(entry.path, after or []))
        finally:
            for level in stack:
                level.close()

    def _guarded(self, path: str, after: list[bytes]) -> Level:
        try:
            yield from self._directory(path, after)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in TOLERATED:
                raise
            self._options.on_unreadable(path, reason_of(error))

    def _directory(self, path: str, after: list[bytes]) -> Level:
        """Give a directory's entries that come behind `after`, a path below it in parts.

        An entry on the way to `after` comes with the parts below it instead of None.
        """
        first = after[0] if after and after[0] else b""
        names = Sorter()
        try:
            self._list(path, first, names)
            ordered = iter(names)
            while some := list(islice(ordered, CHECK_ENTRIES)):
                self._control.check()
                for entry in self._look_at(path, some):
                    name = os.fsencode(entry.path.rpartition("/")[2])
                    on_the_way = bool(first) and name == first
                    yield entry, after[1:] if on_the_way else None
        finally:
            names.close()

    def _list(self, path: str, first: bytes, names: Sorter) -> None:
        fd = self._anchor.open(path)
        try:
            with os.scandir(fd) as listing:
                for item in listing:
                    name = os.fsencode(item.name)
                    if name >= first:
                        names.add(name)
                    self._check()
        finally:
            os.close(fd)

    def _look_at(self, path: str, names: list[bytes]) -> list[Entry]:
        """Stat some entries; the directory is open only meanwhile, however deep the walk is."""
        fd = self._anchor.open(path)
        try:
            found = (self._look(fd, path, os.fsdecode(name)) for name in names)
            return [entry for entry in found if entry is not None]
        finally:
            os.close(fd)

    def _look(self, fd: int, directory: str, name: str) -> Entry | None:
        path = join(directory, name)
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in TOLERATED:
                raise
            self._options.on_unreadable(path, reason_of(error))
            return None
        chosen = self._options.filter
        looks = EntryFacts(status.st_mode, status.st_size, status.st_mtime_ns)
        return Entry(path, status) if chosen is None or chosen.takes(path, lambda: looks) else None

    def _check(self) -> None:
        self._seen += 1
        if self._seen % CHECK_ENTRIES == 0:
            self._control.check()
