"""Which entries of a source a copy includes: by rules, by bounds, and by what the target has.

The selection is made during planning, directory by directory, with both sides open. The selected
entries are in the parts of the plan. Notes beside them name the other entries. The target is only
read.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any, Self

from backends.fs import freed_bytes, held_bytes, is_nearest_time, is_same_time
from backends.tree.files import (
    Anchor,
    AttributeSupport,
    join,
    read_xattrs,
    split_name,
    stat_entry,
)
from backends.tree.rules import EntryFacts, Filter

#: A directory with more selected entries is divided into slices of this many names.
SLICE_ENTRIES = 2_000


class OnConflict(StrEnum):
    """What to do when the target has a different entry with the name of a selected one."""

    FAIL = "fail"
    SKIP = "skip"
    REPLACE = "replace"
    NEWER = "newer"


class SkipReason(StrEnum):
    """Why an entry is not copied.

    `conflict`: the target has a different entry of this name. `kept`: the target's entry stays, as
    requested. `same`: the target has the same entry. `extra`: only the target has this entry.
    `unread`: a directory that could not be read.
    """

    CONFLICT = "conflict"
    KEPT = "kept"
    SAME = "same"
    EXTRA = "extra"
    UNREAD = "unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Sizes of files in bytes, and modification times of all but directories; both inclusive."""

    min_bytes: int = 0
    max_bytes: int | None = None
    newest_ns: int | None = None
    oldest_ns: int | None = None

    def hold(self, status: os.stat_result) -> bool:
        """Return whether an entry is within the bounds."""
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
    """What to copy. `against` is a descriptor of the tree over which the copy will be laid.

    With `mirror`, entries that only that tree has are noted as extra, and an entry of another type
    is no conflict. With `stops`, a conflict refuses the whole copy. `only` names the one entry that
    is selected.
    """

    filter: Filter | None = None
    bounds: Bounds = _NO_BOUNDS
    against: int | None = None
    on_conflict: OnConflict = OnConflict.FAIL
    mirror: bool = False
    stops: bool = True
    only: str = ""

    @property
    def restricts(self) -> bool:
        """Whether rules or bounds may exclude an entry."""
        return self.filter is not None or self.bounds != _NO_BOUNDS

    def to_wire(self) -> list[Any]:
        """Return rules, bounds and the one entry as builtin values; `against` stays here."""
        rules = [self.filter.lines, self.filter.now_ns] if self.filter else None
        bounds = [getattr(self.bounds, name) for name in Bounds.__slots__]
        return [rules, bounds, self.only]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> Self:
        """Return the selection that `to_wire` encoded."""
        rules, bounds, only = wire
        return cls(
            filter=Filter(*rules) if rules else None,
            bounds=Bounds(**dict(zip(Bounds.__slots__, bounds, strict=True))),
            only=only,
        )

    def includes(self, path: str, status: os.stat_result) -> bool:
        """Return whether rules and bounds include an entry."""
        if self.only:
            return path == self.only
        if not self.bounds.hold(status):
            return False
        facts = EntryFacts(status.st_mode, status.st_size, status.st_mtime_ns)
        return self.filter is None or self.filter.includes(path, lambda: facts)


#: Why an entry is not copied (`SkipReason`), its path, and an explanation for people.
Note = tuple[str, str, str]


@dataclass(slots=True)
class SelectedSlice:
    """What was selected in a slice of a directory, and the directories to read below it."""

    names: list[str]
    below: list[str]
    notes: list[Note]
    #: What the selected files hold (`backends.fs.space`), and the files that they replace.
    size_bytes: int = 0
    replaced_bytes: int = 0
    #: Device, inode and bytes of each selected name of a file that has several.
    inodes: list[tuple[int, ...]] = field(default_factory=list)


class EntrySelector:
    """Selects entries in a helper, one directory at a time."""

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
        self._support = (AttributeSupport(), AttributeSupport())
        self._as_root = os.geteuid() == 0

    @classmethod
    def on_descriptors(cls, source: int, selection: Selection) -> Self:
        """Return a selector for a caller without helpers that keeps both descriptors open."""
        against = None if selection.against is None else Anchor(selection.against)
        return cls(Anchor(source), against, selection, granularity_ns=1)

    def select(self, path: str) -> Iterator[tuple[SelectedSlice, os.stat_result]]:
        """Yield what is selected of a directory, slice by slice, with the directory's attributes.

        Raises:
            OSError: the directory cannot be read on one of the sides.
        """
        source = self._source.open(path)
        try:
            target = self._counterpart(path)
            try:
                status = os.fstat(source)
                yield SelectedSlice([], [], self._extras(path, source, target)), status
                for selected in self._slices(path, source, target):
                    yield selected, status
            finally:
                if target is not None:
                    os.close(target)
        finally:
            os.close(source)

    def accepts(self, path: str) -> bool:
        """Return whether the rules and the target would let this new entry be copied."""
        directory, name = split_name(path)
        source = self._source.open(directory)
        try:
            status = stat_entry(name, source)
        finally:
            os.close(source)
        if status is None or not self._selection.includes(path, status):
            return False
        target = self._counterpart(directory)
        if target is None:
            return True
        try:
            there = stat_entry(name, target)
        finally:
            os.close(target)
        return there is None or (stat.S_ISDIR(there.st_mode) and stat.S_ISDIR(status.st_mode))

    def _counterpart(self, path: str) -> int | None:
        if self._against is None:
            return None
        try:
            return self._against.open(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _slices(self, path: str, source: int, target: int | None) -> Iterator[SelectedSlice]:
        with os.scandir(source) as listing:
            while entries := list(islice(listing, SLICE_ENTRIES)):
                selected = SelectedSlice([], [], [])
                for name in sorted(entry.name for entry in entries):
                    self._add(join(path, name), (source, target, name), selected)
                yield selected

    def _add(self, path: str, where: tuple[int, int | None, str], selected: SelectedSlice) -> None:
        """Add one entry of the source to the slice, or a note when it is not copied."""
        source, target, name = where
        try:
            status = os.stat(name, dir_fd=source, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not self._selection.includes(path, status):
            return
        there = None if target is None else stat_entry(name, target)
        if there is not None and target is not None:
            note = self._reason_to_skip(status, there, (source, target, name))
            if note is not None:
                selected.notes.append((note[0].value, path, note[1]))
                return
        selected.names.append(name)
        if stat.S_ISDIR(status.st_mode):
            selected.below.append(path)
            return
        if there is not None and target is not None:
            selected.replaced_bytes += freed_bytes(there, target)
        if stat.S_ISREG(status.st_mode):
            held = held_bytes(status, source)
            selected.size_bytes += held
            if status.st_nlink > 1:
                selected.inodes.append((status.st_dev, status.st_ino, held))

    def _reason_to_skip(
        self, here: os.stat_result, there: os.stat_result, where: tuple[int, int, str]
    ) -> tuple[SkipReason, str] | None:
        """Return why an entry that the target has too is not copied; None when it is copied."""
        directories = (stat.S_ISDIR(here.st_mode), stat.S_ISDIR(there.st_mode))
        if all(directories):
            return None
        if not any(directories) and self._same(here, there, where):
            return SkipReason.SAME, ""
        return self._resolve(here, there, clash=any(directories))

    def _resolve(
        self, here: os.stat_result, there: os.stat_result, *, clash: bool
    ) -> tuple[SkipReason, str] | None:
        """Return what `on_conflict` means for an entry that differs."""
        policy = self._selection.on_conflict
        if policy is OnConflict.SKIP:
            return SkipReason.KEPT, "The target has an entry of that name."
        if policy is OnConflict.FAIL:
            return SkipReason.CONFLICT, "The target has an entry of that name that differs."
        if policy is OnConflict.NEWER and self._as_new(here, there):
            return SkipReason.KEPT, "The target's entry is as new or newer."
        if clash and not self._selection.mirror:
            return (
                SkipReason.CONFLICT,
                "A directory never replaces an entry of another type, or is replaced by one.",
            )
        return None

    def _as_new(self, here: os.stat_result, there: os.stat_result) -> bool:
        newer_ns = here.st_mtime_ns - there.st_mtime_ns
        nearest = is_nearest_time(here.st_mtime_ns, there.st_mtime_ns)
        return nearest or newer_ns < self._granularity

    def _same(
        self, here: os.stat_result, there: os.stat_result, where: tuple[int, int, str]
    ) -> bool:
        """Compare what shows a change without reading content, as rsync does."""
        source, target, name = where
        if not is_same_time(here.st_mtime_ns, there.st_mtime_ns, self._granularity):
            return False
        if here.st_mode != there.st_mode or not self._same_owner(here, there):
            return False
        if stat.S_ISLNK(here.st_mode):
            return os.readlink(name, dir_fd=source) == os.readlink(name, dir_fd=target)
        if (here.st_size, here.st_nlink) != (there.st_size, there.st_nlink):
            return False
        if not stat.S_ISREG(here.st_mode):
            return True
        ours = read_xattrs(f"/proc/self/fd/{source}/{name}", self._support[0])
        theirs = read_xattrs(f"/proc/self/fd/{target}/{name}", self._support[1])
        return ours == theirs or not self._support[1].xattrs

    def _same_owner(self, here: os.stat_result, there: os.stat_result) -> bool:
        """Compare owners. Only root can change an owner: for other users the owner is ignored."""
        if not self._as_root:
            return True
        return (here.st_uid, here.st_gid) == (there.st_uid, there.st_gid)

    def _extras(self, path: str, source: int, target: int | None) -> list[Note]:
        """Return a note for each entry that only the target has and the rules include."""
        extras: list[Note] = []
        if target is None or not self._selection.mirror:
            return extras
        with os.scandir(target) as listing:
            for entry in listing:
                below = join(path, entry.name)
                there = stat_entry(entry.name, target)
                if there is None or stat_entry(entry.name, source) is not None:
                    continue
                if self._selection.includes(below, there):
                    extras.append((SkipReason.EXTRA.value, below, ""))
        return extras
