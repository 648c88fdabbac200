"""purestorage: the backend."""

import errno
import hashlib
import os
from base64 import b32encode
from pathlib import Path, PurePosixPath
from typing import ClassVar
from uuid import uuid4

from backends.base import (
    Capacity,
    HardwareInfo,
    HardwareStatus,
    Mount,
    PerformanceMetric,
    TreeUsage,
)
from backends.fs import descriptors
from backends.mounted.rest import options_of
from backends.retention import VolumeSnapshotSkill, read_plain, spelled_plainly
from backends.systems.purestorage.api import Alert, ArraySpace, Blade, PureApi, PureOptions
from backends.systems.purestorage.rapidfile import RapidFile
from backends.systems.purestorage.snapshots import DIRECTORY, SUFFIX_MAX, PureSnapshots
from core.errors import BackendFailed, StorageError
from core.names import VFolderId
from core.telemetry import logger

#: The array removes everything that is moved into this directory at the file system's top.
FAST_REMOVE = ".fast-remove"
#: The array does not offer it here: it is switched off, or this is another mount.
_NOT_TAKEN = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EXDEV, errno.EACCES, errno.EPERM})
_DIGEST_BYTES = 10
#: Ends every suffix that this service makes.
_END = "e"
#: How long a name may be in a suffix, after `v-`, 16 characters and `-`.
_NAME_MAX = SUFFIX_MAX - 19 - len(_END)
_log = logger(__name__)
_CRITICAL, _WARNING = "critical", "warning"
_WELL = frozenset({"healthy", "unused", "evacuating"})


class PureStorageBackend(VolumeSnapshotSkill):
    """FlashBlade: snapshots, capacity and rates of the file system; it deletes trees by itself."""

    name: ClassVar[str] = "purestorage"

    def __init__(self, mount: Mount) -> None:
        options = options_of(mount, PureOptions)
        super().__init__(mount, options.deadline_seconds)
        self._api = PureApi(options)
        self._rapidfile = RapidFile(options.rapidfile_dir)
        self._fast_remove = options.use_fast_remove
        self._rapidfile_remove = options.rapidfile_remove
        self._file_system = options.purity_fs_name
        self._attribute_seconds = options.purity_attribute_seconds
        self._snapshots = PureSnapshots(self._api, self._file_system)

    def lacking(self) -> frozenset[str]:
        """See `Backend.lacking`: what needs the RapidFile Toolkit, or snapshots at the mount."""
        lacking = set()
        try:
            if not self._rapidfile.found():
                lacking.add("fast-size")
        except BackendFailed:
            lacking.add("fast-size")
        try:
            with self.root() as root:
                if not descriptors.exists(PurePosixPath(DIRECTORY), root):
                    lacking.add("snapshot")
        except StorageError:
            lacking.add("snapshot")
        return frozenset(lacking)

    def array_capacity(self) -> Capacity:
        """See `HasFastCapacity.array_capacity`: as provisioned.

        Without a provisioned size, that of the array. Both are counted before data reduction.
        """
        with self._within_deadline():
            found = self._api.file_system()
            total = found.limit
            if total is None:
                whole = next(self._api.items("arrays/space", ArraySpace), ArraySpace())
                total = whole.capacity
        used = found.space.virtual
        return Capacity(total if total is None else max(total, used or 0), used)

    def performance(self) -> PerformanceMetric:
        """See `HasMetric.performance`; of the file system, by NFS."""
        with self._within_deadline():
            rates = self._api.rates()
        return PerformanceMetric(
            iops_read=round(rates.reads_per_sec),
            iops_write=round(rates.writes_per_sec),
            io_bytes_read=round(rates.read_bytes_per_sec),
            io_bytes_write=round(rates.write_bytes_per_sec),
            io_usec_read=rates.usec_per_read_op,
            io_usec_write=rates.usec_per_write_op,
        )

    def fast_usage(self, vfolder: VFolderId) -> TreeUsage:
        """See `HasFastUsage.fast_usage`: by RapidFile's `pdu`.

        Costs a walk by many threads of that program, 30 seconds at most.
        """
        with self.open_vfolder(vfolder):
            if not self._rapidfile.found():
                return TreeUsage(file_count=0, used_bytes=0, complete=False)
            return self._rapidfile.count(self.vfolder_path(vfolder))

    def before_purge(self, parent: int, name: str, vfolder: VFolderId | None = None) -> None:
        """See `MountedBackend.before_purge`: snapshots go, the array removes the tree."""
        super().before_purge(parent, name, vfolder)
        if not (self._fast_remove and self._moved_away(parent, name)) and self._rapidfile_remove:
            self._remove_by_tool(parent, name)

    def _moved_away(self, parent: int, name: str) -> bool:
        """Move a tree to where the array removes it; return whether the array offers that."""
        try:
            with self.root() as root, descriptors.opened(FAST_REMOVE, root) as bin_:
                os.rename(name, f"{name}-{uuid4().hex}", src_dir_fd=parent, dst_dir_fd=bin_)
        except OSError as error:
            if error.errno not in _NOT_TAKEN:
                raise
            return False
        return True

    def _remove_by_tool(self, parent: int, name: str) -> None:
        """Let RapidFile remove a tree, in the time of one operation; the service does the rest."""
        trash = Path(os.readlink(f"/proc/self/fd/{parent}"))
        if not trash.is_relative_to(os.path.realpath(self.mount.path)):
            return
        try:
            self._rapidfile.remove(trash / name, self._deadline_seconds)
        except StorageError as error:
            _log.warning("RapidFile did not remove a tree", reason=error.detail)

    def _health(self) -> HardwareInfo:
        alerts = list(self._api.items("alerts", Alert, filter="state='open'"))
        blades = list(self._api.items("blades", Blade))
        severe = sum(alert.severity == _CRITICAL for alert in alerts)
        mild = sum(alert.severity == _WARNING for alert in alerts)
        ill = sorted(blade.name for blade in blades if blade.status not in _WELL)
        metadata = {"blades": str(len(blades)), "alerts": str(len(alerts))}
        full = self._quotas_used_up(metadata)
        if not (severe or mild or ill or full):
            return HardwareInfo(HardwareStatus.HEALTHY, None, metadata)
        info = f"{severe} critical and {mild} other warnings; blades not well: {', '.join(ill)}"
        info = info.removesuffix("; blades not well: ")
        info += f"; used up: {', '.join(full)}" if full else ""
        return HardwareInfo(HardwareStatus.DEGRADED, info, metadata)

    def _quotas_used_up(self, metadata: dict[str, str]) -> list[str]:
        """Add the quotas of this process's user and group; return those of which nothing is left.

        FlashBlade limits users and groups of a file system. What this service writes counts there.
        """
        own = {"users": ("user", os.geteuid()), "groups": ("group", os.getegid())}
        full = []
        for kind, (word, number) in own.items():
            found = self._api.quota_of(kind, number)
            if found is None:
                continue
            used = "unknown" if found.usage is None else found.usage
            metadata[f"{word}_quota"] = f"{used} of {found.quota} bytes"
            if found.used_up:
                full.append(f"the quota of {word} {number}")
        return full

    @property
    def showing_seconds(self) -> float:
        """See `ArraySnapshotSkill.showing_seconds`: the attribute cache of the mount."""
        return self._attribute_seconds

    def _array_path(self, path: str) -> str:
        return f"{self._file_system}/{path}"

    def _prefix(self, vfolder: VFolderId) -> str:
        """See `ArraySnapshotSkill._prefix`: short, since suffixes are."""
        place = self._array_path(str(vfolder.directory)).encode()
        digest = hashlib.blake2b(place, digest_size=_DIGEST_BYTES).digest()
        return f"v-{b32encode(digest).decode().lower()}-"

    def _spell_name(self, name: str) -> str:
        """See `ArraySnapshotSkill._spell_name`: a suffix ends with a letter or digit."""
        return spelled_plainly(name, _NAME_MAX) + _END

    def _read_name(self, spelled: str) -> str:
        return read_plain(spelled.removesuffix(_END))

    def _snapshot_place(self, vfolder: VFolderId, name: str) -> PurePosixPath:
        """See `ArraySnapshotSkill._snapshot_place`: by its complete name or by its suffix."""
        named = PurePosixPath(DIRECTORY, f"{self._file_system}.{name}")
        with self.root() as root:
            kept = named if descriptors.exists(named, root) else PurePosixPath(DIRECTORY, name)
        return kept / vfolder.directory
