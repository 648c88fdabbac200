"""cephfs: limits and usage by extended attributes of directories (CephFS: quotas, client mounts).

Usage is added up by the cluster itself (`rbytes`, `rentries`), lazily: a moment after the client
that wrote has told it. Clients hold the limits, and notice a little late. Needs a client whose MDS
capability has `p` (to set limits) and, to remove snapshots, `s`.
"""

import errno
import os
from contextlib import suppress
from typing import ClassVar

from backends import ceph_status
from backends.base import HardwareInfo, PerformanceMetric, TreeUsage
from backends.native_quota import Held, NativeQuotaBackend
from core.errors import BackendFailed, Unsupported
from core.names import QuotaScope, VFolderId

_LIMIT = "ceph.quota.max_bytes"
_BYTES = "ceph.dir.rbytes"
_ENTRIES = "ceph.dir.rentries"
_SNAPSHOTS = "ceph.dir.rsnaps"
#: Writing 0 takes a limit away; removing the attribute is refused (ENODATA).
_NO_LIMIT = b"0"
_SNAPSHOT_ROOM = ".snap"
#: Snapshots of a directory above are shown below with this in front.
_INHERITED = "_"
#: Every directory is counted.
_ALWAYS = 1


class CephFsBackend(NativeQuotaBackend):
    """CephFS, mounted by the kernel or by ceph-fuse."""

    name: ClassVar[str] = "cephfs"

    def probe(self) -> str:
        """See `Backend.probe`: also that the cluster adds up directories here."""
        found = super().probe()
        if not self.enforces_quota():
            raise BackendFailed(f"Volume {self.mount.volume} is no CephFS.")
        return found

    def enforces_quota(self) -> bool:
        """See `HasQuota.enforces_quota`."""
        with suppress(BackendFailed, OSError), self.root() as root:
            os.getxattr(root, _BYTES)
            return True
        return False

    def hardware(self) -> HardwareInfo:
        """See `Backend.hardware`: the cluster's own health, or the probe where it is not to be had.

        Costs a run of the program `ceph`.
        """
        try:
            return ceph_status.hardware(ceph_status.ask(self.mount.options, "status"))
        except Unsupported:
            return super().hardware()

    def performance(self) -> PerformanceMetric:
        """See `HasMetric.performance`; the whole cluster's."""
        return ceph_status.performance(
            ceph_status.ask(self.mount.options, "status"),
            ceph_status.ask(self.mount.options, "osd", "perf"),
        )

    def fast_usage(self, vfolder: VFolderId) -> TreeUsage:
        """See `HasFastUsage.fast_usage`: every entry below; holes of sparse files count in full."""
        with self.open_vfolder(vfolder) as top:
            entries = int(os.getxattr(top, _ENTRIES)) - 1  # it counts itself
            return TreeUsage(file_count=entries, used_bytes=int(os.getxattr(top, _BYTES)))

    def before_purge(self, parent: int, name: str) -> None:
        """See `PosixBackend.before_purge`: a directory with snapshots cannot be removed."""
        top = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            _drop_snapshots(top)
        finally:
            os.close(top)

    def _granule(self) -> int:
        return 1

    def _counter(self, directory: int) -> int:
        del directory
        return _ALWAYS

    def _give(self, directory: int, scope: QuotaScope) -> int:
        del directory, scope
        return _ALWAYS

    def _take_over(self, directory: int, scope: QuotaScope) -> int:
        del directory, scope
        return _ALWAYS

    def _held(self, directory: int, counter: int) -> Held:
        del counter
        used = int(os.getxattr(directory, _BYTES))
        try:
            return Held(used, int(os.getxattr(directory, _LIMIT)) or None)
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
            return Held(used, None)

    def _hold(self, root: int, directory: int, counter: int, limit_bytes: int | None) -> None:
        del root, counter
        os.setxattr(directory, _LIMIT, _NO_LIMIT if limit_bytes is None else b"%d" % limit_bytes)


def _drop_snapshots(directory: int) -> None:
    """Remove every snapshot of a tree; where the cluster counts none nothing is looked at."""
    if not int(os.getxattr(directory, _SNAPSHOTS)):
        return
    room = os.open(_SNAPSHOT_ROOM, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
    try:
        for name in os.listdir(room):
            if not name.startswith(_INHERITED):
                os.rmdir(name, dir_fd=room)
    finally:
        os.close(room)
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
