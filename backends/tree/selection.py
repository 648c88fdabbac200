"""Which entries of a source a copy takes: by rules, by bounds, and by what the target has already.

The choice is made while planning, directory by directory, with both sides open; what is decided
is in the parts, and what else was seen is noted beside them. The target is only read.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Self

from backends.tree.files import Anchor, Skills, join, read_xattrs, split_name, stat_entry
from backends.tree.rules import EntryFacts, Filter

#: Directories with more chosen entries are divided into slices of so many names.
SLICE_ENTRIES = 2_000


class OnConflict(StrEnum):
    """What becomes of an entry of the target that has a chosen one's name and differs."""

    FAIL = "fail"
    SKIP = "skip"
    REPLACE = "replace"
    NEWER = "newer"


class SkipReason(StrEnum):
    """What was seen of an entry that is not copied.

    `conflict` stands in the way, `kept` stays by the caller's wish, `same` is there already,
    `extra` is on the target only, `unread` is a directory that could not be read.
    """

    CONFLICT = "conflict"
    KEPT = "kept"
    SAME = "same"
    EXTRA = "extra"
    UNREAD = "unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Sizes of files in bytes, and times of last change of all but directories, both inclusive."""

    min_bytes: int = 0
    max_bytes: int | None = None
    newest_ns: int | None = None
    oldest_ns: int | None = None

    def hold(self, status: os.stat_result) -> bool:
        """Tell whether an entry is within them."""
        if stat.S_ISDIR(status.st_mode):
            return True
        if self.oldest_ns is not None and status.st_mtime_ns < self.oldest_ns:
            return False
        if self.newest_ns is not None and status.st_mtime_ns > self.newest_ns:
            return False
        if not stat.S_ISREG(status.st_mode):
            return True
        return self.min_bytes <= status.st_size and (
            self.max_bytes is None or status.st_size <= self.max_bytes
        )


_NO_BOUNDS = Bounds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to take. `against` is a descriptor of the tree that the copy will be laid over.

    With `mirror` what that tree has and the source has not is noted as extra, and an entry of
    another type does not stand in the way. With `stops` a conflict refuses the whole copy.
    `only` names the one entry that is taken.
    """

    filter: Filter | None = None
    bounds: Bounds = _NO_BOUNDS
    against: int | None = None
    on_conflict: OnConflict = OnConflict.FAIL
    mirror: bool = False
    stops: bool = True
    only: str = ""

    @property
    def chooses(self) -> bool:
        """Whether rules or bounds leave anything out."""
        return self.filter is not None or self.bounds != _NO_BOUNDS

    def takes(self, path: str, status: os.stat_result) -> bool:
        """Tell whether rules and bounds let an entry in."""
        if self.only:
            return path == self.only
        if not self.bounds.hold(status):
            return False
        looks = EntryFacts(status.st_mode, status.st_size, status.st_mtime_ns)
        return self.filter is None or self.filter.takes(path, lambda: looks)


#: A note, the path it is about, and words for people.
Noted = tuple[str, str, str]


@dataclass(slots=True)
class Choice:
    """What was chosen in a stretch of a directory, and what is to be looked at below it."""

    names: list[str]
    below: list[str]
    notes: list[Noted]
    size_bytes: int = 0


class EntrySelector:
    """Chooses in a helper, one directory at a time."""

    def __init__(
        self,
        source: Anchor,
        against: Anchor | None,
        selection: Selection,
        *,
        granularity_ns: int,
    ) -> None:
        self._source = source
        self._against = against
        self._selection = selection
        self._granularity = granularity_ns
        self._skills = (Skills(), Skills())
        self._as_root = os.geteuid() == 0

    @classmethod
    def over(cls, source: int, selection: Selection) -> Self:
        """Make one for a caller that looks by itself, and keeps both descriptors open."""
        against = None if selection.against is None else Anchor(selection.against)
        return cls(Anchor(source), against, selection, granularity_ns=1)

    def choose(self, path: str) -> Iterator[tuple[Choice, int]]:
        """Give what is chosen of a directory, slice by slice, each with the directory's time.

        Raises:
            OSError: the directory cannot be read on one of the sides.
        """
        source = self._source.open(path)
        try:
            target = self._counterpart(path)
            try:
                mtime_ns = os.fstat(source).st_mtime_ns
                yield Choice([], [], self._extras(path, source, target)), mtime_ns
                for choice in self._slices(path, source, target):
                    yield choice, mtime_ns
            finally:
                if target is not None:
                    os.close(target)
        finally:
            os.close(source)

    def lets_in(self, path: str) -> bool:
        """Tell whether a directory would be taken: by the rules, and by what the target has."""
        directory, name = split_name(path)
        source = self._source.open(directory)
        try:
            status = stat_entry(name, source)
        finally:
            os.close(source)
        if status is None or not self._selection.takes(path, status):
            return False
        above = self._counterpart(directory)
        if above is None:
            return True
        try:
            there = stat_entry(name, above)
        finally:
            os.close(above)
        return there is None or stat.S_ISDIR(there.st_mode)

    def _counterpart(self, path: str) -> int | None:
        if self._against is None:
            return None
        try:
            return self._against.open(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _slices(self, path: str, source: int, target: int | None) -> Iterator[Choice]:
        with os.scandir(source) as listing:
            while some := list(islice(listing, SLICE_ENTRIES)):
                choice = Choice([], [], [])
                for name in sorted(entry.name for entry in some):
                    self._look(join(path, name), (source, target, name), choice)
                yield choice

    def _look(self, path: str, where: tuple[int, int | None, str], choice: Choice) -> None:
        source, target, name = where
        try:
            status = os.stat(name, dir_fd=source, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not self._selection.takes(path, status):
            return
        there = None if target is None else stat_entry(name, target)
        if there is not None and target is not None:
            note = self._judge(status, there, (source, target, name))
            if note is not None:
                choice.notes.append((note[0].value, path, note[1]))
                return
        choice.names.append(name)
        if stat.S_ISDIR(status.st_mode):
            choice.below.append(path)
        elif stat.S_ISREG(status.st_mode):
            choice.size_bytes += status.st_size

    def _judge(
        self, here: os.stat_result, there: os.stat_result, where: tuple[int, int, str]
    ) -> tuple[SkipReason, str] | None:
        """Say why an entry that the target has too is not copied; None when it is."""
        directories = (stat.S_ISDIR(here.st_mode), stat.S_ISDIR(there.st_mode))
        if all(directories):
            return None
        if not any(directories) and self._same(here, there, where):
            return SkipReason.SAME, ""
        return self._resolve(here, there, clash=any(directories))

    def _resolve(
        self, here: os.stat_result, there: os.stat_result, *, clash: bool
    ) -> tuple[SkipReason, str] | None:
        """Say what the caller's wish means for an entry that differs."""
        wish = self._selection.on_conflict
        if wish is OnConflict.SKIP:
            return SkipReason.KEPT, "The target has an entry of that name."
        if wish is OnConflict.FAIL:
            return SkipReason.CONFLICT, "The target has an entry of that name that differs."
        if wish is OnConflict.NEWER and self._as_new(here, there):
            return SkipReason.KEPT, "The target's entry is as new or newer."
        if clash and not self._selection.mirror:
            return (
                SkipReason.CONFLICT,
                "A directory does not give way to another kind, nor takes over.",
            )
        return None

    def _as_new(self, here: os.stat_result, there: os.stat_result) -> bool:
        return here.st_mtime_ns - there.st_mtime_ns < self._granularity

    def _same(
        self, here: os.stat_result, there: os.stat_result, where: tuple[int, int, str]
    ) -> bool:
        """Compare what tells a changed entry without reading content, as rsync does."""
        source, target, name = where
        if abs(here.st_mtime_ns - there.st_mtime_ns) >= self._granularity:
            return False
        if here.st_mode != there.st_mode or not self._same_owner(here, there):
            return False
        if stat.S_ISLNK(here.st_mode):
            return os.readlink(name, dir_fd=source) == os.readlink(name, dir_fd=target)
        if (here.st_size, here.st_nlink) != (there.st_size, there.st_nlink):
            return False
        if not stat.S_ISREG(here.st_mode):
            return True
        ours = read_xattrs(f"/proc/self/fd/{source}/{name}", self._skills[0])
        theirs = read_xattrs(f"/proc/self/fd/{target}/{name}", self._skills[1])
        return ours == theirs or not self._skills[1].xattrs

    def _same_owner(self, here: os.stat_result, there: os.stat_result) -> bool:
        """Only root can give files away: for others a foreign owner is no difference."""
        if not self._as_root:
            return True
        return (here.st_uid, here.st_gid) == (there.st_uid, there.st_gid)

    def _extras(self, path: str, source: int, target: int | None) -> list[Noted]:
        """Name what only the target has and the rules do not protect."""
        found: list[Noted] = []
        if target is None or not self._selection.mirror:
            return found
        with os.scandir(target) as listing:
            for entry in listing:
                below = join(path, entry.name)
                there = stat_entry(entry.name, target)
                if there is None or stat_entry(entry.name, source) is not None:
                    continue
                if self._selection.takes(below, there):
                    found.append((SkipReason.EXTRA.value, below, ""))
        return found
