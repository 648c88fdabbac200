"""What the backend needs from a Storage Scale cluster; each way to ask it implements this.

Limits and usage are bytes here, whatever the interface counts in. Each change may be made again: an
object that exists, or that is gone, is no error.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

from backends.base import Capacity, Exceeded, HardwareInfo

#: What a limit counts: bytes, or inodes.
LimitKind = Literal["block", "files"]
#: The grace period of a fileset that is below its soft limits, and one that has ended.
_NO_GRACE, _EXPIRED = frozenset({"", "none"}), "expired"


@dataclass(frozen=True, slots=True)
class ScaleFileset:
    """A fileset; `path` is where it is linked, None while it is not."""

    name: str
    path: str | None


@dataclass(frozen=True, slots=True)
class LimitPair:
    """The soft and the hard limit of bytes or of inodes; None is no limit."""

    soft: int | None = None
    hard: int | None = None

    def with_hard(self, hard: int | None) -> "LimitPair":
        """Return the pair with another hard limit; a soft limit above it is left out."""
        fits = self.soft is None or hard is None or self.soft <= hard
        return LimitPair(self.soft if fits else None, hard)


@dataclass(frozen=True, slots=True)
class FilesetQuota:
    """The quota of a fileset; `by_default` is true for a limit that all filesets get."""

    used_bytes: int | None = None
    block: LimitPair = field(default_factory=LimitPair)
    by_default: bool = False
    used_inodes: int | None = None
    files: LimitPair = field(default_factory=LimitPair)
    exceeded: Exceeded | None = None

    @property
    def limit_bytes(self) -> int | None:
        """Return the hard limit of bytes."""
        return self.block.hard


def exceeded(*graces: str) -> Exceeded | None:
    """Return which limit is passed, by the grace periods of bytes and inodes in Scale's words."""
    running = [grace for grace in graces if grace.lower() not in _NO_GRACE]
    if any(grace.lower() == _EXPIRED for grace in running):
        return "hard"
    return "soft" if running else None


@dataclass(frozen=True, slots=True)
class ScaleFileSystem:
    """What a file system is set to; None is unknown.

    `block_bytes` is the unit of limits. `holds_root` is whether processes of root keep to them.
    """

    mount_point: str
    block_bytes: int
    enforced: bool | None
    per_fileset: bool
    holds_root: bool | None


@dataclass(frozen=True, slots=True)
class ScaleSnapshot:
    """A snapshot of a fileset; its number grows with each one."""

    name: str
    number: int


class FilesetNotEmpty(Exception):
    """The fileset still holds files, so it was not deleted."""


class ScaleInterface(ABC):
    """One file system of a cluster.

    Every method raises ArrayRefused when the cluster refuses, and Busy, Lost or DeadlineExceeded
    when there is no answer in time.
    """

    #: Whether `create` sets the owner and the mode of the new directory.
    sets_owner: bool = True

    @abstractmethod
    def file_system(self) -> ScaleFileSystem:
        """Return what the file system is set to."""

    @abstractmethod
    def fileset(self, name: str) -> ScaleFileset | None:
        """Return a fileset by its name."""

    @abstractmethod
    def linked_at(self, path: str) -> ScaleFileset | None:
        """Return the fileset that is linked at a path, whatever its name; reads the whole list."""

    @abstractmethod
    def create(self, name: str, path: str, owner: str) -> None:
        """Create a fileset of an owner (`uid:gid`), with the volume's options."""

    @abstractmethod
    def link(self, name: str, path: str) -> None:
        """Link a fileset at a path that does not exist."""

    @abstractmethod
    def unlink(self, name: str) -> None:
        """Take a fileset from its path; refused while files in it are open."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete an empty fileset that is not linked.

        Raises:
            FilesetNotEmpty: it holds files.
        """

    @abstractmethod
    def quota(self, name: str) -> FilesetQuota:
        """Return usage and limit of a fileset."""

    @abstractmethod
    def set_limits(
        self, name: str, kind: LimitKind, limits: LimitPair, *, per_fileset: bool
    ) -> None:
        """Set both limits of one kind of a fileset; those of the other kind stay."""

    @abstractmethod
    def has_directory(self, mount_point: str, path: str) -> bool:
        """Return whether a directory exists, by its path below the mount point of the cluster."""

    @abstractmethod
    def health(self) -> HardwareInfo:
        """Return the health of the cluster's nodes."""


class FullScaleInterface(ScaleInterface):
    """An interface that also makes snapshots, and tells sizes; errors as those of the base."""

    @abstractmethod
    def snapshots(self, fileset: str) -> list[ScaleSnapshot]:
        """Return the snapshots of a fileset, except those being deleted."""

    @abstractmethod
    def create_snapshot(self, fileset: str, name: str) -> None:
        """Make a snapshot of an independent fileset."""

    @abstractmethod
    def delete_snapshot(self, fileset: str, name: str) -> None:
        """Delete a snapshot."""

    @abstractmethod
    def capacity(self) -> Capacity:
        """Return the size and the usage of the file system's data."""
