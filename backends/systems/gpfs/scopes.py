"""gpfs and spectrumscale: quota scopes as filesets of a cluster, by any of its interfaces."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import ClassVar

from backends.base import Enforcement, HardwareInfo, Mount
from backends.fs import descriptors, layout
from backends.mounted import (
    ArrayInodeLimits,
    ArraySoftLimits,
    ArrayUsage,
    await_directory,
)
from backends.mounted.rest import ArrayRefused, deadline, jobs
from backends.systems.gpfs.interface import (
    FilesetNotEmpty,
    FilesetQuota,
    LimitKind,
    LimitPair,
    ScaleFileset,
    ScaleFileSystem,
    ScaleInterface,
)
from backends.systems.gpfs.options import GpfsOptions
from core.errors import (
    BackendFailed,
    ConfigurationError,
    Conflict,
    InvalidParameters,
    QuotaScopeNotEmpty,
)
from core.names import QuotaScope

#: The directory of snapshots at the top of a fileset.
SNAPSHOTS = ".snapshots"
#: Seconds that the settings of the file system are remembered.
_SETTINGS_SECONDS = 60.0
#: How long a read of the cluster may lag behind a change (seconds).
_LAG_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 2.0


class ScaleBackend(ArrayInodeLimits, ArraySoftLimits):
    """Storage Scale: filesets with quotas, and the health of the cluster."""

    name: ClassVar[str] = "gpfs"
    doubtful: ClassVar[tuple[str, ...]] = ("inode-limit", "soft-limit")
    not_content: ClassVar[frozenset[str]] = frozenset({SNAPSHOTS})

    def __init__(self, mount: Mount, found: GpfsOptions, scale: ScaleInterface) -> None:
        super().__init__(mount, found.deadline_seconds)
        self.making_seconds = found.gpfs_job_seconds
        self._options = found
        self._base = (found.gpfs_path or str(mount.path)).rstrip("/")
        self._scale = scale
        self._settings: tuple[float, ScaleFileSystem] | None = None
        #: The names of filesets that another tool linked at a scope's directory.
        self._other_names: dict[str, str] = {}

    def _health(self) -> HardwareInfo:
        return self._scale.health()

    def _available(self) -> Mapping[str, bool]:
        enforced = self._file_system(fresh=True).enforced
        counted = dict.fromkeys(("inode-limit", "soft-limit"), enforced is not False)
        return {**counted, "quota": enforced is True}

    def _file_system(self, *, fresh: bool = False) -> ScaleFileSystem:
        """Return the settings of the file system, at most a minute old."""
        known = self._settings
        if known and not fresh and time.monotonic() - known[0] < _SETTINGS_SECONDS:
            return known[1]
        found = self._scale.file_system()
        self._settings = (time.monotonic(), found)
        return found

    def _limit_unit(self) -> int:
        """Return the block size: Storage Scale rounds limits up to it."""
        if self._settings is not None:
            return self._settings[1].block_bytes
        with self._within_deadline():
            return self._file_system().block_bytes

    def _has_directory(self, path: str) -> bool:
        top = self._file_system().mount_point.rstrip("/")
        if f"{self._base}/".startswith(f"{top}/"):
            below = f"{self._base}/{path}".removeprefix(f"{top}/")
            return self._scale.has_directory(top, below)
        raise ConfigurationError(
            "The volume's path is not below the mount point of the file system; name the path "
            "that the cluster uses in gpfs_path."
        )

    # -- Scopes --------------------------------------------------------------------------------
    def _make_directory(self, root: int, name: str) -> None:
        own, path = self._own_name(name), self._array_path(name)
        found = self._scale.fileset(own)
        if found is None and descriptors.exists(PurePosixPath(name), root):
            return  # of another tool: `_apply_limit` looks for its fileset
        if found is None:
            self._scale.create(own, path, self._owner(root))
            found = self._await_fileset(own)
        if found.path is None:
            self._scale.link(own, path)
            await_directory(root, name, self.making_seconds)
            self._refuse_old_content(root, name)
        elif found.path != path:
            raise Conflict(
                f"Storage Scale has a fileset {own} that is linked at another directory. Delete "
                "it, or use another gpfs_fileset_prefix."
            )
        await_directory(root, name, self.making_seconds)
        if not self._scale.sets_owner:
            uid, _, gid = self._owner(root).partition(":")
            os.chown(name, int(uid), int(gid or uid), dir_fd=root, follow_symlinks=False)
            os.chmod(name, descriptors.PREFIX_MODE, dir_fd=root)
        elif self._options.gpfs_owner is None:
            descriptors.inherit_owner(name, root)

    def _refuse_old_content(self, root: int, name: str) -> None:
        with descriptors.opened(name, root) as directory:
            old = set(os.listdir(directory)) - {layout.HIDDEN, *self.not_content}
        if old:
            raise Conflict(
                f"Storage Scale had a fileset {self._own_name(name)} that was not linked and "
                "holds files. It is linked now as this quota scope; look at what it holds."
            )

    def _usage(self, name: str) -> ArrayUsage:
        own = self._own_name(name)
        found = self._scale.quota(self._other_names.get(name, own))
        if found.used_bytes is None and name not in self._other_names:
            actual = self._find(name)
            if actual is not None and actual.name != own:
                found = self._scale.quota(actual.name)
        return ArrayUsage(
            found.used_bytes,
            found.limit_bytes,
            None if found.limit_bytes is None else self._enforcement(),
            soft_limit_bytes=found.block.soft,
            used_inodes=found.used_inodes,
            limit_inodes=found.files.hard,
            exceeded=found.exceeded,
        )

    def _enforcement(self) -> Enforcement:
        found = self._file_system()
        if found.enforced is False:
            return "off"
        if found.enforced is None or found.holds_root is None:
            return "unknown"
        return "hard" if found.holds_root else "not for root"

    def _apply_limit(self, name: str, limit_bytes: int | None) -> None:
        """Set the hard limit; a soft one stays, unless it is above."""
        found = self._quota_of(name, removes=limit_bytes is None)
        if found is None:
            return
        # reads may be old, so a limit is stored even where it shows
        if limit_bytes is None and (found.limit_bytes is None or found.by_default):
            return
        self._store(name, "block", found.block.with_hard(limit_bytes))

    def _apply_soft_limit(self, name: str, limit_bytes: int | None) -> None:
        found = self._quota_of(name, removes=limit_bytes is None)
        if found is None:
            return
        hard = found.limit_bytes
        if limit_bytes is not None and hard is not None and limit_bytes > hard:
            raise InvalidParameters(f"The soft limit is above the limit of {hard} bytes.")
        self._store(name, "block", LimitPair(limit_bytes, hard))

    def _apply_inode_limit(self, name: str, limit_inodes: int | None) -> None:
        found = self._quota_of(name, removes=limit_inodes is None)
        if found is not None:
            self._store(name, "files", found.files.with_hard(limit_inodes))

    def _quota_of(self, name: str, *, removes: bool) -> FilesetQuota | None:
        """Return the quota of a scope's fileset; None when `removes` a limit that none can have.

        Raises:
            Conflict: the scope is no fileset, so it can have no limit.
        """
        found = self._scale.quota(self._other_names.get(name, self._own_name(name)))
        if found.used_bytes is not None:
            return found
        fileset = self._find(name)  # one without a row, or of another name
        if fileset is not None:
            return self._scale.quota(fileset.name)
        if removes:
            return None
        raise Conflict(
            "The quota scope is a plain directory, not a fileset; only a fileset can have a "
            "limit on Storage Scale. Move what it holds into a scope made by this service."
        )

    def _store(self, name: str, kind: LimitKind, limits: LimitPair) -> None:
        """Set limits in the way that fits the file system, which an administrator may change."""
        fileset = self._other_names.get(name, self._own_name(name))
        before = self._file_system().per_fileset
        try:
            self._scale.set_limits(fileset, kind, limits, per_fileset=before)
        except ArrayRefused:
            now = self._file_system(fresh=True).per_fileset
            if now is before:
                raise
            self._scale.set_limits(fileset, kind, limits, per_fileset=now)

        def settled() -> bool:
            found = self._scale.quota(fileset)
            shown: LimitPair = getattr(found, kind)
            return shown == limits or (limits.hard is None and found.by_default)

        jobs.wait(settled, LONGEST_PAUSE_SECONDS)

    def _find(self, name: str) -> ScaleFileset | None:
        """Return the fileset of a scope's directory; that of another tool is found by its path."""
        own = self._own_name(name)
        found = self._scale.fileset(self._other_names.get(name, own))
        if found is None and self._other_names.pop(name, ""):
            found = self._scale.fileset(own)
        if found is None:
            found = self._scale.linked_at(self._array_path(name))
            if found is not None:
                self._other_names[name] = found.name
        return found

    def _await_fileset(self, name: str) -> ScaleFileset:
        found: list[ScaleFileset] = []

        def seen() -> bool:
            one = self._scale.fileset(name)
            found.extend([one] if one else [])
            return one is not None

        jobs.wait(seen, LONGEST_PAUSE_SECONDS)
        return found[0]

    # -- Removal -------------------------------------------------------------------------------
    def _remove_scope(self, scope: QuotaScope, root: int) -> None:
        """Take the fileset from its place and delete it; the cluster refuses a full one."""
        name = scope.directory
        fileset = self._find(name)
        if fileset is None:
            super()._remove_scope(scope, root)
            return
        if fileset.path not in (None, self._array_path(name)):
            raise Conflict(f"Storage Scale has the fileset {fileset.name} at another directory.")
        if fileset.path is not None:
            self._scale.unlink(fileset.name)
        self._delete_fileset(fileset.name, scope.directory)

    def _check_gone(self, name: str) -> None:
        """See `ArrayQuotaBackend._check_gone`; reads of the cluster may lag behind."""
        own, began = self._own_name(name), time.monotonic()
        found = self._scale.fileset(own)
        while found is not None and found.path is not None:
            if time.monotonic() - began > _LAG_SECONDS:
                raise BackendFailed(
                    "The mount does not show the quota scope, and Storage Scale still has its "
                    "fileset linked. Nothing was removed; is this the volume that is mounted?"
                )
            deadline.rest(_LAG_SECONDS / 10)
            found = self._scale.fileset(own)

    def _remove_objects(self, name: str) -> bool:
        """Delete the fileset of a directory that is gone: unlinked, by a process that died."""
        own = self._own_name(name)
        found = self._scale.fileset(own)
        if found is not None:
            self._delete_fileset(own, name)
        return found is not None

    def _delete_fileset(self, fileset: str, directory: str) -> None:
        try:
            self._scale.delete(fileset)
        except FilesetNotEmpty:
            self._scale.link(fileset, self._array_path(directory))
            raise QuotaScopeNotEmpty(
                "The quota scope still holds vfolders or trash; its fileset was kept."
            ) from None
        self._other_names.pop(directory, None)
        jobs.wait(lambda: self._scale.fileset(fileset) is None, LONGEST_PAUSE_SECONDS)

    # -- Names ---------------------------------------------------------------------------------
    def _own_name(self, directory: str) -> str:
        return f"{self._options.gpfs_fileset_prefix}{directory}"

    def _array_path(self, path: str) -> str:
        return f"{self._base}/{path}"

    def _owner(self, root: int) -> str:
        top = os.fstat(root)
        return self._options.gpfs_owner or f"{top.st_uid}:{top.st_gid}"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise errors without the path of the volume, which the cluster's texts name."""
        with super()._explained():
            try:
                yield
            except ArrayRefused as refusal:
                raise ArrayRefused(
                    refusal.detail.replace(self._base, "…").replace(str(self.mount.path), "…"),
                    refusal.reason,
                    refusal.code,
                ) from None
