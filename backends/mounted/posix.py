"""vfs: any mounted POSIX file system, NFS included; the parent of every mounted backend.

The file system holds no limit, so we do, softly (`backends.quota.soft`). Where none is set, usage
and limit are unknown (null), which clients read as «no quota here».
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import ClassVar

from backends.base import (
    DEFAULT_MODE,
    Capacity,
    HardwareInfo,
    HardwareStatus,
    MountedBackend,
    QuotaUsage,
)
from backends.fs import descriptors, layout, reason_of, shares_blocks, translate
from backends.quota import requested_limits
from core.errors import (
    BackendFailed,
    InvalidParameters,
    QuotaScopeExists,
    QuotaScopeNotEmpty,
    QuotaScopeNotFound,
    StorageError,
    VFolderExists,
    VFolderNotFound,
)
from core.names import QuotaScope, VFolderId

_STILL_HOLDS = "Quota scope {} still holds vfolders or trash."


class PosixBackend(MountedBackend):
    """Quota scopes and vfolders as plain directories."""

    name: ClassVar[str] = "vfs"

    #: The file system that was asked last whether files share blocks, and its answer.
    _shares: tuple[str, bool] | None = None

    @contextmanager
    def root(self) -> Iterator[int]:
        """A directory descriptor of the volume; opened anew each time, so a remount is seen.

        Raises:
            BackendFailed: the volume's directory is not there.
            StorageError: the directory cannot be opened, as `translate` says.
        """
        try:
            descriptor = descriptors.open_directory(str(self.mount.path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BackendFailed(
                f"Volume {self.mount.volume} is not mounted: {reason_of(error)}."
            ) from error
        except OSError as error:
            raise translate(error) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def probe(self) -> str:
        """See `Backend.probe`: the directory opens, and lists; its fsid is the id.

        Whether files share blocks is found out, too.
        """
        with self.root() as root:
            try:
                with os.scandir(root) as entries:
                    next(entries, None)
                fsid = _fsid(root)
            except OSError as error:
                raise BackendFailed(
                    f"Volume {self.mount.volume} does not answer: {reason_of(error)}.",
                ) from error
            self._prove_sharing(root, fsid)
        return fsid

    def capacity(self) -> Capacity:
        """See `Backend.capacity`: statvfs of the mount, counted as df does.

        A size of 0 says that the file system does not know (yet).
        """
        with self.root() as root:
            found = os.fstatvfs(root)
        if not found.f_blocks:
            return Capacity(None, None)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        return Capacity(capacity_bytes=used + found.f_bavail * found.f_frsize, used_bytes=used)

    def reflinks(self) -> bool:
        """Whether files can share blocks here (FICLONE), as the last probe found it, or a try."""
        if self._shares is None:
            with self.root() as root:
                self._prove_sharing(root, _fsid(root))
        return "reflink" in self.proved()

    def proved(self) -> frozenset[str]:
        """See `Backend.proved`."""
        return frozenset({"reflink"} if self._shares and self._shares[1] else ())

    def _prove_sharing(self, root: int, fsid: str) -> None:
        """Try it once for each file system that is mounted here, until the answer is sure."""
        if self._shares is None or self._shares[0] != fsid:
            shares = shares_blocks(root)
            self._shares = None if shares is None else (fsid, shares)

    def hardware(self) -> HardwareInfo:
        """See `Backend.hardware`: healthy when the probe holds."""
        try:
            self.probe()
        except StorageError as error:
            return HardwareInfo(HardwareStatus.OFFLINE, error.detail)
        return HardwareInfo(HardwareStatus.HEALTHY)

    def create_scope(self, scope: QuotaScope, limit_bytes: int | None = None) -> None:
        """See `Backend.create_scope`: a directory, and its limit as a file of ours."""
        check_limit(limit_bytes)
        with self.root() as root:
            try:
                os.mkdir(scope.directory, descriptors.PREFIX_MODE, dir_fd=root)
            except FileExistsError:
                raise QuotaScopeExists(f"Quota scope {scope} is already there.") from None
            descriptors.inherit_owner(scope.directory, root)
            os.fsync(root)
            requested_limits.settle(root, scope, limit_bytes)

    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        """See `Backend.describe_scope`: both unknown without a limit, else by our own ledger."""
        with self.open_scope(scope), self.root() as root:
            requested = requested_limits.find(root, scope)
        if requested is None:
            return QuotaUsage()
        limit = requested.requested_bytes
        return QuotaUsage(limit_bytes=limit, requested_bytes=limit, enforced="soft")

    def set_limit(self, scope: QuotaScope, limit_bytes: int) -> None:
        """See `Backend.set_limit`; what a scope holds already is counted, if it is small."""
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
        """See `Backend.delete_scope`: our own rooms inside do not count when they are empty.

        The last act is one rmdir, which refuses when a vfolder was made meanwhile.
        """
        with self.open_scope(scope) as descriptor:
            names = set(os.listdir(descriptor)) - {layout.HIDDEN}
            if names or _holds_files(descriptor):
                raise QuotaScopeNotEmpty(_STILL_HOLDS.format(scope))
            with suppress(FileNotFoundError):  # nothing of ours was there
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
            with descriptors.made(path.parent, scope) as parent:
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
        with self.root() as root:
            try:
                descriptor = descriptors.open_directory(vfolder.directory, root)
            except (FileNotFoundError, NotADirectoryError):
                raise VFolderNotFound(f"The vfolder {vfolder} does not exist.") from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def vfolder_path(self, vfolder: VFolderId) -> Path:
        """See `Backend.vfolder_path`."""
        return self.mount.path / vfolder.directory

    @contextmanager
    def open_scope(self, scope: QuotaScope | None) -> Iterator[int]:
        """A directory descriptor of a quota scope; of the volume for the legacy one.

        Raises:
            QuotaScopeNotFound: it does not exist.
        """
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
                if error.errno == errno.ESTALE and not _is_there(scope, root):
                    # Over NFS a directory that another client removes goes under our hands.
                    raise QuotaScopeNotFound(f"Quota scope {scope} does not exist.") from None
                raise
            finally:
                os.close(descriptor)


def _fsid(root: int) -> str:
    return f"{os.fstatvfs(root).f_fsid:x}"


def _is_there(scope: QuotaScope, root: int) -> bool:
    return descriptors.exists(PurePosixPath(scope.directory), root)


def check_limit(limit_bytes: int | None) -> None:
    """Refuse what is no limit.

    Raises:
        InvalidParameters: it is not above zero.
    """
    if limit_bytes is not None and limit_bytes <= 0:
        raise InvalidParameters(
            "A quota limit is above zero bytes; take the limit away to have none.",
            errors=[{"pointer": "/options/limit_bytes", "detail": "must be above zero"}],
        )


def _holds_files(scope: int) -> bool:
    """Whether one of our rooms of the scope holds anything that matters."""
    for room in (layout.STAGING, layout.UPLOADS, layout.TRASH):
        try:
            with descriptors.opened(PurePosixPath(layout.HIDDEN, room), scope) as descriptor:
                if os.listdir(descriptor):
                    return True
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
    return False
