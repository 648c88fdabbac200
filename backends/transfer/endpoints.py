"""The two ends of a transfer: a directory or one file on each side."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backends.base import MountedBackend
from backends.fs import descriptors, paths
from backends.quota import soft
from core.errors import (
    EntryExists,
    EntryNotFound,
    InvalidParameters,
    VFolderExists,
    VFolderNotFound,
)
from core.names import VFolderId, VFolderPath

#: The mode of directories that are made above a target path (doors and workers set their umask).
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
        """Open the directory; the context closes it.

        Raises:
            VFolderNotFound, EntryNotFound: it does not exist.
            InvalidParameters: it is not a directory.
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
        """Return the attributes of the entry itself; None when it does not exist.

        Raises:
            VFolderNotFound: the vfolder does not exist either.
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

    def freed_bytes(self) -> int:
        """Return the bytes that the scope loses when the entry here is replaced."""
        try:
            with (
                self.backend.open_vfolder(self.vfolder) as root,
                paths.parent_beneath(root, self.path) as (parent, name),
            ):
                return soft.size_of(name, parent)
        except (EntryNotFound, VFolderNotFound):
            return 0

    def below(self, name: str) -> "Endpoint":
        """Return an entry of this directory."""
        return Endpoint(self.backend, self.vfolder, self.path / VFolderPath((name,)))

    @property
    def parent(self) -> "Endpoint":
        """The directory that holds this entry."""
        return Endpoint(self.backend, self.vfolder, self.path.parent)

    def take(self, name: str, staged: int) -> None:
        """Publish a staged entry at this path, which must be free.

        Raises:
            VFolderExists, EntryExists: another entry was made there meanwhile.
        """
        with self._made() as (parent, own):
            try:
                descriptors.rename_new(name, staged, own, parent)
            except FileExistsError:
                if self.path.is_root:
                    raise VFolderExists(f"The vfolder {self.vfolder} is already there.") from None
                raise EntryExists(f"{self.path} is already there.") from None

    def replace(self, name: str, staged: int) -> None:
        """Publish a staged file at this path, in place of the file or link there."""
        with self._made() as (parent, own):
            os.rename(name, own, src_dir_fd=staged, dst_dir_fd=parent)
            os.fsync(parent)

    @contextmanager
    def _made(self) -> Iterator[tuple[int, str]]:
        """Open the directory above, made where it is missing; yield it and the name in it."""
        if self.path.is_root:
            directory = self.vfolder.directory
            with (
                self.backend.root() as root,
                descriptors.made(directory.parent, root) as parent,
            ):
                yield parent, directory.name
            return
        with self.backend.open_vfolder(self.vfolder) as root:
            above = paths.make_directories(root, self.path.parent, DIRECTORY_MODE, synced=True)
            try:
                parent = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above)
            finally:
                os.close(above)
            try:
                yield parent, self.path.name
            finally:
                os.close(parent)


def is_directory(status: os.stat_result | None) -> bool:
    """Return whether the entry exists and is a directory."""
    return status is not None and stat.S_ISDIR(status.st_mode)
