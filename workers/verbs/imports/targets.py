"""Where an import writes: a directory with staging, of a VFS storage or of a vfolder."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Protocol

from backends.base import MountedBackend, Owner
from backends.fs import atomic, descriptors, inheritance, layout, paths, translated
from backends.quota import blame, check_space, soft
from backends.tree import remove_tree, sync_file_system
from backends.uploads import parents, prepare_file
from backends.volumes.artifacts import FileTooLarge, VfsStorage
from core.errors import CopyDiffers, StorageError
from core.names import QuotaScope, VFolderId, VFolderPath
from workers.run import Context, Manifest
from workers.verbs.imports.download import Download
from workers.verbs.imports.sources import ImportFile

_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
#: The owner's own mode until a file is published.
_STAGED_MODE = 0o600


class Target(Protocol):
    """The end of an import."""

    def begin(self) -> Manifest | None:
        """Take the fence; return the record of what earlier runs have done, if one is kept."""

    def reserve(self, total_bytes: int) -> None:
        """Check that there is room, and reserve it under a limit."""

    def receive(self, number: int, file: ImportFile, download: Download) -> None:
        """Make a file of model `number` complete and checked; continue what an earlier run began.

        Raises:
            CopyDiffers: its content is not what the registry says.
        """

    def open(self, number: int, file: ImportFile) -> BinaryIO:
        """Open a file that was received, for a verifier. Reads raise where the run must stop."""

    def withdraw(self, number: int, files: list[ImportFile]) -> None:
        """Remove files that a verifier refuses, where others see them already."""

    def publish(
        self, number: int, place: VFolderPath, files: list[ImportFile], *, owned: bool
    ) -> None:
        """Let the files of a model appear at a place; an `owned` place has nothing else then."""

    def settle(self, size_bytes: int) -> None:
        """Record what was published, in the ledger of a limit."""

    def discard(self) -> None:
        """Remove what the present model has written where others see it, and is not complete."""

    def clear(self) -> None:
        """Remove the staging."""


class DirectoryTarget:
    """What both kinds of directories share: staging, digests, publication by renames."""

    #: Who owns new directories.
    _owner = Owner.SERVICE

    def __init__(
        self, context: Context, root: int, scope: QuotaScope | None, places: list[VFolderPath]
    ) -> None:
        """Take where the staging is, and where each model goes."""
        self._places = places
        self._context = context
        self._run = context.run
        self._root = root
        self._scope = scope
        self._staging = layout.staging(scope, self._run.job.id)

    def begin(self) -> Manifest:
        """Take the fence, and open the report."""
        manifest = self._context.manifest(self._root, self._scope)
        self._context.report(self._root, self._scope, continues=True)
        return manifest

    def reserve(self, total_bytes: int) -> None:
        """Reserve nothing: this kind has no limit."""

    # -- Staging -----------------------------------------------------------------------------------
    def receive(self, number: int, file: ImportFile, download: Download) -> None:
        """Download a file into staging, from where an earlier run stopped, and check it."""
        self._check(number, file)
        with self._staged(number, file.path.parent) as parent, self._blamed():
            descriptor = os.open(file.path.name, _OPEN, _STAGED_MODE, dir_fd=parent)
            try:
                if os.fstat(descriptor).st_size or not self._has_copied(
                    number, file, descriptor, download
                ):
                    self._fill(descriptor, file, download)
            finally:
                os.close(descriptor)

    def _has_copied(
        self, number: int, file: ImportFile, descriptor: int, download: Download
    ) -> bool:
        """Copy the file of an earlier import; false where there is none, or one that differs.

        It is read before, so that what a killed run leaves is the beginning of the right file.
        """
        with self._earlier(number, file) as earlier:
            if earlier is None or os.fstat(earlier).st_size != file.size:
                return False

            def read(offset: int, size: int) -> bytes:
                download.check()
                return os.pread(earlier, size, offset)

            def copied(offset: int, size: int) -> bytes:
                piece = read(offset, size)
                atomic.write_all(descriptor, piece)
                return piece

            if not file.matches(read):
                return False
            if file.matches(copied):
                download.known(file)
                return True
        os.ftruncate(descriptor, 0)
        return False

    @contextmanager
    def _earlier(self, number: int, file: ImportFile) -> Iterator[int | None]:
        """Open what is at the place of a file; None without one, or where nothing can prove it."""
        if not file.digest:
            yield None
            return
        try:
            with self._top() as top:
                descriptor = paths.open_file(top, self._places[number] / file.path)
        except (OSError, StorageError):
            yield None
            return
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _top(self) -> Iterator[int]:
        """Open the directory that places are in."""
        yield self._root

    def _check(self, number: int, file: ImportFile) -> None:
        """Refuse a file that the target does not take."""

    def _fill(self, descriptor: int, file: ImportFile, download: Download) -> None:
        def read(offset: int, size: int) -> bytes:
            download.check()
            return os.pread(descriptor, size, offset)

        there = os.fstat(descriptor).st_size
        if there == file.size and file.matches(read):
            download.known(file)
            return
        if there >= file.size:  # torn by a crash of the machine, or of another commit
            os.ftruncate(descriptor, 0)
            there = 0
        os.lseek(descriptor, there, os.SEEK_SET)
        for piece in download.pieces(file, there):
            atomic.write_all(descriptor, piece)
        if not file.matches(read):
            os.ftruncate(descriptor, 0)
            raise CopyDiffers("A file differs from the digest that the registry says.")

    @contextmanager
    def _staged(self, number: int, directory: VFolderPath) -> Iterator[int]:
        below = self._staging / str(number) / PurePosixPath(*directory.parts)
        with (
            translated(str(directory)),
            self._context.hidden_directory(self._root, below) as opened,
        ):
            yield opened

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """Say what is full, the quota scope or the volume."""
        yield

    # -- Verification ------------------------------------------------------------------------------
    def open(self, number: int, file: ImportFile) -> BinaryIO:
        """Open a file in staging."""
        with self._staged(number, file.path.parent) as parent, translated(file.name):
            descriptor = os.open(file.path.name, _READ, dir_fd=parent)
        return io.BufferedReader(_WatchedFile(descriptor, self._run.check))

    def withdraw(self, number: int, files: list[ImportFile]) -> None:
        """Do nothing: the staging is hidden, and its removal follows."""

    # -- Publication -------------------------------------------------------------------------------
    def _lay_over(self, number: int, top: int, place: VFolderPath, files: list[ImportFile]) -> None:
        """Rename each staged file to its place, replacing others; on disk when this returns."""
        for file in files:
            self._run.check()
            target = place / file.path
            with (
                self._staged(number, file.path.parent) as staged,
                translated(str(target)),
                parents(target, top, self._owner) as parent,
            ):
                self._move(file.path.name, staged, parent)
        self._sync()

    def _move(self, name: str, staged: int, parent: int) -> None:
        try:
            descriptor = os.open(name, _READ, dir_fd=staged)
        except FileNotFoundError:  # an earlier run has moved it
            return
        try:
            self._prepare(descriptor, parent, name)
        finally:
            os.close(descriptor)
        os.rename(name, name, src_dir_fd=staged, dst_dir_fd=parent)

    def _prepare(self, descriptor: int, parent: int, name: str) -> None:  # noqa: ARG002 - vfolders need them
        """Give a file the attributes that it has under its name."""
        os.fchmod(descriptor, inheritance.FILE_MODE)

    def _sync(self) -> None:
        with self._context.hidden_directory(self._root, self._staging) as staging:
            sync_file_system(staging)

    def settle(self, size_bytes: int) -> None:
        """Do nothing: this kind has no ledger."""

    def discard(self) -> None:
        """Do nothing: others see what is complete."""

    def clear(self) -> None:
        """Remove the staging."""
        with self._context.hidden_directory(self._root, self._staging.parent) as directory:
            remove_tree(directory, self._staging.name, control=self._run)


class _WatchedFile(io.FileIO):
    """A file whose reads raise when the run must stop."""

    def __init__(self, descriptor: int, check: Callable[[], None]) -> None:
        super().__init__(descriptor)
        self._check = check

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - any buffer, as the parent says
        """Fill a buffer."""
        self._check()
        return super().readinto(buffer)


class StorageTarget(DirectoryTarget):
    """A VFS storage. All in it belongs to the owner of its directory: the doors change it, too."""

    _owner = Owner.DIRECTORY

    def __init__(self, context: Context, storage: VfsStorage, places: list[VFolderPath]) -> None:
        """Take the storage, and where each model goes."""
        super().__init__(context, context.storage_root(storage), None, places)
        self._storage = storage
        status = os.fstat(self._root)
        self._ids = (status.st_uid, status.st_gid)

    def _prepare(self, descriptor: int, parent: int, name: str) -> None:
        super()._prepare(descriptor, parent, name)
        inheritance.set_owner(descriptor, os.fstat(descriptor), *self._ids)

    def _check(self, number: int, file: ImportFile) -> None:
        self._storage.parse(str(self._places[number] / file.path))
        limit = self._storage.max_file_bytes
        if limit is not None and file.size > limit:
            raise FileTooLarge(f"A file of this storage has at most {limit} bytes.")

    def publish(
        self, number: int, place: VFolderPath, files: list[ImportFile], *, owned: bool
    ) -> None:
        """Publish a tree by one rename where the place is the model's own, else file by file."""
        self._sync()
        if owned:
            self._prepare_tree(number, files)
            self._replace(number, place)
        else:
            self._lay_over(number, self._root, place, files)

    def _prepare_tree(self, number: int, files: list[ImportFile]) -> None:
        """Give files and directories their owner, and modes that others may read."""
        with self._context.hidden_directory(self._root, self._staging) as staging:
            if not descriptors.exists(PurePosixPath(str(number)), staging):
                return  # an earlier run has published it
        for directory, names in _by_directory(files).items():
            self._run.check()
            with self._staged(number, directory) as current:
                os.fchmod(current, inheritance.DIRECTORY_MODE)
                inheritance.set_owner(current, os.fstat(current), *self._ids)
                for name in names:
                    self._prepare_staged(name, current)

    def _prepare_staged(self, name: str, directory: int) -> None:
        descriptor = os.open(name, _READ, dir_fd=directory)
        try:
            self._prepare(descriptor, directory, name)
        finally:
            os.close(descriptor)

    def _replace(self, number: int, place: VFolderPath) -> None:
        """Rename the tree to its place; what was there is removed."""
        old = f"{number}.old"
        with (
            self._context.hidden_directory(self._root, self._staging) as staging,
            translated(str(place)),
            parents(place, self._root, self._owner) as parent,
        ):
            if descriptors.exists(PurePosixPath(str(number)), staging):
                with suppress(FileNotFoundError):
                    os.rename(place.name, old, src_dir_fd=parent, dst_dir_fd=staging)
                descriptors.rename_new(str(number), staging, place.name, parent)
            remove_tree(staging, old, control=self._run)


def _by_directory(files: list[ImportFile]) -> dict[VFolderPath, list[str]]:
    """Return the names of the files in each directory, also in one with directories alone."""
    found: dict[VFolderPath, list[str]] = {VFolderPath(()): []}
    for file in files:
        directory = file.path.parent
        while directory not in found:
            found[directory] = []
            directory = directory.parent
        found[file.path.parent].append(file.path.name)
    return found


class VFolderTarget(DirectoryTarget):
    """A vfolder: its quota scope pays, and its entries are as those of an upload."""

    def __init__(
        self, context: Context, volume: str, vfolder: VFolderId, places: list[VFolderPath]
    ) -> None:
        super().__init__(context, context.root(volume), vfolder.scope, places)
        self._backend: MountedBackend = context.backend(volume)
        self._vfolder = vfolder
        self._owner = self._backend.mount.owner

    def reserve(self, total_bytes: int) -> None:
        """Reserve the space in the quota scope."""
        if total_bytes:
            soft.reserve(self._backend, self._vfolder, self._run.job.id, total_bytes)
        check_space(self._backend, self._vfolder, total_bytes)

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        try:
            with translated():
                yield
        except StorageError as error:
            raise blame(self._backend, self._scope, error) from error

    def publish(
        self,
        number: int,
        place: VFolderPath,
        files: list[ImportFile],
        *,
        owned: bool,  # noqa: ARG002 - entries of users may be beside them
    ) -> None:
        """Publish file by file: a user may have other entries there."""
        self._sync()
        with self._top() as top:
            self._lay_over(number, top, place, files)

    @contextmanager
    def _top(self) -> Iterator[int]:
        with self._backend.open_vfolder(self._vfolder) as top:
            yield top

    def _prepare(self, descriptor: int, parent: int, name: str) -> None:
        """Give a file what an upload of this name would have."""
        prepare_file(descriptor, parent, name, self._backend.mount)

    def settle(self, size_bytes: int) -> None:
        """Record the bytes that were published."""
        soft.settle(self._backend, self._vfolder, self._run.job.id, size_bytes)
