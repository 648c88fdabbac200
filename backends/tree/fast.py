"""The engine's inner loops: in C where that was built, else in Python; the results are the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from backends.fs import native
from backends.fs.native import Copied, Scanned, Unlinked
from backends.tree import plain
from backends.tree.allocation_groups import ONE_GROUP, Groups


@dataclass(frozen=True, slots=True)
class Plain:
    """What makes a file plain: it belongs to this user and group, and what need not be asked."""

    uid: int
    gid: int
    noatime: bool
    xattrs: bool
    flags: bool


@dataclass(frozen=True, slots=True)
class Loops:
    """The loops over one directory's entries; each leaves what is not plain to its caller."""

    native: bool = True

    @property
    def in_c(self) -> bool:
        """Whether the C part is used."""
        return native.AVAILABLE and self.native

    def scan(self, fd: int, *, names: bool = False, now: int = 0) -> Iterator[Scanned]:
        """Stat the entries of an open directory and sum them up, piece by piece.

        With `now` (seconds of the epoch) their ages too.
        """
        if self.in_c:
            return iter(partial(native.scan, fd, names, now), None)
        return plain.scan(fd, names=names, now=now)

    def copy(
        self, source: int, target: int, rule: Plain | None, stop: bytearray
    ) -> Iterator[Copied]:
        """Copy plain files between two open directories; without a rule nothing is plain.

        Once `stop` is set, what is not done is left.
        """
        if self.in_c and rule is not None:
            return iter(
                partial(
                    native.copy,
                    source,
                    target,
                    rule.uid,
                    rule.gid,
                    rule.noatime,
                    rule.xattrs,
                    rule.flags,
                    stop,
                ),
                None,
            )
        return plain.copy(source)

    def unlink(
        self, fd: int, stop: bytearray, *, many: bool, below: int = 0, groups: Groups = ONE_GROUP
    ) -> Iterator[Unlinked]:
        """Unlink everything but directories in an open directory, `many` entries at a time.

        Plain directories of its allocation group may go as well, with all in them, while fewer
        than `below` entries were tried there. Once `stop` is set, what is not done is left.
        """
        if self.in_c:
            return iter(partial(native.unlink, fd, many, below, groups.bits, stop), None)
        return plain.unlink(fd, stop)


DEFAULT_LOOPS = Loops()
