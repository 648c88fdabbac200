"""The verb `extract`: an archive becomes a directory of a vfolder, whole or not at all.

The archive is an upload (a folder sent as one resumable object) or a file of the vfolder. plan
(what it says it holds, room for that) → unpack into staging → publish by one rename, never over
something. Killed anywhere before, the next run unpacks anew; an upload's bytes are removed at the
job's end, however it ends.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from typing import Any

from backends.archives import BOUNDS, Unpacking, UploadFormat, opened
from backends.fs import descriptors, layout, paths, translate
from backends.quota import blame, check_space, soft
from backends.tree import remove_tree, sync_file_system
from backends.uploads import give_to_job, parents
from core.errors import EntryExists, EntryNotFound
from core.jobs.requests import ExtractRequest
from core.names import VFolderId, VFolderPath
from workers.run import Context, Manifest, Outcome

#: The directory that appears is made as any other.
DIRECTORY_MODE = 0o755
#: Of an archive that does not say how much it holds, so much is promised room ahead.
AHEAD_BYTES = 8 << 20


class Extract:
    """One run of an extract."""

    def __init__(self, context: Context, request: ExtractRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request
        self._vfolder = VFolderId.parse(request.vfolder)
        self._target = VFolderPath.parse(request.target)
        self._backend = context.backend(request.volume)
        self._root = context.root(request.volume)
        self._staging = layout.staging(self._vfolder.scope, self._run.job.id)
        self._reserved = 0
        self._archive = layout.archive(self._vfolder.scope, self._run.job.id)

    def __call__(self) -> Outcome:
        """Unpack, and publish."""
        manifest = self._context.manifest(self._root, self._vfolder.scope)
        self._context.report(self._root, self._vfolder.scope, goes_on=False)
        with self._backend.open_vfolder(self._vfolder) as top:
            mark = manifest.last("publish")
            if mark is None or self._inode(top) != mark["inode"]:
                mark = self._unpack_and_publish(top, manifest)
        self._forget_archive()
        size_bytes, job = int(mark["facts"]["copied_bytes"]), self._run.job.id
        soft.settle(self._backend, self._vfolder.scope, job, size_bytes, once=True)
        return Outcome(sentence=f"unpacked into {self._vfolder}", result=dict(mark["facts"]))

    def undo(self) -> None:
        """Remove what grew, and the upload's bytes; the target was never there."""
        soft.settle(self._backend, self._vfolder.scope, self._run.job.id)
        self._run.phase("clean up")
        self._clear()
        self._forget_archive()

    def _unpack_and_publish(self, top: int, manifest: Manifest) -> dict[str, Any]:
        if self._inode(top) is not None:
            raise EntryExists("Something of that name is there; nothing was unpacked.")
        self._clear()
        with (
            self._source(top) as file,
            self._context.hidden_directory(self._root, self._staging) as staging,
        ):
            facts = self._unpack(file, staging)
            os.fchmod(staging, DIRECTORY_MODE)
            sync_file_system(staging)
            mark = {"inode": os.fstat(staging).st_ino, "facts": facts}
            self._publish(top, manifest, mark)
        return mark

    def _unpack(self, file: FileIO, staging: int) -> dict[str, Any]:
        self._run.phase("plan")
        archive = opened(UploadFormat(self._request.archive), file)
        self._reserve(archive.total_bytes or 0)
        check_space(self._backend, self._vfolder, archive.total_bytes or 0)
        self._run.phase("unpack")
        self._run.expect(archive.entries, archive.total_bytes)
        packed = os.fstat(file.fileno()).st_size

        def check(entries: int, size_bytes: int) -> None:
            BOUNDS.check(packed, entries, size_bytes)
            if size_bytes > self._reserved:
                self._reserve(size_bytes + AHEAD_BYTES)

        work = Unpacking(staging, check, self._run, self._run.throttle)
        try:
            return work.run(archive).document()
        except OSError as error:
            raise blame(self._backend, self._vfolder.scope, translate(error)) from error
        finally:
            work.close()

    def _reserve(self, size_bytes: int) -> None:
        """Promise room under a limit that we hold; where the archive does not say, as it goes."""
        if size_bytes:
            job = self._run.job.id
            soft.reserve(self._backend, self._vfolder.scope, job, size_bytes)
        self._reserved = size_bytes

    def _publish(self, top: int, manifest: Manifest, mark: dict[str, Any]) -> None:
        self._run.phase("publish")
        self._run.point_of_no_return()
        manifest.mark("publish", **mark)
        with (
            descriptors.opened(self._staging.parent, self._root) as room,
            parents(self._target, top) as parent,
        ):
            self._run.check()
            try:
                descriptors.rename_new(self._staging.name, room, self._target.name, parent)
            except FileExistsError:
                detail = "Something of that name came meanwhile; nothing was unpacked."
                raise EntryExists(detail) from None

    def _inode(self, top: int) -> int | None:
        """What has the target's name."""
        try:
            return paths.stat_beneath(top, self._target, follow=False).st_ino
        except EntryNotFound:
            return None

    @contextmanager
    def _source(self, top: int) -> Iterator[FileIO]:
        if self._request.source:
            descriptor = paths.open_file(top, VFolderPath.parse(self._request.source))
        else:
            descriptor = self._upload()
        with FileIO(descriptor) as file:
            yield file

    def _upload(self) -> int:
        """The bytes of the upload, which belong to this job from now on."""
        scope = self._vfolder.scope
        give_to_job(self._root, scope, self._request.upload, self._run.job.id)
        try:
            with descriptors.opened(self._archive.parent, self._root) as room:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                return os.open(self._archive.name, flags, dir_fd=room)
        except FileNotFoundError:
            raise EntryNotFound("The upload's bytes are gone; send it again.") from None

    def _clear(self) -> None:
        with self._context.hidden_directory(self._root, self._staging.parent) as room:
            remove_tree(room, self._staging.name, control=self._run)

    def _forget_archive(self) -> None:
        if self._request.upload:
            with self._context.hidden_directory(self._root, self._archive.parent) as room:
                remove_tree(room, self._archive.name, control=self._run)
