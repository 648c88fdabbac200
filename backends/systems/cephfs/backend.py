"""cephfs: limits and usage by extended attributes of directories (CephFS: quotas, client mounts).

The cluster itself adds up usage (`rbytes`, `rentries`), shortly after the writing client has
reported it. Clients enforce the limits, a little late. Needs a client whose MDS capability has `p`
(to set limits) and, to remove snapshots, `s`.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar

from msgspec import Struct

from backends.base import (
    HardwareInfo,
    HardwareStatus,
    Mount,
    PerformanceMetric,
    Snapshot,
    TreeUsage,
)
from backends.fs import descriptors, layout
from backends.mounted import MountedOptions, NativeQuotaBackend, NativeUsage
from backends.retention import SnapshotExists, SnapshotNotFound, check_name
from backends.systems.cephfs import status
from core.errors import (
    AccessRefused,
    BackendFailed,
    StorageError,
    Unsupported,
    VFolderNotFound,
)
from core.names import QuotaScope, VFolderId, utc

_LIMIT = "ceph.quota.max_bytes"
_BYTES = "ceph.dir.rbytes"
_ENTRIES = "ceph.dir.rentries"
_SNAPSHOTS = "ceph.dir.rsnaps"
#: Writing 0 removes a limit; removing the attribute fails (ENODATA).
_NO_LIMIT = b"0"
_SNAPSHOT_ROOM = ".snap"
_BORN = "ceph.snap.btime"
#: Prefix of the names of a parent's snapshots in the directories below it.
_INHERITED = "_"
#: Every directory is counted.
_ALWAYS = 1


class CephFsOptions(MountedOptions, frozen=True, kw_only=True):
    """Options of a volume on CephFS: arguments of the program `ceph`."""

    ceph_conf: str | None = None
    ceph_user: str | None = None
    ceph_keyring: str | None = None


class CephFsBackend(NativeQuotaBackend):
    """CephFS, mounted by the kernel or by ceph-fuse."""

    name: ClassVar[str] = "cephfs"
    options_type: ClassVar[type[Struct] | None] = CephFsOptions
    rights: ClassVar[str] = "the MDS capability of its client needs `p` (allow rwp)"

    def __init__(self, mount: Mount) -> None:
        super().__init__(mount)
        self._proved: set[str] = set()

    def _check_mount(self, root: int) -> None:
        """Check that the cluster adds up directories here."""
        if not _adds_up(root):
            raise BackendFailed(f"Volume {self.mount.volume} is no CephFS.")

    def enforces_quota(self) -> bool:
        """See `HasQuota.enforces_quota`."""
        with suppress(StorageError), self.root() as root:
            return _adds_up(root)
        return False

    def lacking(self) -> frozenset[str]:
        """See `Backend.lacking`; a result is kept and not tried again."""
        proofs = {"quota": self._may_limit, "snapshot": self._may_keep, "metric": self._is_told}
        if self.mount.read_only:  # the others are proved by a change
            return frozenset({"quota", "snapshot"} if self._is_told() else proofs)
        for skill, proof in proofs.items():
            if skill not in self._proved and proof():
                self._proved.add(skill)
        held = frozenset() if self.enforces_quota() else frozenset({"quota"})
        return held | (frozenset(proofs) - self._proved)

    def _may_limit(self) -> bool:
        """Return whether the client may set limits; tried on a directory without a limit."""
        with suppress(StorageError, OSError), self._own_room() as room:
            os.setxattr(room, _LIMIT, _NO_LIMIT)
            return True
        return False

    def _may_keep(self) -> bool:
        """Return whether the client may make snapshots; tried on an empty directory."""
        name = f"proof-{os.getpid()}-{threading.get_native_id()}"
        with (
            suppress(StorageError, OSError),
            self._own_room() as room,
            _snapshots(room) as snapshots,
        ):
            os.mkdir(name, dir_fd=snapshots)
            os.rmdir(name, dir_fd=snapshots)
            return True
        return False

    def _is_told(self) -> bool:
        """Return whether this node can read the status of the cluster."""
        with suppress(StorageError):
            status.ask(self.mount.options, "status")
            return True
        return False

    @contextmanager
    def _own_room(self) -> Iterator[int]:
        place = layout.area(None, layout.MAKING)
        with self.root() as root, descriptors.made(place, root, descriptors.HIDDEN_MODE) as room:
            yield room

    def hardware(self) -> HardwareInfo:
        """See `Backend.hardware`: the cluster's own health.

        Falls back to the probe where that is not available. Costs a run of the program `ceph`.
        """
        mounted = super().hardware()
        if mounted.status != HardwareStatus.HEALTHY:
            return mounted
        try:
            return status.hardware(status.ask(self.mount.options, "status"))
        except Unsupported:
            return mounted

    def performance(self) -> PerformanceMetric:
        """See `HasMetric.performance`; the whole cluster's."""
        return status.performance(
            status.ask(self.mount.options, "status"),
            status.ask(self.mount.options, "osd", "perf"),
        )

    def fast_usage(self, vfolder: VFolderId) -> TreeUsage:
        """See `HasFastUsage.fast_usage`: every entry below; holes of sparse files count in full."""
        with self.open_vfolder(vfolder) as top:
            entries = int(os.getxattr(top, _ENTRIES)) - 1  # `rentries` counts the directory itself
            return TreeUsage(file_count=entries, used_bytes=int(os.getxattr(top, _BYTES)))

    def snapshots_stay_with_directory(self) -> bool:
        """See `SnapshotsInDirectory`."""
        return True

    def create_snapshot(self, vfolder: VFolderId, name: str) -> Snapshot:
        """See `HasSnapshots.create_snapshot`."""
        check_name(name)
        with self.open_vfolder(vfolder) as top, _snapshots(top) as room, self._allowed():
            try:
                os.mkdir(name, dir_fd=room)
            except FileExistsError:
                raise SnapshotExists(
                    f"The vfolder {vfolder} has a snapshot {name} already."
                ) from None
            return _told(room, name)

    def list_snapshots(self, vfolder: VFolderId) -> list[Snapshot]:
        """See `HasSnapshots.list_snapshots`; snapshots of parent directories are not listed."""
        try:
            with self.open_vfolder(vfolder) as top, _snapshots(top) as room:
                output = [_told(room, name) for name in _own(room)]
        except VFolderNotFound:
            return []
        return sorted(output, key=lambda one: (one.created_at is None, one.created_at, one.name))

    def delete_snapshot(self, vfolder: VFolderId, name: str) -> None:
        """See `HasSnapshots.delete_snapshot`."""
        check_name(name)
        with self._snapshot_room(vfolder, name) as room, self._allowed():
            try:
                os.rmdir(name, dir_fd=room)
            except FileNotFoundError:
                raise _absent(vfolder, name) from None

    @contextmanager
    def open_snapshot(self, vfolder: VFolderId, name: str) -> Iterator[int]:
        """See `HasSnapshots.open_snapshot`."""
        check_name(name)
        with self._snapshot_room(vfolder, name) as room:
            try:
                top = descriptors.open_directory(name, room)
            except FileNotFoundError:
                raise _absent(vfolder, name) from None
            try:
                yield top
            finally:
                os.close(top)

    @contextmanager
    def _snapshot_room(self, vfolder: VFolderId, name: str) -> Iterator[int]:
        try:
            with self.open_vfolder(vfolder) as top, _snapshots(top) as room:
                yield room
        except VFolderNotFound:
            raise _absent(vfolder, name) from None

    @contextmanager
    def _allowed(self) -> Iterator[None]:
        """Raise the error for a client that may not make snapshots."""
        try:
            yield
        except PermissionError:
            raise AccessRefused(
                f"The client of volume {self.mount.volume} may not make snapshots; its MDS "
                "capability needs `s`, and the file system allow_new_snaps.",
            ) from None

    def before_purge(self, parent: int, name: str, vfolder: VFolderId | None = None) -> None:
        """See `MountedBackend.before_purge`: a directory with snapshots cannot be removed."""
        del vfolder
        with self._allowed(), descriptors.opened(name, parent) as top:
            _drop_snapshots(top)

    def _limit_unit(self) -> int:
        return 1

    def _counter_of(self, directory: int) -> int:
        del directory
        return _ALWAYS

    def _start_counting(self, directory: int, scope: QuotaScope) -> int:
        del directory, scope
        return _ALWAYS

    def _adopt_tree(self, directory: int, scope: QuotaScope, seen: Callable[[], None]) -> None:
        """Do nothing: the cluster counts every directory already."""

    def _usage(self, directory: int, counter: int) -> NativeUsage:
        del counter
        used = int(os.getxattr(directory, _BYTES))
        try:
            return NativeUsage(used, int(os.getxattr(directory, _LIMIT)) or None)
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
            return NativeUsage(used, None)

    def _apply_limit(
        self, root: int, directory: int, counter: int, limit_bytes: int | None
    ) -> None:
        del root, counter
        os.setxattr(directory, _LIMIT, _NO_LIMIT if limit_bytes is None else b"%d" % limit_bytes)


@contextmanager
def _snapshots(directory: int) -> Iterator[int]:
    with descriptors.opened(_SNAPSHOT_ROOM, directory) as room:
        yield room


def _own(room: int) -> list[str]:
    return [name for name in os.listdir(room) if not name.startswith(_INHERITED)]


def _told(room: int, name: str) -> Snapshot:
    with descriptors.opened(name, room) as top:
        try:
            seconds = float(os.getxattr(top, _BORN))
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
                raise
            return Snapshot(name)
    return Snapshot(name, utc(seconds))


def _absent(vfolder: VFolderId, name: str) -> SnapshotNotFound:
    return SnapshotNotFound(f"The vfolder {vfolder} has no snapshot {name}.")


def _drop_snapshots(directory: int) -> None:
    """Remove every snapshot of a tree; without counted snapshots there is nothing to search."""
    if not int(os.getxattr(directory, _SNAPSHOTS)):
        return
    with _snapshots(directory) as room:
        for name in _own(room):
            os.rmdir(name, dir_fd=room)
    for name in os.listdir(directory):
        try:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        except (NotADirectoryError, FileNotFoundError):
            continue
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            continue
        try:
            _drop_snapshots(below)
        finally:
            os.close(below)


def _adds_up(directory: int) -> bool:
    """Return whether a directory has the sum of its files, as every one of CephFS has."""
    try:
        os.getxattr(directory, _BYTES)
    except OSError:
        return False
    return True
