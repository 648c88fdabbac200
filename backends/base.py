"""What every storage system must do, and the skills that only some have.

A backend is the driver of one volume. The core of the contract is `Backend`; each further skill is
a Protocol of its own, and the capabilities of a volume are *derived* from the protocols its
backend implements and from what `probe` proved. `tests/contract` proves the behaviour.

Calls may block on storage; callers give them a deadline. No call trusts a path from a request: ids
and paths arrive parsed (`core.names`) and are resolved beneath a directory descriptor.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from core.names import QuotaScope, VFolderId

#: The mode of a new vfolder when none is asked (rwxr-xr-x).
DEFAULT_MODE = 0o755


@dataclass(frozen=True, slots=True)
class Mount:
    """One configured volume: its name, the directory where it is mounted, the backend's options."""

    volume: str
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Capacity:
    """How big and how full a volume is, counted as df does; None is unknown."""

    capacity_bytes: int | None
    used_bytes: int | None


@dataclass(frozen=True, slots=True)
class QuotaUsage:
    """What a quota scope holds and may hold; None is unknown or no limit.

    `limit_bytes` is what is held to; `requested_bytes` what was asked for, before the storage
    system rounded it up; `enforced` by whom it is held: `hard` by the storage system, `soft` by us
    before we write, None where no limit is set, or an array has it and does not hold it yet.
    """

    used_bytes: int | None = None
    limit_bytes: int | None = None
    requested_bytes: int | None = None
    enforced: Literal["hard", "soft"] | None = None


class HardwareStatus(StrEnum):
    """The words the manager accepts."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    OFFLINE = "offline"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class HardwareInfo:
    """What the storage system says of its own health, as it said it when it was asked."""

    status: HardwareStatus
    status_info: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PerformanceMetric:
    """Rates per second, and microseconds per operation, over the last interval."""

    iops_read: int
    iops_write: int
    io_bytes_read: int
    io_bytes_write: int
    io_usec_read: float
    io_usec_write: float


@dataclass(frozen=True, slots=True)
class TreeUsage:
    """What a vfolder holds. `complete` is false when a deadline or an error cut the count short."""

    file_count: int
    used_bytes: int
    complete: bool = True


class Backend(ABC):
    """The small contract of every storage system."""

    #: The name in the configuration: `backend = "vfs"`.
    name: ClassVar[str]

    def __init__(self, mount: Mount) -> None:
        self.mount = mount

    @abstractmethod
    def probe(self) -> str:
        """Prove that the volume is here and usable; return an id of its file system.

        Raises:
            BackendFailed: it is not, with the reason in one sentence.
        """

    def lacking(self) -> frozenset[str]:
        """Capabilities that the class has and this volume was not found to have; asked now."""
        return frozenset()

    def proved(self) -> frozenset[str]:
        """Capabilities that no class has by itself, found by the last `probe`; asks nothing."""
        return frozenset()

    @abstractmethod
    def capacity(self) -> Capacity:
        """How big and how full the volume is."""

    @abstractmethod
    def hardware(self) -> HardwareInfo:
        """Ask the storage system how it is."""

    @abstractmethod
    def create_scope(self, scope: QuotaScope, limit_bytes: int | None = None) -> None:
        """Make a quota scope, with a limit if one is given.

        Raises:
            QuotaScopeExists: it is already there.
        """

    @abstractmethod
    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        """What the scope holds and may hold.

        Raises:
            QuotaScopeNotFound: it does not exist.
        """

    @abstractmethod
    def set_limit(self, scope: QuotaScope, limit_bytes: int) -> None:
        """Limit the scope; makes it when it is absent.

        Raises:
            InvalidParameters: the limit is not above zero.
        """

    @abstractmethod
    def unset_limit(self, scope: QuotaScope) -> None:
        """Take the limit away; nothing to take is success.

        Raises:
            QuotaScopeNotFound: it does not exist.
        """

    @abstractmethod
    def delete_scope(self, scope: QuotaScope) -> None:
        """Remove an empty scope.

        Raises:
            QuotaScopeNotFound: it does not exist.
            QuotaScopeNotEmpty: vfolders are inside.
        """

    @abstractmethod
    def create_vfolder(self, vfolder: VFolderId, mode: int = DEFAULT_MODE) -> None:
        """Make an empty vfolder in an existing scope.

        Raises:
            QuotaScopeNotFound: the scope does not exist.
            VFolderExists: it is already there.
        """

    @abstractmethod
    @contextmanager
    def open_vfolder(self, vfolder: VFolderId) -> Iterator[int]:
        """A directory descriptor of the vfolder's root, closed at the end.

        Raises:
            VFolderNotFound: it does not exist.
        """
        yield -1

    @abstractmethod
    def vfolder_path(self, vfolder: VFolderId) -> Path:
        """The absolute path as agents mount it; says nothing of existence."""


@runtime_checkable
class HasQuota(Protocol):
    """Backends whose storage system enforces a limit per quota scope."""

    def enforces_quota(self) -> bool:
        """Whether enforcement is on, asked now and at the cost of a call; False when unknown."""

    def effective_limit(self, limit_bytes: int) -> int:
        """What a limit becomes: rounded up to what the storage system can hold to.

        At the very end of the numbers it is rounded down, since there is nothing above.
        """


@runtime_checkable
class HasMetric(Protocol):
    """Backends that know their speed."""

    def performance(self) -> PerformanceMetric:
        """Rates over the last interval."""


@runtime_checkable
class HasFastUsage(Protocol):
    """Backends that know what a vfolder holds without a walk."""

    def fast_usage(self, vfolder: VFolderId) -> TreeUsage:
        """Files and bytes of a vfolder, at the cost of one call."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One vfolder as it was at a moment, kept by the storage system; `created_at` in UTC."""

    name: str
    created_at: datetime | None = None


@runtime_checkable
class HasSnapshots(Protocol):
    """Backends whose storage system keeps a vfolder as it was, at once and whatever its size.

    Names are checked by `snapshots.check_name`. Each act is whole or has not happened; one that
    died is simply done again.
    """

    def create_snapshot(self, vfolder: VFolderId, name: str) -> Snapshot:
        """Keep the vfolder as it is now; what was written but not synced yet is in it too.

        Raises:
            VFolderNotFound: it does not exist.
            SnapshotExists: it has one of that name.
            InvalidName: the name is not allowed.
        """

    def list_snapshots(self, vfolder: VFolderId) -> list[Snapshot]:
        """All that are kept of a vfolder, oldest first; also of one that exists no more.

        Those that an administrator made are among them where the storage system shows them.
        """

    def delete_snapshot(self, vfolder: VFolderId, name: str) -> None:
        """Let go of one.

        Raises:
            SnapshotNotFound: there is none of that name.
        """

    def open_snapshot(self, vfolder: VFolderId, name: str) -> AbstractContextManager[int]:
        """A directory descriptor of the tree as it was; nothing can be written below it.

        Raises:
            SnapshotNotFound: there is none of that name.
        """


@runtime_checkable
class HasFastCapacity(Protocol):
    """Backends that ask the array, not the mount, for capacity."""

    def array_capacity(self) -> Capacity:
        """The array's own figures."""


@runtime_checkable
class HasRoot(Protocol):
    """Backends whose volume is a mounted directory."""

    def root(self) -> AbstractContextManager[int]:
        """A directory descriptor of the volume."""
