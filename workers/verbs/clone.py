"""The verb `clone`: make a vfolder that equals another.

plan (source measured, room checked, target refused if it exists) → copy into staging → verify as
asked → publish by one rename. Killed anywhere, the next run goes on; cancelled anywhere before the
rename, the target never existed.
"""

import os
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from backends.fs import descriptors, layout
from backends.quota import blame, check_capacity, soft
from backends.tree import (
    CompareOptions,
    CopyOptions,
    Receipt,
    compare_trees,
    copy_tree,
    remove_tree,
)
from core.errors import (
    BackendFailed,
    NoSpace,
    QuotaExceeded,
    QuotaScopeExists,
    VFolderExists,
)
from core.jobs.requests import CloneRequest
from core.names import VFolderId
from workers.run import Context, Manifest, Outcome

#: Differences named in the error of a failed verification.
DIFFERENCES_SHOWN = 10


def document(receipt: Receipt) -> dict[str, Any]:
    """What a copy kept and what it could not keep, as JSON."""
    return {
        "files": receipt.files,
        "directories": receipt.directories,
        "links": receipt.links,
        "hard_links": receipt.hard_links,
        "copied_bytes": receipt.size_bytes,
        "complete": receipt.complete,
        "not_kept": {
            loss.value: {"count": count, "examples": receipt.examples.get(loss, [])}
            for loss, count in receipt.losses.items()
        },
    }


class Clone:
    """One run of a clone."""

    def __init__(self, context: Context, request: CloneRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request
        self._source = VFolderId.parse(request.source)
        self._target = VFolderId.parse(request.target)
        self._from = context.backend(request.volume)
        self._to = context.backend(request.home)
        self._root = context.root(request.home)
        self._staging = layout.staging(self._target.scope, self._run.job.id)

    def __call__(self) -> Outcome:
        """Do what is left to do of the clone."""
        self._make_scope()
        manifest = self._context.manifest(self._root, self._target.scope)
        self._context.report(self._root, self._target.scope, goes_on=True)
        if self._published(manifest):
            return self._outcome(manifest.last("copied") or {})
        if descriptors.exists(PurePosixPath(self._target.directory), self._root):
            raise VFolderExists(f"The vfolder {self._target} is already there.")
        with (
            self._opened() as source,
            self._context.room(self._root, self._staging) as staging,
        ):
            receipt = self._copy(source, staging, manifest)
            self._check_complete(receipt)
            self._verify(source, staging)
            os.fsync(staging)
            facts = document(receipt)
            manifest.mark("copied", **facts)
            self._publish(manifest, os.fstat(staging).st_ino)
        return self._outcome(facts)

    def _opened(self) -> AbstractContextManager[int]:
        """What is copied."""
        return self._from.open_vfolder(self._source)

    def undo(self) -> None:
        """Remove the staging of a cancelled clone; the target was never there."""
        soft.settle(self._to, self._target.scope, self._run.job.id)
        with self._context.room(self._root, self._staging.parent) as parent:
            self._run.phase("clean up")
            remove_tree(parent, self._staging.name, control=self._run)

    def _make_scope(self) -> None:
        if self._target.scope is None:
            raise BackendFailed("The target of a clone needs a quota scope.")
        try:
            self._to.create_scope(self._target.scope)
        except QuotaScopeExists:
            return

    def _check_room(self, _items: int | None, size_bytes: int | None) -> None:
        if size_bytes:
            soft.reserve(self._to, self._target.scope, self._run.job.id, size_bytes)
        if self._run.job.attempt > 1 or not size_bytes:  # a part of it is already there
            return
        if not self._from.reflinks():
            check_capacity(self._to, size_bytes)

    def _copy(self, source: int, staging: int, manifest: Manifest) -> Receipt:
        options = CopyOptions(effort=self._context.effort)
        self._run.on_expect = self._check_room
        try:
            return copy_tree(
                source, staging, control=self._run, manifest=manifest.record, options=options
            )
        except (NoSpace, QuotaExceeded) as error:  # asked now: clean-up makes room
            raise blame(self._to, self._target.scope, error) from error
        finally:
            self._run.on_expect = None

    def _check_complete(self, receipt: Receipt) -> None:
        """A target is whole or absent, whether or not anybody verifies it.

        Raises:
            BackendFailed: entries could not be copied; some are named with the reason.
        """
        if not receipt.complete:
            raise BackendFailed(
                "The storage failed, or entries kept changing: the copy is not whole.",
                data={"missing": [f"{p}: {why}" for p, why in receipt.missing()]},
            )

    def _verify(self, source: int, staging: int) -> None:
        if self._request.verify == "none":
            return
        self._run.phase("verify")
        digest = "xxh3" if self._request.verify == "checksum" else None
        options = CompareOptions(digest=digest, effort=self._context.effort)
        found = compare_trees(source, staging, control=self._run, options=options)
        shown = [f"{d.path}: {d.aspect} {d.detail}" for d in islice(found, DIFFERENCES_SHOWN)]
        if shown:
            raise BackendFailed(
                "The copy differs from its source, which may have changed meanwhile; ask again.",
                data={"differences": shown},
            )

    def _publish(self, manifest: Manifest, inode: int) -> None:
        self._run.phase("publish")
        self._run.point_of_no_return()
        manifest.mark("publish", inode=inode)
        target = PurePosixPath(self._target.directory)
        with (
            descriptors.opened(self._staging.parent, self._root) as source_parent,
            descriptors.made(target.parent, self._root) as target_parent,
        ):
            self._run.check()
            try:
                descriptors.rename_new(
                    self._staging.name, source_parent, target.name, target_parent
                )
            except FileExistsError:
                raise VFolderExists(f"The vfolder {self._target} is already there.") from None

    def _published(self, manifest: Manifest) -> bool:
        mark = manifest.last("publish")
        if mark is None or descriptors.exists(self._staging, self._root):
            return False
        try:
            with descriptors.opened(self._target.directory, self._root) as target:
                return bool(os.fstat(target).st_ino == mark["inode"])
        except FileNotFoundError:
            return False

    def _outcome(self, facts: dict[str, Any]) -> Outcome:
        size_bytes, job = int(facts.get("copied_bytes", 0)), self._run.job.id
        soft.settle(self._to, self._target.scope, job, size_bytes, once=True)
        return Outcome(
            sentence=f"cloned {self._source} to {self._target}",
            result={"source": str(self._source), "target": str(self._target), **facts},
        )
