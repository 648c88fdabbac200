"""The inner loops of the engine: in C where that was built, else the same in Python."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from backends.fs import native
from backends.fs.native import Copied, Scanned, Unlinked
from backends.tree import plain
from backends.tree.allocation_groups import ONE_GROUP, Groups


@dataclass(frozen=True, slots=True)
class Plain:
    """When a file is plain: it has this owner and group, no xattrs, no flags, and no holes."""

    uid: int
    gid: int
    #: Open sources with O_NOATIME, which only their owner and root may do.
    noatime: bool
    #: Look for xattrs and flags; False where the file system has none.
    xattrs: bool
    flags: bool


@dataclass(frozen=True, slots=True)
class Loops:
    """The loops over the entries of one directory; each leaves what is not plain to its caller."""

    #: Use the part in C where it was built.
    native: bool = True

    @property
    def in_c(self) -> bool:
        """Return whether the part in C is used."""
        return native.AVAILABLE and self.native

    def scan(self, fd: int, *, names: bool = False, now: int = 0) -> Iterator[Scanned]:
        """Stat the entries of an open directory, and yield their sums piece by piece.

        With `now` (seconds of the epoch) the sums have ages too.
        """
        if self.in_c:
            return iter(partial(native.scan, fd, names, now), None)
        return plain.scan(fd, names=names, now=now)

    def copy(
        self, source: int, target: int, rule: Plain | None, stop: bytearray
    ) -> Iterator[Copied]:
        """Copy plain files between two open directories; without a rule no file is plain.

        Once the first byte of `stop` is set, the remaining entries are left.
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
        """Unlink everything but directories in an open directory, with `many` in large pieces.

        In C, small directories of the same allocation group are removed too, with all in them,
        while fewer than `below` entries were tried there. Once the first byte of `stop` is set, the
        remaining entries are left.
        """
        if self.in_c:
            return iter(partial(native.unlink, fd, many, below, groups.bits, stop), None)
        return plain.unlink(fd, stop)


DEFAULT_LOOPS = Loops()
