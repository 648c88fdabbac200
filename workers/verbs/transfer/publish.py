"""How the result of a transfer becomes visible: by one rename, or entry by entry over a tree."""

import os

from backends.transfer import Endpoint, is_directory
from backends.tree import OverlayOptions, OverlayResult, OverlayTrees, TreeManifest, apply_overlay
from core.errors import EntryExists, EntryNotFound, VFolderNotFound
from workers.run import Context, Manifest

#: As a new directory, over a directory that is there, or as one file.
NEW, OVER, FILE = "new", "over", "file"


def mode_of(source: Endpoint, target: Endpoint) -> str:
    """How a transfer between two places is published.

    Raises:
        EntryNotFound: there is no such source.
        VFolderNotFound: the target is a path in a vfolder that does not exist.
        EntryExists: the target is there and of another kind.
    """
    status = source.status()
    if status is None:
        raise EntryNotFound(f"{source.path} does not exist.")
    if not is_directory(status):
        return FILE
    try:
        there = target.status()
    except VFolderNotFound:
        if target.path.is_root:
            return NEW
        raise
    if there is None:
        return NEW
    if not is_directory(there):
        raise EntryExists(f"{target.path} is there and is no directory.")
    return OVER


class Publisher:
    """Publishes what one run staged, and knows whether an earlier run did."""

    def __init__(self, context: Context, target: Endpoint, mode: str) -> None:
        self._context = context
        self._run = context.run
        self._target = target
        self._mode = mode
        self.begun = False

    def done(self, manifest: Manifest) -> bool:
        """Whether an earlier run did the one rename; over a tree there are many, taken up again."""
        mark = manifest.last("publish")
        if mark is None or self._mode == OVER:
            return False
        try:
            status = self._target.status()
        except VFolderNotFound:
            return False
        return status is not None and status.st_ino == mark["inode"]

    def _begin(self) -> None:
        self._run.phase("publish")
        self._run.point_of_no_return()
        self.begun = True

    def rename(self, name: str, staged: int, manifest: Manifest) -> None:
        """Give the staged entry its place; a directory only where nothing is.

        Raises:
            VFolderExists, EntryExists: something came there meanwhile.
        """
        self._begin()
        inode = os.stat(name, dir_fd=staged, follow_symlinks=False).st_ino
        manifest.mark("publish", inode=inode)
        self._run.check()
        if self._mode == FILE:
            self._target.replace(name, staged)
        else:
            self._target.take(name, staged)

    def apply_overlay(
        self, trees: OverlayTrees, manifest: Manifest, record: TreeManifest, options: OverlayOptions
    ) -> OverlayResult:
        """Bring the staged tree, of a copy with this record, over the live one."""
        self._begin()
        manifest.mark("publish")
        return apply_overlay(trees, control=self._run, manifest=record, options=options)
