"""The bytes of uploads: they grow in the scope's hidden directory and are published by one rename.

    <scope>/.vfolder/uploads/<id>      until the last byte
    <vfolder>/<path>                   from then on

The hidden directory is inside the quota scope, so that the right owner pays from the first byte and
the rename stays inside one file system project. It is outside every vfolder, so that no reader sees
half a file.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from backends.base import Backend, HasObjectFiles
from backends.fs import descriptors, inheritance, linux, paths, translate, translated
from backends.quota import blame, check_digest, check_space, soft
from backends.uploads import ahead
from backends.uploads.directories import (
    give_to_job,
    open_upload_directory,
    parents,
    prepare_file,
    root_of,
    upload_directory,
)
from core.errors import (
    EntryExists,
    EntryNotFound,
    EntryRefused,
    InvalidParameters,
    NoSpace,
    PathEscape,
    QuotaExceeded,
    StorageError,
    VFolderNotFound,
)
from core.names import VFolderId, VFolderPath
from core.uploads import (
    TooManyUploads,
    Upload,
    UploadExists,
    UploadNotFound,
    UploadPlaces,
    UploadStore,
)

#: Blocks allocated at once, in bytes: the most that an abandoned upload holds for nothing.
STRETCH_BYTES = 16 << 20
#: Fewer bytes than this are not worth a system call.
STRETCH_MIN_BYTES = 4 << 20

#: What is said of a file that an upload may replace no more.
CHANGED = "The entry is not the one that If-Match names any more; nothing was replaced."

_OPEN_FILE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Staging:
    """The open staging file of one upload; a lease and a lock keep it to one writer."""

    def __init__(self, backend: Backend, upload: Upload, directory: int, descriptor: int) -> None:
        self.backend = backend
        self.upload = upload
        self._directory = directory
        self.descriptor = descriptor
        #: Called before work on so many bytes; it may raise to stop that work.
        self.on_work: Callable[[int], object] = int

    def lock(self) -> bool | None:
        """Lock the file (flock(2)); False: another process has it, None: no locks here.

        The kernel releases the lock when the process dies, which a lease cannot know.
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
        """Return the bytes on disk, committed or not."""
        return os.fstat(self.descriptor).st_size

    def settle(self, offset: int) -> int:
        """Cut bytes that were never committed, seek to the end, and return the true offset.

        After a crash of the machine the file may be shorter than what was committed. Then the
        length of the file is the true offset.
        """
        size = self.size()
        true = min(size, offset)
        if self.backend.skill(ahead.HasUploadParts):
            ahead.forget_behind(self.descriptor, true)
        if size != true:
            os.ftruncate(self.descriptor, true)
        os.lseek(self.descriptor, true, os.SEEK_SET)
        return true

    def is_current(self) -> bool:
        """Return whether the open file is still the upload's: another writer may publish it."""
        return self._is_in(self._directory)

    def _is_in(self, directory: int) -> bool:
        try:
            status = os.stat(self.upload.id, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return status.st_ino == os.fstat(self.descriptor).st_ino

    def parts_ahead(self, upload: Upload, target: VFolderPath) -> ahead.PartsAhead | None:
        """Return what sends parts while bytes come; None where the storage takes none."""
        owner = self.backend.skill(ahead.HasUploadParts)
        if owner is None:
            return None
        return ahead.parts_ahead(owner, upload, target, self.descriptor)

    def publish(self, target: VFolderPath) -> None:
        """Check the digest, sync the file, and rename it to its path; an older file is replaced.

        Missing directories are made. Links in the way are refused, never followed.

        Raises:
            VFolderNotFound: the vfolder does not exist.
            EntryExists: a directory has this name, or a file that must not be replaced, as with
                `replaces` any but that one.
            PathEscape: a link or a file is where a directory should be.
            DigestMismatch: the bytes are not the announced ones; nothing was published.
            NoSpace, QuotaExceeded, BackendFailed: the storage refuses.
        """
        if target.is_root:
            raise InvalidParameters("An upload needs a file name.")
        check_digest(self.descriptor, self.upload.digest, self.on_work)
        size_bytes = self.size()
        self.on_work(size_bytes)
        vfolder = VFolderId.parse(self.upload.vfolder)
        if files := self.backend.skill(HasObjectFiles):
            self._send(files, vfolder, target, size_bytes)
            return
        try:
            with (
                translated(str(target)),
                self.backend.open_vfolder(vfolder) as top,
                parents(target, top, self.backend.mount.owner) as parent,
            ):
                prepare_file(self.descriptor, parent, target.name, self.backend.mount)
                os.fsync(self.descriptor)
                self.on_work(0)
                size_bytes -= soft.size_of(target.name, parent)
                # What it replaces may be less than it was when the space was reserved.
                soft.reserve(self.backend, vfolder, self.upload.id, size_bytes)
                since_ms = soft.removal_began(self.backend) if size_bytes < 0 else None
                self._check_replaced(target.name, parent)
                self._rename(target.name, parent)
                os.fsync(parent)
        except (NoSpace, QuotaExceeded) as error:
            raise blame(self.backend, vfolder.scope, error) from error
        settle_space(self.backend, self.upload, size_bytes, since_ms=since_ms)

    def _send(
        self, files: HasObjectFiles, vfolder: VFolderId, target: VFolderPath, size_bytes: int
    ) -> None:
        """Send the file to a storage system that keeps objects, then remove it here."""
        change_bytes, since_ms = size_bytes, None
        if soft.is_counted(self.backend, vfolder):
            change_bytes -= files.file_size(vfolder, target)
            soft.reserve(self.backend, vfolder, self.upload.id, change_bytes)
            since_ms = soft.removal_began(self.backend) if change_bytes < 0 else None
        self._send_bytes(files, vfolder, target, size_bytes)
        with translated(), suppress(FileNotFoundError):
            os.unlink(self.upload.id, dir_fd=self._directory)
        settle_space(self.backend, self.upload, change_bytes, since_ms=since_ms)

    def _send_bytes(
        self, files: HasObjectFiles, vfolder: VFolderId, target: VFolderPath, size_bytes: int
    ) -> None:
        """Send the file, without the parts that were sent while it came."""
        more: dict[str, Any] = {"upload": self.upload.id, "on_work": self.on_work}
        begun, owner = ahead.noted(self.descriptor), self.backend.skill(ahead.HasUploadParts)
        if begun is None or owner is None:
            files.send_file(vfolder, target, self.descriptor, size_bytes, **more)
            return
        if not ahead.fits(begun, target, size_bytes):
            ahead.abandon(self.backend, self.upload, begun)
            files.send_file(vfolder, target, self.descriptor, size_bytes, **more)
            return

        def note(new: str) -> None:
            ahead.note(self.descriptor, msgspec.structs.replace(begun, id=new))

        more |= {"begun": begun, "on_begun": note}
        owner.send_rest(vfolder, target, self.descriptor, size_bytes, **more)

    def _check_replaced(self, name: str, parent: int) -> None:
        if not self.upload.replaces:
            return
        try:
            found = paths.file_tag(os.stat(name, dir_fd=parent, follow_symlinks=False))
        except FileNotFoundError:
            found = ""
        if found != self.upload.replaces:
            raise EntryExists(CHANGED)

    def _rename(self, name: str, parent: int) -> None:
        try:
            self._move(self._directory, name, parent)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            if inheritance.take_project(self.descriptor, parent):
                self._move(self._directory, name, parent)
                return
            # The volume was mounted again since the file was opened: use the mount of now.
            with upload_directory(self.backend, self.upload) as directory:
                if not self._is_in(directory):
                    raise
                self._move(directory, name, parent)

    def _move(self, directory: int, name: str, parent: int) -> None:
        if self.upload.new_only:
            descriptors.rename_noreplace(self.upload.id, directory, name, parent)
        else:
            os.rename(self.upload.id, name, src_dir_fd=directory, dst_dir_fd=parent)

    def give_to_job(self, job: str) -> None:
        """Leave the bytes to the job that unpacks them.

        Raises:
            StorageError: the volume refuses; the job looks for the bytes here too.
        """
        scope = VFolderId.parse(self.upload.vfolder).scope
        with translated(), root_of(self.backend) as root:
            give_to_job(root, scope, self.upload.id, job)
        settle_space(self.backend, self.upload)

    def make_durable(self) -> None:
        """Check the digest of all bytes, and sync the file and its name.

        Raises:
            DigestMismatch: the bytes are not the announced ones.
            StorageError: the storage refuses.
        """
        check_digest(self.descriptor, self.upload.digest, self.on_work)
        self.on_work(self.size())
        with translated():
            os.fsync(self.descriptor)
            os.fsync(self._directory)
        self.on_work(0)

    def refused(self, error: OSError) -> StorageError:
        """Return what a failed write means: a full quota scope, a full volume, or another error."""
        return blame(self.backend, VFolderId.parse(self.upload.vfolder).scope, translate(error))

    def remove(self) -> None:
        """Remove the file; after that the upload does not exist."""
        remove(self.backend, self.upload)

    def close(self) -> None:
        """Close the file, which also unlocks it."""
        os.close(self.descriptor)
        os.close(self._directory)


def begin(backend: Backend, store: UploadStore, upload: Upload) -> Upload:
    """Open an upload session: its staging file and its record, at offset 0.

    The manager door calls this when it issues an upload ticket. Then `upload.id` and
    `upload.session` are the ticket's session, `path` its relpath and `length` its size. The client
    door calls it when a tus client creates an upload. An upload of zero bytes is published at once
    where nothing has its name, since some clients never send a byte of it.

    Costs one file creation and one round trip to Redis.

    Raises:
        VFolderNotFound: the vfolder does not exist.
        QuotaExceeded, NoSpace: `length` bytes do not fit.
        UploadExists: the id is taken.
        TooManyUploads: its ticket, quota scope or node has as many open uploads as it may.
    """
    vfolder = VFolderId.parse(upload.vfolder)
    backend.check_vfolder(vfolder)
    if upload.path and (files := backend.skill(HasObjectFiles)):
        files.check_file(vfolder, VFolderPath.parse(upload.path))
    check_space(backend, vfolder, upload.length or 0)
    reserve_space(backend, upload)
    try:
        known = _begin_within_bounds(backend, store, upload)
    except StorageError:
        settle_space(backend, upload)
        raise
    # One that replaces nothing would meet its own empty file; its creation publishes it anyway.
    if upload.length == 0 and not (upload.partial or upload.extract or upload.new_only):
        _publish_empty(backend, upload)
    return known


def _begin_within_bounds(backend: Backend, store: UploadStore, upload: Upload) -> Upload:
    try:
        return _begin(backend, store, upload)
    except TooManyUploads as error:
        free_places(backend, store, upload, error.facts["bound"])
        return _begin(backend, store, upload)


def _begin(backend: Backend, store: UploadStore, upload: Upload) -> Upload:
    with translated(), upload_directory(backend, upload, make=True) as directory:
        try:
            descriptor = os.open(upload.id, _NEW_FILE, inheritance.FILE_MODE, dir_fd=directory)
        except FileExistsError:
            raise UploadExists("An upload of that id is already open.") from None
        try:
            os.fchmod(descriptor, inheritance.FILE_MODE)
            known = msgspec.structs.replace(upload, inode=os.fstat(descriptor).st_ino)
        finally:
            os.close(descriptor)
    try:
        store.create(known)
    except StorageError:
        with translated():
            _unlink(backend, upload)  # the reservation stays, for another try
        raise
    return known


@contextmanager
def opened(backend: Backend, upload: Upload) -> Iterator[Staging]:
    """Open the staging file for reading and writing; the context closes it.

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
    directory = open_upload_directory(backend, upload)
    try:
        return Staging(backend, upload, directory, os.open(upload.id, _OPEN_FILE, dir_fd=directory))
    except BaseException:
        os.close(directory)
        raise


def was_published(backend: Backend, upload: Upload, target: VFolderPath) -> bool:
    """Return whether the target is this upload's own file: a process may die after its rename.

    Raises:
        StorageError: the volume is away or fails; whether it was published is not known now.
    """
    vfolder = VFolderId.parse(upload.vfolder)
    try:
        if files := backend.skill(HasObjectFiles):
            return files.sent_by(vfolder, target) == upload.id
        with (
            translated(),
            backend.open_vfolder(vfolder) as top,
            descriptors.opened("/".join(target.parent.parts) or ".", top) as parent,
        ):
            status = os.stat(target.name, dir_fd=parent, follow_symlinks=False)
    except (EntryNotFound, EntryRefused, VFolderNotFound):
        return False
    return _is_own(upload, status)


@contextmanager
def published(backend: Backend, upload: Upload, target: VFolderPath) -> Iterator[int | None]:
    """Open the file that an upload became; None where its path has another file, or none.

    None, too, where files are objects.

    Raises:
        StorageError: the volume is away or fails.
    """
    if backend.skill(HasObjectFiles):
        yield None
        return
    try:
        with translated(), backend.open_vfolder(VFolderId.parse(upload.vfolder)) as top:
            descriptor = paths.open_file(top, target)
    except (EntryNotFound, EntryRefused, InvalidParameters, PathEscape, VFolderNotFound):
        yield None
        return
    try:
        yield descriptor if _is_own(upload, os.fstat(descriptor)) else None
    finally:
        os.close(descriptor)


def _is_own(upload: Upload, status: os.stat_result) -> bool:
    return (status.st_ino, status.st_size) == (upload.inode, upload.length)


def remove(backend: Backend, upload: Upload) -> None:
    """Remove the staging file; a missing one is a success."""
    settle_space(backend, upload)
    _unlink(backend, upload)


def _unlink(backend: Backend, upload: Upload) -> None:
    begun = None
    try:
        with upload_directory(backend, upload) as directory:
            if backend.skill(ahead.HasUploadParts):
                begun = ahead.noted_in(directory, upload.id)
            os.unlink(upload.id, dir_fd=directory)
    except FileNotFoundError:
        return
    if begun is not None:
        ahead.abandon(backend, upload, begun)


#: An upload that got no byte for this long gives its place to another one of the same ticket.
IDLE_SECONDS = 600.0


def free_places(backend: Backend, store: UploadStore, upload: Upload, bound: str) -> None:
    """Free places for a creation that met a bound.

    Expired uploads lose their places. Under a ticket, an upload that got no byte for
    `IDLE_SECONDS` ends: the answer to its creation was lost, or its sender gave up.
    """
    oldest = UploadPlaces(store).oldest(upload, bound)
    if bound in ("ticket", "bytes"):
        for one in oldest:
            if not one.offset and not one.is_written and one.idle_seconds > IDLE_SECONDS:
                end(backend, store, one.upload)


def end(backend: Backend, store: UploadStore, upload: Upload) -> None:
    """End an upload: remove its bytes and forget it. A request that writes it loses the lease."""
    with translated():
        remove(backend, upload)
    store.forget(upload.id)


def _publish_empty(backend: Backend, upload: Upload) -> None:
    """Make the empty file where nothing is; a session alone never replaces a file."""
    target = VFolderPath.parse(upload.path)
    vfolder = VFolderId.parse(upload.vfolder)
    if files := backend.skill(HasObjectFiles):
        files.send_file(vfolder, target, -1, 0, upload=upload.id, on_work=int, absent=True)
        return
    with (
        translated(str(target)),
        backend.open_vfolder(vfolder) as top,
        parents(target, top, backend.mount.owner) as parent,
    ):
        try:
            descriptor = os.open(target.name, _NEW_FILE, inheritance.FILE_MODE, dir_fd=parent)
        except FileExistsError:
            return
        try:
            inheritance.inherit_access(descriptor, parent, backend.mount.owner)
        finally:
            os.close(descriptor)
        os.fsync(parent)


# -- Space -----------------------------------------------------------------------------------------
def reserve_space(backend: Backend, upload: Upload) -> None:
    """Reserve the upload's space in its scope, where this service enforces the limit.

    Each request reserves again, in place of the reservation before. An upload without a length
    reserves what its ticket allows. What its target holds now is not reserved: the upload replaces
    that file.

    Raises:
        QuotaExceeded, StoreUnavailable: as `backends.quota.soft.reserve`.
    """
    size_bytes = (upload.limit if upload.length is None else upload.length) or 0
    vfolder = VFolderId.parse(upload.vfolder)
    soft.reserve(
        backend, vfolder, upload.id, lambda: max(0, size_bytes - _replaced(backend, upload))
    )


def _replaced(backend: Backend, upload: Upload) -> int:
    """Return the bytes of the file that the upload will replace; 0 where there is none."""
    if upload.partial or upload.extract or not upload.path:
        return 0
    vfolder, target = VFolderId.parse(upload.vfolder), VFolderPath.parse(upload.path)
    try:
        if files := backend.skill(HasObjectFiles):
            return files.file_size(vfolder, target)
        with (
            backend.open_vfolder(vfolder) as top,
            paths.parent_beneath(top, target) as (parent, name),
        ):
            return soft.size_of(name, parent)
    except (OSError, StorageError):  # there is none, or the publication will say why
        return 0


def settle_space(
    backend: Backend, upload: Upload, change_bytes: int = 0, *, since_ms: int | None = None
) -> None:
    """End the reservation: the vfolder gained `change_bytes`, or the upload was abandoned (0).

    `since_ms` is as in `backends.quota.soft.settle`, for a file that replaced a longer one.
    """
    vfolder = VFolderId.parse(upload.vfolder)
    soft.settle(backend, vfolder, upload.id, change_bytes, since_ms=since_ms)


def settle_found(backend: Backend, upload: Upload, size_bytes: int) -> None:
    """End the reservation of an upload whose process died after it published `size_bytes`.

    Just before, it reserved what the vfolder gains; what it replaced is not known any more.
    """
    vfolder = VFolderId.parse(upload.vfolder)
    soft.settle(backend, vfolder, upload.id, size_bytes, as_reserved=True)


def allocate_ahead(descriptor: int, start: int, size: int, length: int) -> None:
    """Allocate the blocks of the next stretch, when a write of `size` bytes enters it.

    ext4 searches, charges the quota and logs for every block of a write by itself. That is a third
    of the cost of a write, and nothing where the blocks are there already. XFS and btrfs do not
    gain. The file keeps the length of its bytes. A stretch that cannot be allocated is ignored: the
    write meets the same refusal.

    Args:
        descriptor: the staging file.
        start: the offset of the write.
        size: its bytes.
        length: the length of the complete file; nothing beyond it is allocated.

    Raises:
        OSError: as fstatfs(2), ftruncate(2).
    """
    at = -(-start // STRETCH_BYTES) * STRETCH_BYTES
    stretch = min(STRETCH_BYTES, length - at)
    if at >= start + size or stretch < STRETCH_MIN_BYTES:
        return
    if linux.magic(descriptor) != linux.EXT4:
        return
    try:
        linux.preallocate(descriptor, at, stretch)
    except OSError:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size)  # a part of it was allocated
