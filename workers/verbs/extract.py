"""The verb `extract`: unpack an archive into a directory of a vfolder, completely or not at all.

The archive is an upload (a folder sent as one resumable object) or a file of the vfolder. A run
reads from the archive what it holds and checks the free space, unpacks into staging, and publishes
with one rename that replaces nothing. If a run is killed before that, the next run unpacks again.
The end of the job removes the bytes of an upload, whatever the end is.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from typing import Any

from backends.archives import BOUNDS, Unpacking, UnpackOptions, UploadFormat, opened
from backends.base import Owner
from backends.fs import descriptors, inheritance, layout, paths, translate
from backends.quota import blame, check_space, soft
from backends.tree import remove_tree, sync_file_system
from backends.uploads import give_to_job, nearest_parent, parents
from core.errors import EntryExists, EntryNotFound
from core.jobs.requests import ExtractRequest
from core.names import VFolderId, VFolderPath
from workers.run import Context, Manifest, Outcome
from workers.verbs.transfer import amounts_of, items_of

#: An archive that does not say how much it holds reserves this many bytes ahead.
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
        self._context.report(self._root, self._vfolder.scope, continues=False)
        with self._backend.open_vfolder(self._vfolder) as top:
            mark = manifest.last("publish")
            if mark is None or self._inode(top) != mark["inode"]:
                mark = self._unpack_and_publish(top, manifest)
        self._forget_archive()
        size_bytes, job = int(mark["facts"]["copied_bytes"]), self._run.job.id
        soft.settle(self._backend, self._vfolder, job, size_bytes)
        facts = dict(mark["facts"])
        amounts = amounts_of(facts) or ["an empty archive"]
        return Outcome(
            sentence=self._run.summary("unpacked", *amounts, size_bytes=size_bytes),
            result=facts,
            items=items_of(facts),
            size_bytes=size_bytes,
        )

    def undo(self) -> None:
        """Remove the staging and the bytes of the upload; the target never existed."""
        soft.settle(self._backend, self._vfolder, self._run.job.id)
        self._run.phase("clean up")
        try:
            self._clear()
        finally:
            self._forget_archive()

    def _unpack_and_publish(self, top: int, manifest: Manifest) -> dict[str, Any]:
        if self._inode(top) is not None:
            raise EntryExists("An entry of the target's name exists; nothing was unpacked.")
        self._clear()
        with (
            self._source(top) as file,
            self._context.hidden_directory(self._root, self._staging) as staging,
        ):
            with nearest_parent(self._target, top) as parent:
                inheritance.inherit_directory(staging, parent, self._backend.mount.owner)
            facts = self._unpack(file, staging)
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

        options = self._options(staging, check)
        work = Unpacking(staging, options, self._run, self._run.throttle)
        try:
            return work.run(archive).document()
        except OSError as error:
            raise blame(self._backend, self._vfolder.scope, translate(error)) from error
        finally:
            work.close()

    def _options(self, staging: int, check: Callable[[int, int], None]) -> UnpackOptions:
        status = os.fstat(staging)
        own = (status.st_uid, status.st_gid)
        given = self._backend.mount.owner is Owner.DIRECTORY and os.geteuid() == 0
        return UnpackOptions(
            check,
            self._context.note,
            owner=own if given else None,
            under_acl=inheritance.default_acl(staging) is not None,
        )

    def _reserve(self, size_bytes: int) -> None:
        """Reserve space under a soft limit, again and again if the archive gives no size."""
        if size_bytes:
            job = self._run.job.id
            soft.reserve(self._backend, self._vfolder, job, size_bytes)
        self._reserved = size_bytes

    def _publish(self, top: int, manifest: Manifest, mark: dict[str, Any]) -> None:
        self._run.phase("publish")
        self._run.point_of_no_return()
        manifest.mark("publish", **mark)
        with (
            descriptors.opened(self._staging.parent, self._root) as directory,
            parents(self._target, top, self._backend.mount.owner) as parent,
        ):
            self._run.check()
            try:
                descriptors.rename_new(self._staging.name, directory, self._target.name, parent)
            except FileExistsError:
                detail = (
                    "An entry of the target's name was created meanwhile; nothing was unpacked."
                )
                raise EntryExists(detail) from None

    def _inode(self, top: int) -> int | None:
        """Return the inode of the entry with the target's name; None when there is none."""
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
        """Open the bytes of the upload, which belong to this job from now on."""
        scope = self._vfolder.scope
        give_to_job(self._root, scope, self._request.upload, self._run.job.id)
        try:
            with descriptors.opened(self._archive.parent, self._root) as directory:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                return os.open(self._archive.name, flags, dir_fd=directory)
        except FileNotFoundError:
            raise EntryNotFound("The upload's bytes are gone; send it again.") from None

    def _clear(self) -> None:
        with self._context.hidden_directory(self._root, self._staging.parent) as directory:
            remove_tree(directory, self._staging.name, control=self._run)

    def _forget_archive(self) -> None:
        if self._request.upload:
            with self._context.hidden_directory(self._root, self._archive.parent) as directory:
                remove_tree(directory, self._archive.name, control=self._run)
