"""The contract of every storage system, and the skills that only some of them have.

A backend is the driver of one volume. `Backend` is what every storage system does. `MountedBackend`
adds what a mounted directory offers; all jobs and uploads need it. Each further skill is a protocol
(`HasQuota`, `HasSnapshots` …). The capabilities of a volume are *derived* from these protocols and
from what `probe` proved. `contract/` proves the behaviour; docs/writing-a-backend.md tells how.

Ask for a skill with `backend.skill(HasQuota)`, never with `isinstance`: a wrapper
(`backends.volumes.wrappers`) has the skills of the backend that it wraps.

Calls may block on storage; callers give them a deadline. No call trusts a path from a request: ids
and paths arrive parsed (`core.names`) and are resolved beneath a directory descriptor.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, Protocol, TypeVar, cast, runtime_checkable

from msgspec import Struct

from core.names import QuotaScope, VFolderId, VFolderPath

S = TypeVar("S")
#: Who enforces a limit: the storage system (`hard`), also of a process with root's rights or not of
#: one (`not for root`), this service (`soft`), nothing (`off`), or what could not be asked.
Enforcement = Literal["hard", "soft", "not for root", "off", "unknown"]
#: Which limit a quota scope has passed: the soft one, or one that makes the storage system refuse.
Exceeded = Literal["soft", "hard"]
#: The mode of a new vfolder when the request names none (rwxr-xr-x).
DEFAULT_MODE = 0o755


class MountIdentity(Protocol):
    """Tells the volume from whatever else its path may lead to (`backends.volumes.identity`)."""

    def check(self, root: int) -> None:
        """Check the descriptor of a top that was just opened; costs one system call.

        Raises:
            VolumeUnavailable: it is not the volume.
            OSError: the file system failed.
        """

    def is_proved(self, facts: tuple[int, int, int]) -> bool:
        """Return whether `check` passes at once: device, inode, time of change of a marker."""

    def prove(self, root: int) -> None:
        """Check it again from the beginning, and ask the store, as every proof of a mount does."""


class Owner(StrEnum):
    """Who owns what this service creates in a vfolder for a caller."""

    #: The user of the process, as of any file that it makes.
    SERVICE = "service"
    #: The owner of the directory that the entry is in, where the process may give files away.
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class Mount:
    """One configured volume: its name, the directory where it is mounted, the backend's options.

    Without an `identity` every directory at `path` is taken for the volume. `owner` is who owns new
    entries. With `keeps_attributes` a file that an upload replaces leaves it its attributes. With
    `read_only` the backend changes nothing, neither on the mount nor on the storage system, also
    when it proves something: what only a change proves is then unknown, or lacking.
    """

    volume: str
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    identity: MountIdentity | None = None
    owner: Owner = Owner.SERVICE
    keeps_attributes: bool = True
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Capacity:
    """Size and usage of a volume, counted as df(1) does; None is unknown.

    `inodes` is None, too, where the file system makes them as it needs them (btrfs, CephFS).
    """

    capacity_bytes: int | None
    used_bytes: int | None
    inodes: int | None = None
    used_inodes: int | None = None


@dataclass(frozen=True, slots=True)
class QuotaUsage:
    """What a quota scope holds and may hold; None is unknown, or no limit.

    `limit_bytes` is the limit that is enforced. `requested_bytes` is the limit of the request,
    before the storage system rounded it up. `enforced` names who enforces it. It is None where no
    limit is set, or where an array has a limit and does not enforce it yet.

    `soft_limit_bytes` is a limit of the storage system that a scope may pass for a while. An inode
    is a file, a directory or any other entry. `exceeded` is what the storage system itself says of
    the scope: None is neither, or unknown.
    """

    used_bytes: int | None = None
    limit_bytes: int | None = None
    requested_bytes: int | None = None
    enforced: Enforcement | None = None
    soft_limit_bytes: int | None = None
    used_inodes: int | None = None
    limit_inodes: int | None = None
    exceeded: Exceeded | None = None


class HardwareStatus(StrEnum):
    """The states that the manager accepts."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    OFFLINE = "offline"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class HardwareInfo:
    """What the storage system reports about its own health at the moment of the call."""

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
    """What a vfolder holds, without its root.

    `file_count` counts every entry below the root: files, directories, links and others. It is None
    where the storage system counts bytes only; a walk counts the entries then.
    `used_bytes` is the sum of the lengths of files; a file with several hard links counts once.
    `complete` is false when the storage system cannot say, or when the count was cut short. A walk
    counts instead.
    """

    file_count: int | None
    used_bytes: int
    complete: bool = True


# -- Every storage system --------------------------------------------------------------------------
class Backend(ABC):
    """The contract of every storage system."""

    #: The name in the configuration: `backend = "vfs"`.
    name: ClassVar[str]
    #: The options of a volume, with their types. They are checked before the backend is made. A
    #: subclass does not inherit it: it names a type of its own.
    options_type: ClassVar[type[Struct] | None] = None

    def __init__(self, mount: Mount) -> None:
        self.mount = mount

    def skill(self, kind: type[S]) -> S | None:
        """Return this backend as one with a further skill; None when it does not have it.

        Looks at the class only: asks no storage system, and costs less than a microsecond. See
        `lacking` for what this volume cannot do although its class can.
        """
        return cast("S", self) if implements(type(self), kind) else None

    @abstractmethod
    def probe(self) -> str:
        """Prove that the volume is mounted and usable; return an id of its file system.

        Raises:
            BackendFailed: it is not usable; the detail gives the reason in one sentence.
        """

    def lacking(self) -> frozenset[str]:
        """Return the capabilities that the class has and this volume lacks; asks the storage."""
        return frozenset()

    def proved(self) -> frozenset[str]:
        """Return the capabilities that no class has, found by the last `probe`; asks nothing."""
        return frozenset()

    @abstractmethod
    def capacity(self) -> Capacity:
        """Return the size and the usage of the volume."""

    @abstractmethod
    def hardware(self) -> HardwareInfo:
        """Ask the storage system for its health; a failure is a status, never raised."""

    @abstractmethod
    def create_scope(self, scope: QuotaScope, limit_bytes: int | None = None) -> None:
        """Create a quota scope, with a limit if one is given.

        Raises:
            QuotaScopeExists: the scope exists.
            InvalidParameters: the limit is not above zero.
        """

    @abstractmethod
    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        """Return what the scope holds and may hold.

        Raises:
            QuotaScopeNotFound: the scope does not exist.
        """

    @abstractmethod
    def set_limit(self, scope: QuotaScope, limit_bytes: int) -> None:
        """Limit the scope; create it when it does not exist.

        Raises:
            InvalidParameters: the limit is not above zero.
        """

    @abstractmethod
    def unset_limit(self, scope: QuotaScope) -> None:
        """Remove the limit; a scope without a limit is a success.

        Raises:
            QuotaScopeNotFound: the scope does not exist.
        """

    @abstractmethod
    def delete_scope(self, scope: QuotaScope) -> None:
        """Delete an empty scope.

        Raises:
            QuotaScopeNotFound: the scope does not exist.
            QuotaScopeNotEmpty: it holds vfolders.
        """

    @abstractmethod
    def create_vfolder(self, vfolder: VFolderId, mode: int = DEFAULT_MODE) -> None:
        """Create an empty vfolder in an existing scope.

        Raises:
            QuotaScopeNotFound: the scope does not exist.
            VFolderExists: the vfolder exists.
        """

    @abstractmethod
    def open_vfolder(self, vfolder: VFolderId) -> AbstractContextManager[int]:
        """Open the vfolder's root as a directory descriptor; the context closes it.

        Raises:
            VFolderNotFound: the vfolder does not exist.
        """

    def check_vfolder(self, vfolder: VFolderId) -> None:
        """Check that a vfolder exists, also where it has no directory to open.

        Raises:
            VFolderNotFound: it does not exist.
        """
        with self.open_vfolder(vfolder):
            return

    @abstractmethod
    def vfolder_path(self, vfolder: VFolderId) -> Path:
        """Return the absolute path as agents mount it; does not check that it exists."""


class MountedBackend(Backend):
    """The contract of a volume that is a mounted directory.

    Jobs, uploads, metadata and upkeep work below its root with the file system's own calls.
    `backends.mounted.PosixBackend` implements all of it with plain directories; inherit from that
    or from one of its relatives rather than from this class.
    """

    @abstractmethod
    def root(self) -> AbstractContextManager[int]:
        """Open the volume as a directory descriptor; the context closes it.

        Opens it again for each call, so that a remount is seen, and checks the identity of the
        mount. All work is done beneath this descriptor, never by a path. Inside `held` it opens
        the directory that is held.

        Raises:
            VolumeUnavailable: the directory does not exist, or is not the volume.
            StorageError: the directory cannot be opened.
        """

    def held(self) -> AbstractContextManager[None]:
        """Keep the volume open: until the end of the context, `root` opens this very directory.

        A job does so. If its volume is unmounted (`umount -l`) or mounted again meanwhile, all of
        the job stays on one mount. For one thread at a time, and a backend of its own.

        Raises:
            VolumeUnavailable, StorageError: as `root`.
        """
        return self._held_open()

    @contextmanager
    def _held_open(self) -> Iterator[None]:
        with self.root():
            yield

    @abstractmethod
    def open_scope(self, scope: QuotaScope | None) -> AbstractContextManager[int]:
        """Open a quota scope as a directory descriptor; None is the legacy scope, the volume.

        Raises:
            QuotaScopeNotFound: the scope does not exist.
        """

    @abstractmethod
    def reflinks(self) -> bool:
        """Return whether files can share blocks (FICLONE), from the last probe or from a test."""

    def before_purge(self, parent: int, name: str, vfolder: VFolderId | None = None) -> None:
        """Do what the storage system needs before a tree in the trash can be removed: nothing.

        Args:
            parent: descriptor of the trash directory.
            name: the tree's name in it.
            vfolder: which vfolder the tree was, where that is known. Its snapshots are deleted too,
                unless a vfolder of the same id was created since.
        """


# -- Skills ----------------------------------------------------------------------------------------
@runtime_checkable
class HasQuota(Protocol):
    """A storage system that enforces a limit per quota scope."""

    def enforces_quota(self) -> bool:
        """Ask whether limits are enforced now; False when unknown. Costs a call to the storage."""

    def effective_limit(self, limit_bytes: int) -> int:
        """Return the limit rounded up to what the storage system can enforce.

        The largest limits are rounded down, since there is nothing above them.
        """


@runtime_checkable
class HasInodeLimits(Protocol):
    """A storage system that limits how many inodes a quota scope has."""

    def set_inode_limit(self, scope: QuotaScope, limit_inodes: int | None) -> None:
        """Limit the inodes of a scope, or remove that limit; other limits stay as they are.

        Raises:
            QuotaScopeNotFound: the scope does not exist.
            InvalidParameters: the limit is not above zero.
            Conflict: the storage system cannot limit this scope.
        """


@runtime_checkable
class HasSoftLimits(Protocol):
    """A storage system with a second limit of bytes, which a scope may pass for a while."""

    def set_soft_limit(self, scope: QuotaScope, limit_bytes: int | None) -> None:
        """Set the soft limit of a scope, or remove it; other limits stay as they are.

        Raises:
            QuotaScopeNotFound: the scope does not exist.
            InvalidParameters: the limit is not above zero, or above the limit of bytes.
            Conflict: the storage system cannot limit this scope.
        """


@runtime_checkable
class HasAdoption(Protocol):
    """A storage system that can put an existing tree under a limit."""

    def adopt_scope(
        self, scope: QuotaScope, limit_bytes: int, seen: Callable[[], None] = ...
    ) -> None:
        """Count everything that a scope holds, then limit it; continues an interrupted adoption.

        Args:
            scope: the scope.
            limit_bytes: its new limit.
            seen: called for each entry of the tree; it may raise to stop. Other changes of the
                volume's scopes do not wait meanwhile.

        Raises:
            QuotaScopeNotFound: the scope does not exist.
            Conflict: the storage system cannot count this tree.
        """


@runtime_checkable
class HasMetric(Protocol):
    """A storage system that reports its own speed."""

    def performance(self) -> PerformanceMetric:
        """Return the rates over the last interval."""


@runtime_checkable
class HasFastUsage(Protocol):
    """A storage system that knows what a vfolder holds without a walk."""

    def fast_usage(self, vfolder: VFolderId) -> TreeUsage:
        """Return entries and bytes of a vfolder, at the cost of one call.

        Raises:
            VFolderNotFound: the vfolder does not exist.
            BackendFailed: the storage system failed; the request of the caller fails with it.
        """


@runtime_checkable
class HasFastCapacity(Protocol):
    """A storage system that reports its capacity itself, in place of the mount."""

    def array_capacity(self) -> Capacity:
        """Return the array's own figures."""


@runtime_checkable
class HasTreeClone(Protocol):
    """A storage system that clones a directory by one call, however big the directory is."""

    def clone_tree(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Make a directory that equals another one at this moment, and shares its blocks.

        The paths are below the volume, and the source may be in a snapshot. The directory above the
        target exists, the target does not. The mount shows the complete target at the end, with all
        attributes. A clone that was interrupted may leave a part of the target; the caller removes
        that and calls again.

        Raises:
            Unsupported: these two cannot be cloned; nothing was made, and the caller copies.
            BackendFailed: the storage system failed.
        """


@runtime_checkable
class HasFileClone(Protocol):
    """A storage system that clones single files by a call each, whatever their length."""

    def clone_file(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Make a file with the content of another one, and share its blocks.

        The paths are below the volume, and the source may be in a snapshot. The directory above the
        target exists, the target does not; one that is made meanwhile is never replaced. The mount
        shows the target with its content at the end. Its attributes may be any: the caller sets
        them.

        Raises:
            Unsupported: these two cannot be cloned; nothing was made, and the caller copies.
            BackendFailed: the storage system failed.
        """


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One vfolder at a past moment, kept by the storage system; `created_at` in UTC."""

    name: str
    created_at: datetime | None = None


@runtime_checkable
class HasSnapshots(Protocol):
    """A storage system that keeps the state of a vfolder at once, whatever its size.

    Names are checked by `backends.retention.check_name`. Each call takes effect completely or not
    at all; a call that was interrupted is simply made again.
    """

    def create_snapshot(self, vfolder: VFolderId, name: str) -> Snapshot:
        """Keep the present state; written data that is not synced yet is included.

        Raises:
            VFolderNotFound: the vfolder does not exist.
            SnapshotExists: it has a snapshot of this name.
            InvalidName: the name is not allowed.
        """

    def list_snapshots(self, vfolder: VFolderId) -> list[Snapshot]:
        """Return all snapshots of a vfolder, oldest first; also of a vfolder that was deleted.

        Snapshots that an administrator made are included where the storage system shows them.
        """

    def delete_snapshot(self, vfolder: VFolderId, name: str) -> None:
        """Delete one snapshot.

        Raises:
            SnapshotNotFound: there is none of this name.
        """

    def open_snapshot(self, vfolder: VFolderId, name: str) -> AbstractContextManager[int]:
        """Open the kept tree as a directory descriptor; it is read-only.

        Raises:
            SnapshotNotFound: there is none of this name.
        """


@runtime_checkable
class HasObjectFiles(Protocol):
    """A storage system that keeps files as objects: a complete upload is sent, not renamed."""

    def send_file(
        self,
        vfolder: VFolderId,
        path: VFolderPath,
        descriptor: int,
        size_bytes: int,
        *,
        upload: str,
        on_work: Callable[[int], object],
        absent: bool = False,
    ) -> None:
        """Write a file of a vfolder from the first bytes of an open one.

        An older file is replaced at once; with `absent`, nothing is done where an entry has the
        path. The object keeps the id of the `upload`. `on_work` is called after so many bytes; it
        may raise to stop.

        Raises:
            VFolderNotFound: the vfolder does not exist.
            EntryExists, EntryRefused: a directory has the path; a file is above it.
        """

    def file_size(self, vfolder: VFolderId, path: VFolderPath) -> int:
        """Return the bytes of a file; 0 where there is none."""

    def check_file(self, vfolder: VFolderId, path: VFolderPath) -> None:
        """Check, before any byte is accepted, that an object may have the path of a file.

        Raises:
            InvalidParameters: the path is too long for a key, or is no text in UTF-8.
        """

    def sent_by(self, vfolder: VFolderId, path: VFolderPath) -> str | None:
        """Return the id of the upload that wrote a file; None without one."""


# -- Capabilities ----------------------------------------------------------------------------------
#: The capability names (those of the wire, and ours) and the protocol of each.
CAPABILITIES: dict[str, type] = {
    "quota": HasQuota,
    "metric": HasMetric,
    "fast-fs-size": HasFastCapacity,
    "fast-size": HasFastUsage,
    "snapshot": HasSnapshots,
    "inode-limit": HasInodeLimits,
    "soft-limit": HasSoftLimits,
    "instant-clone": HasTreeClone,
    "file-clone": HasFileClone,
}


def capabilities(backend: Backend) -> list[str]:
    """Return what a volume can do: `vfolder`, which all can, and the name of each of its skills.

    Capabilities that the volume was not found to have are left out. `reflink`, and `metric` of a
    class without figures of its own, belong to a mount: they are named once a probe found them.
    """
    lacking = backend.lacking()
    possible = possible_capabilities(backend)
    named = [name for name in possible if name not in lacking]
    return [*named, *sorted(backend.proved().difference(possible))]


def possible_capabilities(backend: Backend) -> list[str]:
    """Return what the backend's class can do, for callers that cannot wait for the volume."""
    return ["vfolder", *sorted(n for n, kind in CAPABILITIES.items() if backend.skill(kind))]


def implements(kind: type, skill: type) -> bool:
    """Return whether a class has a skill."""
    return _implements(kind, skill)


@cache
def _implements(kind: type, skill: type) -> bool:
    """Cached: a check of a protocol costs microseconds, and uploads make one for each piece."""
    return issubclass(kind, skill)
