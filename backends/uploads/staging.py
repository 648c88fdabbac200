"""The bytes of uploads: growing in the scope's hidden room, published by one rename.

    <scope>/.vfolder/uploads/<id>      until the last byte
    <vfolder>/<path>                   from then on

The room is inside the quota scope, so that the right owner pays from the first byte and the rename
crosses no border, and outside every vfolder, so that nobody sees half a file.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from backends.base import Backend, MountedBackend
from backends.fs import descriptors, translate, translated
from backends.quota import blame, check_digest, check_room, soft
from backends.uploads import reservation
from backends.uploads.places import give_to_job, open_room, parents, room_of
from core.errors import (
    InvalidParameters,
    NoSpace,
    QuotaExceeded,
    StorageError,
    Unsupported,
)
from core.names import VFolderId, VFolderPath
from core.uploads import Upload, UploadExists, UploadNotFound, UploadStore

#: The mode of a published file (rw-r--r--), whatever the process's umask is.
FILE_MODE = 0o644


class Staging:
    """The open staging file of one upload; at most one writer by lease and lock."""

    def __init__(self, backend: Backend, upload: Upload, room: int, descriptor: int) -> None:
        self.backend = backend
        self.upload = upload
        self._room = room
        self.descriptor = descriptor

    def lock(self) -> bool | None:
        """Lock the file (flock(2)): true is ours, false is another's, None is not possible here.

        The kernel frees it when the process dies, which a lease cannot know.
        """
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                return None
            raise
        return True

    def size(self) -> int:
        """Bytes on disk, committed or not."""
        return os.fstat(self.descriptor).st_size

    def settle(self, offset: int) -> int:
        """Cut what was never committed and stand at the end; the true offset comes back.

        After a crash of the machine the file may be shorter than what was committed: then the file
        is right.
        """
        size = self.size()
        true = min(size, offset)
        if size != true:
            os.ftruncate(self.descriptor, true)
        os.lseek(self.descriptor, true, os.SEEK_SET)
        return true

    def is_current(self) -> bool:
        """Whether the open file is still the upload's (a writer before us may have published)."""
        try:
            found = os.stat(self.upload.id, dir_fd=self._room, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return found.st_ino == os.fstat(self.descriptor).st_ino

    def publish(self, target: VFolderPath) -> None:
        """Check the digest, make it durable, and give it its name; an older file is replaced.

        Missing directories are made. Links in the way are refused, never followed.

        Raises:
            VFolderNotFound, EntryExists: a directory has that name.
            PathEscape: a link or a file is where a directory should be.
            DigestMismatch: nothing was published.
            NoSpace, QuotaExceeded, BackendFailed: from the storage.
        """
        if target.is_root:
            raise InvalidParameters("An upload needs a file name.")
        check_digest(self.descriptor, self.upload.digest)
        size_bytes = self.size()
        vfolder = VFolderId.parse(self.upload.vfolder)
        try:
            with (
                translated(str(target)),
                self.backend.open_vfolder(vfolder) as top,
                parents(target, top) as parent,
            ):
                os.fsync(self.descriptor)
                size_bytes -= soft.size_of(target.name, parent)
                os.rename(self.upload.id, target.name, src_dir_fd=self._room, dst_dir_fd=parent)
                os.fsync(parent)
        except (NoSpace, QuotaExceeded) as error:
            raise blame(self.backend, vfolder.scope, error) from error
        reservation.settle(self.backend, self.upload, size_bytes)

    def hand_over(self, job: str) -> None:
        """Leave the bytes to the job that unpacks them.

        Raises:
            StorageError: the volume refuses; the job will look here, too.
        """
        mounted = self.backend.skill(MountedBackend)
        if mounted is None:
            raise Unsupported("This volume takes no uploads.")
        scope = VFolderId.parse(self.upload.vfolder).scope
        with translated(), mounted.root() as root:
            give_to_job(root, scope, self.upload.id, job)
        reservation.settle(self.backend, self.upload)

    def make_durable(self) -> None:
        """Check the digest of the whole and bring it to the disk.

        Raises:
            DigestMismatch: the bytes are not those announced.
            StorageError: from the storage.
        """
        check_digest(self.descriptor, self.upload.digest)
        with translated():
            os.fsync(self.descriptor)

    def refused(self, error: OSError) -> StorageError:
        """The problem that a refusal of the file system means: its scope full, or its volume."""
        return blame(self.backend, VFolderId.parse(self.upload.vfolder).scope, translate(error))

    def remove(self) -> None:
        """Remove the file; the upload is known no more."""
        remove(self.backend, self.upload)

    def close(self) -> None:
        """Close the file, which also unlocks it."""
        os.close(self.descriptor)
        os.close(self._room)


def begin(backend: Backend, store: UploadStore, upload: Upload) -> Upload:
    """Open an upload session: its staging file and its record, at offset 0.

    The manager door calls this when it issues an upload ticket, with `upload.id` and
    `upload.session` both the ticket's session, `path` its relpath and `length` its size; the client
    door does when a tus client creates. An upload of zero bytes is published at once where nothing
    of that name exists, since some clients never send a byte of it.

    Costs one file creation and one round trip to Redis.

    Raises:
        VFolderNotFound: the vfolder does not exist.
        QuotaExceeded, NoSpace: there is no room for `length`.
        UploadExists: the id is taken.
    """
    vfolder = VFolderId.parse(upload.vfolder)
    with backend.open_vfolder(vfolder):
        check_room(backend, vfolder, upload.length or 0)
    reservation.reserve(backend, upload)
    try:
        known = _begin(backend, store, upload)
    except StorageError:
        reservation.settle(backend, upload)
        raise
    if upload.length == 0 and not upload.partial and not upload.extract:
        _publish_empty(backend, upload)
    return known


def _begin(backend: Backend, store: UploadStore, upload: Upload) -> Upload:
    with translated(), room_of(backend, upload, make=True) as room:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(upload.id, flags, FILE_MODE, dir_fd=room)
        except FileExistsError:
            raise UploadExists("An upload of that id is already open.") from None
        try:
            os.fchmod(descriptor, FILE_MODE)
            known = msgspec.structs.replace(upload, inode=os.fstat(descriptor).st_ino)
        finally:
            os.close(descriptor)
    try:
        store.create(known)
    except StorageError:
        remove(backend, upload)
        raise
    return known


@contextmanager
def opened(backend: Backend, upload: Upload) -> Iterator[Staging]:
    """The staging file, open for reading and writing; closed at the end.

    Raises:
        UploadNotFound: there is none (published, terminated or swept).
    """
    with translated():
        try:
            staging = _open(backend, upload)
        except FileNotFoundError:
            raise UploadNotFound("No such upload is open; it may have ended or expired.") from None
    try:
        yield staging
    finally:
        staging.close()


def _open(backend: Backend, upload: Upload) -> Staging:
    room = open_room(backend, upload)
    try:
        return Staging(backend, upload, room, os.open(upload.id, _OPEN_FILE, dir_fd=room))
    except BaseException:
        os.close(room)
        raise


_OPEN_FILE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def was_published(backend: Backend, upload: Upload, target: VFolderPath) -> bool:
    """Whether the target is this upload's own file: a process may die right after the rename."""
    try:
        with (
            backend.open_vfolder(VFolderId.parse(upload.vfolder)) as top,
            descriptors.opened("/".join(target.parent.parts) or ".", top) as parent,
        ):
            found = os.stat(target.name, dir_fd=parent, follow_symlinks=False)
    except (OSError, StorageError):
        return False
    return found.st_ino == upload.inode and found.st_size == upload.length


def remove(backend: Backend, upload: Upload) -> None:
    """Remove the staging file; absent is fine."""
    reservation.settle(backend, upload)
    try:
        with room_of(backend, upload) as room:
            os.unlink(upload.id, dir_fd=room)
    except FileNotFoundError:
        return


def _publish_empty(backend: Backend, upload: Upload) -> None:
    """Make the empty file where nothing is; a session alone never replaces a file."""
    target = VFolderPath.parse(upload.path)
    vfolder = VFolderId.parse(upload.vfolder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with (
        translated(str(target)),
        backend.open_vfolder(vfolder) as top,
        parents(target, top) as parent,
    ):
        try:
            os.close(os.open(target.name, flags, FILE_MODE, dir_fd=parent))
        except FileExistsError:
            return
        os.fsync(parent)
