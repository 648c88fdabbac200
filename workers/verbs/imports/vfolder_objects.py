"""A vfolder in a bucket as the end of an import.

A bucket has no rename, and a vfolder may have other entries. So the files of a model are staged on
the mounted directory of the volume, as in any vfolder, and become objects when all are checked.
"""

import io
import os
from contextlib import closing, suppress
from functools import partial
from typing import BinaryIO

from backends.entries import ObjectTree
from backends.fs import translated
from core.errors import EntryNotFound, VFolderNotFound
from core.names import VFolderId, VFolderPath
from workers.run import Context, Manifest
from workers.verbs.imports.buckets import DIGEST, ObjectFile
from workers.verbs.imports.download import Download
from workers.verbs.imports.sources import ImportFile
from workers.verbs.imports.targets import VFolderTarget
from workers.verbs.object_fetch import beside
from workers.verbs.object_sources import OpenUploads
from workers.verbs.objects import objects_of

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class VFolderObjectsTarget(VFolderTarget):
    """A vfolder of objects: its quota scope pays. A later run sends only parts that are missing."""

    _uploads: OpenUploads | None = None

    def __init__(
        self, context: Context, volume: str, vfolder: VFolderId, places: list[VFolderPath]
    ) -> None:
        super().__init__(context, volume, vfolder, places)
        self._objects = objects_of(context, volume)
        self._stop = bytearray(1)

    def begin(self) -> Manifest:
        """Take the fence, and know the uploads that earlier runs began."""
        manifest = super().begin()
        self._uploads = OpenUploads(manifest)
        return manifest

    @property
    def _tree(self) -> ObjectTree:
        return self._objects.tree(self._vfolder)

    def receive(self, number: int, file: ImportFile, download: Download) -> None:
        """Stage a file, unless its object is there with the digest of now."""
        if self._is_there(number, file):
            with (
                self._staged(number, file.path.parent) as parent,
                suppress(FileNotFoundError),  # else an earlier run has begun to download it
            ):
                os.unlink(file.path.name, dir_fd=parent)
            download.known(file)
            return
        super().receive(number, file, download)

    def _is_there(self, number: int, file: ImportFile) -> bool:
        """Return whether the object is that of now; it refuses what no key can be."""
        there = self._tree.head(self._places[number] / file.path)
        known = there is not None and there.size == file.size and there.metadata.get(DIGEST)
        return bool(file.digest) and known == file.digest

    def open(self, number: int, file: ImportFile) -> BinaryIO:
        """Open a file in staging, or the object that was there before."""
        try:
            return super().open(number, file)
        except EntryNotFound:
            reader = self._tree.open_object(self._places[number] / file.path)
            return io.BufferedReader(ObjectFile(reader, self._run.check))

    def publish(
        self,
        number: int,
        place: VFolderPath,
        files: list[ImportFile],
        *,
        owned: bool,  # noqa: ARG002 - entries of users may be beside them
    ) -> None:
        """Send each staged file, several at a time; each object appears complete."""
        send = partial(self._send, number, place, self._tree)
        with closing(beside(send, files)) as sent:
            for _ in sent:
                self._run.check()

    def _send(self, number: int, place: VFolderPath, tree: ObjectTree, file: ImportFile) -> None:
        path = place / file.path
        with self._staged(number, file.path.parent) as staged, translated(str(path)):
            try:
                descriptor = os.open(file.path.name, _READ, dir_fd=staged)
            except FileNotFoundError:  # an earlier run has sent it, or it was there
                return
            try:
                self._send_open(descriptor, path, tree, file)
            finally:
                os.close(descriptor)
            os.unlink(file.path.name, dir_fd=staged)

    def _send_open(
        self, descriptor: int, path: VFolderPath, tree: ObjectTree, file: ImportFile
    ) -> None:
        status, uploads = os.fstat(descriptor), self._uploads
        tree.put_file(
            path,
            descriptor,
            status.st_size,
            metadata={DIGEST: file.digest} if file.digest else {},
            on_part=self._pace,
            continued=uploads.of(path, status, tree) if uploads else None,
        )
        if uploads:
            uploads.forget(path)

    def _pace(self, size_bytes: int) -> None:
        self._run.check()
        self._run.throttle.pace(0, size_bytes, self._stop)

    def discard(self) -> None:
        """Abort the uploads that no run continues."""
        if self._uploads:
            with suppress(VFolderNotFound):  # its removal has ended them
                self._uploads.abandon(self._tree)
