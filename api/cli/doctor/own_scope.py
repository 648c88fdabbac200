"""The quota scope in which `vfolder doctor --write` works: one for each volume, always the same.

    <volume>/.vfolder/doctor.lock          held by the process that works, over all nodes
    <volume>/d0c70d0cd0c74d0c8d0cd0c7d0c7d0c7/…

The lock's file is made first and removed last. A file without an owner therefore says that an
earlier run was killed, and that its scope may be left.
"""

import errno
import fcntl
import os
import time
from contextlib import suppress
from pathlib import PurePosixPath
from uuid import UUID

from api.cli.doctor.results import Wrong
from backends.base import HasQuota, HasSnapshots, MountedBackend
from backends.fs import descriptors, layout
from backends.tree import remove_tree
from core.errors import QuotaScopeExists, QuotaScopeNotFound, StorageError
from core.jobs import Unattended
from core.names import QuotaScope, ScopeKind, VFolderId

_ID = UUID("d0c70d0c-d0c7-4d0c-8d0c-d0c7d0c7d0c7")
SCOPE = QuotaScope(ScopeKind.USER, _ID)
VFOLDER = VFolderId(SCOPE, _ID)
LOCK = "doctor.lock"
_TRASH = PurePosixPath(layout.HIDDEN, layout.TRASH)
_LOCK_MODE = 0o600
#: A killed process keeps its lock until its last call to the storage returns (seconds).
_LOCK_SECONDS = 5.0
_PAUSE_SECONDS = 0.1
_TAKEN = frozenset({errno.EACCES, errno.EAGAIN})
NO_LOCKS = "Mount it with locks: NFS without `nolock`, Lustre with `flock`."


def is_left(backend: MountedBackend) -> bool:
    """Return whether a run that works, or that was killed, has something on the volume."""
    with backend.root() as root:
        return descriptors.exists(PurePosixPath(layout.HIDDEN, LOCK), root)


def lock(backend: MountedBackend) -> int:
    """Hold the volume's lock of this command; return its file.

    Raises:
        Wrong: another run holds it, or the mount carries no locks.
        StorageError, OSError: the volume failed.
    """
    with (
        backend.root() as root,
        descriptors.made(PurePosixPath(layout.HIDDEN), root, descriptors.HIDDEN_MODE) as hidden,
    ):
        return _acquired(hidden)


def unlock(backend: MountedBackend, file: int) -> None:
    """Remove the lock's file: nothing is left. Then release the lock.

    The hidden directory goes too, where nothing else is in it.

    Raises:
        StorageError, OSError: the volume failed.
    """
    with backend.root() as root, descriptors.opened(layout.HIDDEN, root) as hidden:
        os.unlink(LOCK, dir_fd=hidden)
        with suppress(OSError):  # it holds what the service keeps at the top of a volume
            os.rmdir(layout.HIDDEN, dir_fd=root)
    os.close(file)


def _acquired(hidden: int) -> int:
    """Return the open file with its lock held."""
    deadline = time.monotonic() + _LOCK_SECONDS
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        file = os.open(LOCK, flags, _LOCK_MODE, dir_fd=hidden)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:  # the last owner did not remove it meanwhile
                return file
        except OSError as error:
            if error.errno not in _TAKEN:
                os.close(file)
                raise Wrong(f"The mount carries no locks: {error.strerror}.", NO_LOCKS) from error
        os.close(file)
        if time.monotonic() > deadline:
            raise Wrong(
                "Another run of this command works on the volume, or a killed one still hangs.",
                "Wait for its end; then try again.",
            )
        time.sleep(_PAUSE_SECONDS)


def remove(backend: MountedBackend) -> None:
    """Remove the scope with everything in it, also what a killed process began to make.

    Raises:
        StorageError, OSError: something could not be removed.
    """
    if not _completed(backend):
        with suppress(QuotaScopeNotFound):
            backend.delete_scope(SCOPE)
        return
    if backend.skill(HasQuota) is not None:
        with suppress(StorageError):  # where limits do not work; a full scope is emptied, too
            backend.unset_limit(SCOPE)
    snapshots = backend.skill(HasSnapshots)
    if snapshots is not None and "snapshot" not in backend.lacking():
        for snapshot in snapshots.list_snapshots(VFOLDER):
            snapshots.delete_snapshot(VFOLDER, snapshot.name)
    with suppress(QuotaScopeNotFound), backend.open_scope(SCOPE) as directory:
        _purge(backend, directory)
    backend.delete_scope(SCOPE)


def _purge(backend: MountedBackend, scope: int) -> None:
    """Remove the vfolder as the service does: renamed to the trash, prepared, then removed."""
    below = VFOLDER.directory.relative_to(SCOPE.directory)
    with descriptors.made(_TRASH, scope, descriptors.HIDDEN_MODE) as trash:
        _remove(backend, trash)  # a killed process left it there
        with suppress(FileNotFoundError):
            os.rename(below, VFOLDER.id.hex, src_dir_fd=scope, dst_dir_fd=trash)
        _remove(backend, trash)
    if _exists(below.parts[0], scope):
        remove_tree(scope, below.parts[0], control=Unattended())


def _remove(backend: MountedBackend, trash: int) -> None:
    name = VFOLDER.id.hex
    if not _exists(name, trash):
        return
    backend.before_purge(trash, name, VFOLDER)
    # The storage system may have removed it.
    if _exists(name, trash) and not remove_tree(trash, name, control=Unattended()).complete:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))


def _exists(name: str, directory: int) -> bool:
    """Return whether the directory has the name; an older list of it may lack it (btrfs)."""
    return descriptors.exists(PurePosixPath(name), directory)


def _completed(backend: MountedBackend) -> bool:
    """Complete a scope that a killed process began; return whether there is one to remove."""
    try:
        backend.create_scope(SCOPE)
    except QuotaScopeExists:
        return True
    except StorageError:  # it could not be made in the first place, either
        with backend.root() as root:
            return descriptors.exists(PurePosixPath(SCOPE.directory), root)
    return True
