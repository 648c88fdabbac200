"""Walk a tree in a stable order, through a filter, from the entry where an earlier walk stopped.

For verbs that process entries one by one (find, rescan, listings). Entries come in the order of the
bytes of their names, a directory before the entries below it. Memory use is bounded: the names of a
very large directory are sorted on disk. A walk may stop at any entry and continue after it.
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
#: Errors that are reported and do not end the walk.
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
        """Whether other entries can be below it."""
        return stat.S_ISDIR(self.status.st_mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkOptions:
    """Where to begin (after this path, which an earlier walk yielded) and what to include."""

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
    """Yield the entries below a directory, in the order of the names in their paths.

    Vanished entries are left out. A directory that cannot be read is yielded, reported to
    `options.on_unreadable`, and not entered. Costs one stat per entry and a sort per directory.

    Raises:
        Interrupted: the control says stop.
        OSError: the root itself cannot be read.
    """
    return _Walk(Anchor(fd, cross_mounts=options.cross_mounts), control, options).entries()


#: The entries of one directory. An entry on the path where the walk begins comes with the rest of
#: that path, every other with None.
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
        """Yield the entries of a directory that come after `after`, a path below it in parts.

        An entry on the path `after` comes with the parts below it instead of None.
        """
        first = after[0] if after and after[0] else b""
        names = Sorter()
        try:
            self._list(path, first, names)
            ordered = iter(names)
            while batch := list(islice(ordered, CHECK_ENTRIES)):
                self._control.check()
                for entry in self._stat_all(path, batch):
                    name = os.fsencode(entry.path.rpartition("/")[2])
                    on_path = bool(first) and name == first
                    yield entry, after[1:] if on_path else None
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

    def _stat_all(self, path: str, names: list[bytes]) -> list[Entry]:
        """Stat some entries; the directory is open only meanwhile, however deep the walk is."""
        fd = self._anchor.open(path)
        try:
            entries = (self._stat(fd, path, os.fsdecode(name)) for name in names)
            return [entry for entry in entries if entry is not None]
        finally:
            os.close(fd)

    def _stat(self, fd: int, directory: str, name: str) -> Entry | None:
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
        rules = self._options.filter
        facts = EntryFacts(status.st_mode, status.st_size, status.st_mtime_ns)
        included = rules is None or rules.includes(path, lambda: facts)
        return Entry(path, status) if included else None

    def _check(self) -> None:
        self._seen += 1
        if self._seen % CHECK_ENTRIES == 0:
            self._control.check()
