"""The verbs `delete` and `delete-files`.

A vfolder goes by one rename into the trash of its quota scope; then its bytes are removed. The
rename is marked first: a vfolder that is made anew under the same id meanwhile is not touched.
"""

import os
from pathlib import PurePosixPath
from typing import Any, cast

from backends import descriptors, layout, paths
from backends.tree import RemoveOptions, remove_tree
from core.control import Control, Counter
from core.errors import EntryNotFound, StorageError
from core.jobs import State
from core.names import VFolderId, VFolderPath
from core.os_failures import translate
from core.requests import DeleteFilesRequest, DeleteRequest
from workers.context import Context, Outcome
from workers.run import Run

#: The two prefix directories of a vfolder that may be left empty.
PREFIX_LEVELS = 2


class Delete:
    """One run of a delete."""

    def __init__(self, context: Context, request: DeleteRequest) -> None:
        self._context = context
        self._run = context.run
        self._vfolder = VFolderId.parse(request.vfolder)
        self._backend = context.backend(request.volume)
        self._root = context.root(request.volume)
        self._left = 0
        self._trash = layout.trash(self._vfolder.scope, self._run.job.id)

    def __call__(self) -> Outcome:
        """Rename away, then remove; absent is success."""
        scope = self._vfolder.scope
        if scope and not descriptors.exists(PurePosixPath(scope.directory), self._root):
            return self._outcome(existed=False)
        manifest = self._context.manifest(self._root, scope)
        self._context.report(self._root, scope, goes_on=False)
        renamed = manifest.last("renamed") is not None
        if not renamed and not descriptors.exists(self._trash, self._root):
            renamed = self._rename()
        else:
            renamed = True
        if renamed:
            manifest.mark("renamed")
            descriptors.prune(self._vfolder.directory.parent, self._root, PREFIX_LEVELS)
        self._purge()
        return self._outcome(existed=renamed)

    def undo(self) -> None:
        """Nothing to undo: a delete that renamed is past the point of no return."""

    def _rename(self) -> bool:
        self._run.phase("rename")
        path = self._vfolder.directory
        if not descriptors.exists(path, self._root):
            return False
        self._run.point_of_no_return()
        with (
            descriptors.opened(path.parent, self._root) as parent,
            self._context.room(self._root, self._trash.parent) as trash,
        ):
            self._run.check()
            descriptors.rename_new(path.name, parent, self._trash.name, trash)
        return True

    def _purge(self) -> None:
        self._run.phase("purge")
        if not descriptors.exists(self._trash, self._root):
            return
        with self._context.room(self._root, self._trash.parent) as parent:
            self._backend.before_purge(parent, self._trash.name, self._vfolder)
            removal = remove_tree(
                parent,
                self._trash.name,
                control=self._run,
                options=RemoveOptions(effort=self._context.effort),
            )
            os.fsync(parent)
        self._left = removal.left

    def _outcome(self, *, existed: bool) -> Outcome:
        return Outcome(
            sentence=f"deleted {self._vfolder}" if existed else f"{self._vfolder} was not there",
            result={"vfolder": str(self._vfolder), "existed": existed, "left": self._left},
            state=State.PARTIAL if self._left else State.SUCCEEDED,
        )


class DeleteFiles:
    """One run of a delete of entries: idempotent, so every run just goes over the list."""

    def __init__(self, context: Context, request: DeleteFilesRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request
        self._vfolder = VFolderId.parse(request.vfolder)

    def __call__(self) -> Outcome:
        """Remove every entry; absent ones and, without `recursive`, directories are skipped."""
        skipped, failed = 0, 0
        root_of_volume = self._context.root(self._request.volume)
        self._context.report(root_of_volume, self._vfolder.scope, goes_on=False)
        self._run.phase("delete")
        with self._context.backend(self._request.volume).open_vfolder(self._vfolder) as root:
            for text in self._request.paths:
                self._run.check()
                path = VFolderPath.parse(text)
                try:
                    skipped += not self._remove(root, path)
                except _Resisted:
                    failed += 1
                except (OSError, StorageError) as error:
                    failed += 1
                    self._run.count(Counter.FAILED, 1)
                    known = translate(error) if isinstance(error, OSError) else error
                    self._run.fault(str(path), known.detail)
        return Outcome(
            sentence=f"deleted entries of {self._vfolder}",
            result={"named": len(self._request.paths), "skipped": skipped, "failed": failed},
            state=State.PARTIAL if failed else State.SUCCEEDED,
        )

    def undo(self) -> None:
        """Nothing to undo: what is removed is removed."""

    def _remove(self, root: int, path: VFolderPath) -> bool:
        try:
            with paths.parent_beneath(root, path) as (parent, name):
                return self._remove_entry(parent, name, path)
        except EntryNotFound:
            return False

    def _remove_entry(self, parent: int, name: str, path: VFolderPath) -> bool:
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return False
        except IsADirectoryError:
            if not self._request.recursive:
                return False
            options = RemoveOptions(effort=self._context.effort)
            below = cast("Control", _Below(self._run, str(path)))
            if not remove_tree(parent, name, control=below, options=options).complete:
                raise _Resisted from None
            return True
        self._run.count(Counter.DELETED, 1)
        return True


class _Resisted(Exception):
    """Entries below a named directory are left; each has been told."""


class _Below:
    """The run's control for a tree below the vfolder's root: faults are named from the root."""

    def __init__(self, run: Run, top: str) -> None:
        self._run = run
        self._top = top

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the control has
        return getattr(self._run, name)

    def fault(self, path: str, reason: str) -> None:
        """See `Control.fault`."""
        self._run.fault(f"{self._top}/{path}" if path else self._top, reason)
