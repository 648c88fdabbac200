"""Where a transfer reads and where its result goes: a directory or one file on each side."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backends.base import MountedBackend
from backends.fs import descriptors, paths
from core.errors import EntryExists, EntryNotFound, InvalidParameters, VFolderExists
from core.names import VFolderId, VFolderPath

#: Directories that are made on the way to a target path (umask applies).
DIRECTORY_MODE = 0o755


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path in a vfolder of a volume."""

    backend: MountedBackend
    vfolder: VFolderId
    path: VFolderPath

    def __str__(self) -> str:
        return str(self.vfolder) if self.path.is_root else f"{self.vfolder}/{self.path}"

    @contextmanager
    def opened(self) -> Iterator[int]:
        """The directory, open.

        Raises:
            VFolderNotFound, EntryNotFound: it does not exist.
            InvalidParameters: it is no directory.
        """
        with self.backend.open_vfolder(self.vfolder) as root:
            fd = paths.open_directory(root, self.path)
            try:
                real = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            finally:
                os.close(fd)
            try:
                yield real
            finally:
                os.close(real)

    def status(self) -> os.stat_result | None:
        """The attributes of the entry itself; None when it is not there.

        Raises:
            VFolderNotFound: there is not even the vfolder.
        """
        with self.backend.open_vfolder(self.vfolder) as root:
            try:
                return paths.stat_beneath(root, self.path, follow=False)
            except EntryNotFound:
                return None
            except InvalidParameters as error:
                if error.facts.get("errno") == errno.ENOTDIR:
                    return None
                raise

    def below(self, name: str) -> "Endpoint":
        """An entry of it."""
        return Endpoint(self.backend, self.vfolder, self.path / VFolderPath((name,)))

    @property
    def parent(self) -> "Endpoint":
        """The directory that holds it."""
        return Endpoint(self.backend, self.vfolder, self.path.parent)

    def take(self, name: str, staged: int) -> None:
        """Publish a staged entry at this path, where nothing is yet.

        Raises:
            VFolderExists, EntryExists: something came there meanwhile.
        """
        with self._made() as (parent, own):
            try:
                descriptors.rename_new(name, staged, own, parent)
            except FileExistsError:
                if self.path.is_root:
                    raise VFolderExists(f"The vfolder {self.vfolder} is already there.") from None
                raise EntryExists(f"{self.path} is already there.") from None

    def replace(self, name: str, staged: int) -> None:
        """Publish a staged file at this path, in place of a file or link that is there."""
        with self._made() as (parent, own):
            os.rename(name, own, src_dir_fd=staged, dst_dir_fd=parent)
            os.fsync(parent)

    @contextmanager
    def _made(self) -> Iterator[tuple[int, str]]:
        """The directory above, made where it is missing, and the name in it."""
        if self.path.is_root:
            directory = self.vfolder.directory
            with (
                self.backend.root() as root,
                descriptors.made(directory.parent, root) as parent,
            ):
                yield parent, directory.name
            return
        with self.backend.open_vfolder(self.vfolder) as root:
            above = paths.make_directories(root, self.path.parent, DIRECTORY_MODE)
            try:
                parent = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above)
            finally:
                os.close(above)
            try:
                yield parent, self.path.name
            finally:
                os.close(parent)


def is_directory(status: os.stat_result | None) -> bool:
    """Whether there is something and it is a directory."""
    return status is not None and stat.S_ISDIR(status.st_mode)
