"""vfs: any mounted POSIX file system, NFS included; the parent of every mounted backend.

The file system enforces no limit, so this service does, softly: see
`backends.volumes.wrappers.soft_quota`. Where no limit is set, usage and limit are unknown (null).
Clients read that as "no quota here".
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import ClassVar

from msgspec import Struct

from backends.base import (
    DEFAULT_MODE,
    Capacity,
    HardwareInfo,
    HardwareStatus,
    MountedBackend,
    QuotaUsage,
)
from backends.fs import descriptors, layout, marker, reason_of, shares_blocks, translate
from backends.mounted.options import MountedOptions
from backends.mounted.performance import counters
from backends.quota import requested_limits
from core.errors import (
    InvalidParameters,
    QuotaScopeExists,
    QuotaScopeNotEmpty,
    QuotaScopeNotFound,
    StorageError,
    StorageUnavailable,
    VFolderExists,
    VFolderNotFound,
    VolumeUnavailable,
)
from core.names import QuotaScope, VFolderId

_STILL_HOLDS = "Quota scope {} still holds vfolders or trash."


def _is_counted(path: Path) -> bool:
    try:
        return counters(path) is not None
    except OSError:  # the figures are not given then, either
        return False


class PosixBackend(MountedBackend):
    """Quota scopes and vfolders as plain directories."""

    name: ClassVar[str] = "vfs"
    options_type: ClassVar[type[Struct] | None] = MountedOptions
    #: Names in an empty quota scope that the storage system shows there.
    not_content: ClassVar[frozenset[str]] = frozenset()

    #: The id of the file system that was tested last for shared blocks, and the result.
    _shares: tuple[str, bool] | None = None
    #: Whether the last probe found that the kernel counts operations of the mount.
    _counted: bool = False
    #: The descriptor of the top while `held`.
    _held: int | None = None

    @contextmanager
    def root(self) -> Iterator[int]:
        """See `MountedBackend.root`."""
        descriptor = self._open_top()
        try:
            if self.mount.identity is not None and self._held is None:
                with self._reaching_top():
                    self.mount.identity.check(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_top(self) -> int:
        with self._reaching_top():
            if self._held is not None:
                return descriptors.open_directory(".", self._held)
            return descriptors.open_directory(str(self.mount.path))

    @contextmanager
    def _reaching_top(self) -> Iterator[None]:
        """Raise what says that the top is away, stale or failed as `VolumeUnavailable`."""
        try:
            yield
        except OSError as error:
            problem = translate(error)
            missing = isinstance(error, FileNotFoundError | NotADirectoryError)
            if not missing and not isinstance(problem, StorageUnavailable):
                raise problem from error
            raise VolumeUnavailable(
                f"Volume {self.mount.volume} is not available: {reason_of(error)}.",
                volume=self.mount.volume,
            ) from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """See `MountedBackend.held`."""
        with self.root() as top:
            before, self._held = self._held, top
            try:
                yield
            finally:
                self._held = before

    def probe(self) -> str:
        """See `Backend.probe`: the directory opens and lists; its fsid is the id.

        Proves its identity from the beginning. Tests too whether files share blocks.
        """
        with self.root() as root:
            with self._reaching_top():
                if self.mount.identity is not None:
                    self.mount.identity.prove(root)
                with os.scandir(root) as entries:
                    next(entries, None)
                fsid = _fsid(root)
            self._check_mount(root)
            self._prove_sharing(root, fsid)
        self._counted = _is_counted(self.mount.path)
        return fsid

    def check_mount(self) -> None:
        """Check what the probe finds by calls on the mount alone, without a change.

        Raises:
            BackendFailed: the mount is not what this backend serves.
            VolumeUnavailable, StorageError: as `root`.
        """
        with self.root() as root:
            self._check_mount(root)

    def _check_mount(self, root: int) -> None:
        """Raise `BackendFailed` where this backend cannot serve the mount: it serves any."""

    def capacity(self) -> Capacity:
        """See `Backend.capacity`: statvfs of the mount, counted as df does.

        A size of 0 means that the file system does not know its size (yet). CephFS has no number of
        inodes: it reports those that exist, and -1 free ones.
        """
        with self.root() as root:
            status = os.fstatvfs(root)
        limited = status.f_files and 0 <= status.f_ffree <= status.f_files
        inodes = (status.f_files, status.f_files - status.f_ffree) if limited else (None, None)
        if not status.f_blocks:
            return Capacity(None, None, *inodes)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        return Capacity(used + status.f_bavail * status.f_frsize, used, *inodes)

    def reflinks(self) -> bool:
        """See `MountedBackend.reflinks`."""
        if self._shares is None:
            with self.root() as root:
                self._prove_sharing(root, _fsid(root))
        return "reflink" in self.proved()

    def proved(self) -> frozenset[str]:
        """See `Backend.proved`."""
        shares = self._shares is not None and self._shares[1]
        found = {"reflink": shares, "metric": self._counted}
        return frozenset(name for name, proved in found.items() if proved)

    def _prove_sharing(self, root: int, fsid: str) -> None:
        """Test it once for each file system that is mounted here, until the result is certain."""
        if self.mount.read_only:
            return
        if self._shares is None or self._shares[0] != fsid:
            shares = shares_blocks(root)
            self._shares = None if shares is None else (fsid, shares)

    def hardware(self) -> HardwareInfo:
        """See `Backend.hardware`: healthy when the probe succeeds."""
        try:
            self.probe()
        except StorageError as error:
            return HardwareInfo(HardwareStatus.OFFLINE, error.detail)
        return HardwareInfo(HardwareStatus.HEALTHY)

    def create_scope(self, scope: QuotaScope, limit_bytes: int | None = None) -> None:
        """See `Backend.create_scope`: a directory, and its limit in a file of ours."""
        check_limit(limit_bytes)
        with self.root() as root:
            try:
                os.mkdir(scope.directory, descriptors.PREFIX_MODE, dir_fd=root)
            except FileExistsError:
                raise QuotaScopeExists(f"Quota scope {scope} is already there.") from None
            descriptors.inherit_owner(scope.directory, root)
            os.fsync(root)
            limit = requested_limits.RequestedLimit(limit_bytes or 0)
            requested_limits.keep(root, scope, limit)

    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        """See `Backend.describe_scope`: the limit; a wrapper adds the usage from the ledger."""
        with self.open_scope(scope), self.root() as root:
            requested = requested_limits.find(root, scope)
        if requested is None:
            return QuotaUsage()
        limit = requested.requested_bytes
        return QuotaUsage(limit_bytes=limit, requested_bytes=limit, enforced="soft")

    def set_limit(self, scope: QuotaScope, limit_bytes: int) -> None:
        """See `Backend.set_limit`."""
        check_limit(limit_bytes)
        try:
            self.create_scope(scope, limit_bytes)
        except QuotaScopeExists:
            with self.root() as root:
                requested_limits.settle(root, scope, limit_bytes)

    def unset_limit(self, scope: QuotaScope) -> None:
        """See `Backend.unset_limit`."""
        with self.open_scope(scope), self.root() as root:
            requested_limits.forget(root, scope)

    def delete_scope(self, scope: QuotaScope) -> None:
        """See `Backend.delete_scope`: our own hidden directories inside may exist, if empty.

        The last step is one rmdir(2), which refuses when a vfolder was made meanwhile.
        """
        with self.open_scope(scope) as descriptor:
            names = set(os.listdir(descriptor)) - {layout.HIDDEN, *self.not_content}
            if names or _holds_files(descriptor):
                raise QuotaScopeNotEmpty(_STILL_HOLDS.format(scope))
            with suppress(FileNotFoundError):  # there was no hidden directory
                shutil.rmtree(layout.HIDDEN, dir_fd=descriptor)
        with self.root() as root:
            self._remove_scope(scope, root)
            os.fsync(root)
            requested_limits.forget(root, scope)

    def _remove_scope(self, scope: QuotaScope, root: int) -> None:
        try:
            os.rmdir(scope.directory, dir_fd=root)
        except FileNotFoundError:
            raise QuotaScopeNotFound(f"Quota scope {scope} does not exist.") from None
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise QuotaScopeNotEmpty(_STILL_HOLDS.format(scope)) from None
            raise

    def create_vfolder(self, vfolder: VFolderId, mode: int = DEFAULT_MODE) -> None:
        """See `Backend.create_vfolder`: prefix directories keep the default mode."""
        path = vfolder.directory
        with self.open_scope(vfolder.scope) as scope:
            below = path.relative_to(vfolder.scope.directory) if vfolder.scope else path
            self._make_leaf(scope, below, mode, vfolder)

    def _make_leaf(self, scope: int, path: PurePosixPath, mode: int, vfolder: VFolderId) -> None:
        for attempt in range(descriptors.RACE_TRIES):
            with descriptors.made(path.parent, scope, sync_last=True) as parent:
                try:
                    os.mkdir(path.name, descriptors.PREFIX_MODE, dir_fd=parent)
                except FileExistsError:
                    raise VFolderExists(f"The vfolder {vfolder} is already there.") from None
                except FileNotFoundError:
                    if attempt + 1 == descriptors.RACE_TRIES:
                        raise
                    continue
                descriptors.inherit_owner(path.name, parent)
                if mode != DEFAULT_MODE:
                    os.chmod(path.name, mode, dir_fd=parent)
                os.fsync(parent)
                return

    @contextmanager
    def open_vfolder(self, vfolder: VFolderId) -> Iterator[int]:
        """See `Backend.open_vfolder`."""
        descriptor = self._open_at_once(str(vfolder.directory))
        if descriptor is None:
            with self.root() as root:
                try:
                    descriptor = descriptors.open_directory(vfolder.directory, root)
                except (FileNotFoundError, NotADirectoryError):
                    raise VFolderNotFound(f"The vfolder {vfolder} does not exist.") from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_at_once(self, path: str) -> int | None:
        """Open a directory below the top of the proved volume; None where more has to be done."""
        if self._held is not None:
            return None
        found = descriptors.open_marked(str(self.mount.path), marker.NAME, path)
        if found is None:
            return None
        descriptor, facts = found[0], found[1:]
        if self.mount.identity is None or self.mount.identity.is_proved(facts):
            return descriptor
        os.close(descriptor)
        return None

    def vfolder_path(self, vfolder: VFolderId) -> Path:
        """See `Backend.vfolder_path`."""
        return self.mount.path / vfolder.directory

    @contextmanager
    def open_scope(self, scope: QuotaScope | None) -> Iterator[int]:
        """See `MountedBackend.open_scope`."""
        with self.root() as root:
            if scope is None:
                yield root
                return
            try:
                descriptor = descriptors.open_directory(scope.directory, root)
            except (FileNotFoundError, NotADirectoryError):
                raise QuotaScopeNotFound(f"Quota scope {scope} does not exist.") from None
            try:
                yield descriptor
            except OSError as error:
                if error.errno == errno.ESTALE and not _exists(scope, root):
                    # Over NFS another client may remove a directory that is open here.
                    raise QuotaScopeNotFound(f"Quota scope {scope} does not exist.") from None
                raise
            finally:
                os.close(descriptor)


def _fsid(root: int) -> str:
    return f"{os.fstatvfs(root).f_fsid:x}"


def _exists(scope: QuotaScope, root: int) -> bool:
    return descriptors.exists(PurePosixPath(scope.directory), root)


def check_limit(limit: int | None, option: str = "limit_bytes") -> None:
    """Refuse a limit that is not above zero; `option` is its name in a request.

    Raises:
        InvalidParameters: it is zero or less.
    """
    if limit is not None and limit <= 0:
        raise InvalidParameters(
            "A quota limit is above zero; take the limit away to have none.",
            errors=[{"pointer": f"/options/{option}", "detail": "must be above zero"}],
        )


def _holds_files(scope: int) -> bool:
    """Return whether staging, uploads or trash of the scope hold anything."""
    for area in (layout.STAGING, layout.UPLOADS, layout.TRASH):
        try:
            with descriptors.opened(PurePosixPath(layout.HIDDEN, area), scope) as descriptor:
                if os.listdir(descriptor):
                    return True
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
    return False
