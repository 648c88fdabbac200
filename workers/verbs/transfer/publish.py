"""Publish the result of a transfer: with one rename, or entry by entry over an existing tree."""

import os

from backends.transfer import Endpoint, RemoteEndpoint, is_directory
from backends.tree import OverlayOptions, OverlayResult, OverlayTrees, TreeManifest, apply_overlay
from core.errors import EntryExists, EntryNotFound, VFolderNotFound
from workers.run import Context, Manifest

#: The modes: as a new directory, over an existing directory, or as one file.
NEW, OVER, FILE = "new", "over", "file"


def mode_of(source: Endpoint | RemoteEndpoint, target: Endpoint) -> str:
    """Return how a transfer between two endpoints is published.

    Raises:
        EntryNotFound: the source does not exist.
        VFolderNotFound: the target is a path in a vfolder that does not exist.
        EntryExists: the source is a directory and the target is not.
    """
    status = source.status()
    if status is None:
        raise EntryNotFound(f"{source.path} does not exist.")
    if not is_directory(status):
        return FILE
    try:
        existing = target.status()
    except VFolderNotFound:
        if target.path.is_root:
            return NEW
        raise
    if existing is None:
        return NEW
    if not is_directory(existing):
        raise EntryExists(f"{target.path} exists and is not a directory.")
    return OVER


def is_published(target: Endpoint, manifest: Manifest) -> bool:
    """Whether an earlier run renamed its result to the target: the inode is the one it noted.

    A staged tree keeps its inode as long as it exists, so nothing else can have the same number.
    """
    mark = manifest.last("publish")
    if mark is None:
        return False
    try:
        status = target.status()
    except VFolderNotFound:
        return False
    return status is not None and status.st_ino == mark["inode"]


class Publisher:
    """Publishes what one run staged, and knows whether an earlier run did."""

    def __init__(self, context: Context, target: Endpoint, mode: str) -> None:
        self._context = context
        self._run = context.run
        self._target = target
        self._mode = mode
        self.begun = False

    def done(self, manifest: Manifest) -> bool:
        """Whether an earlier run did the one rename. An overlay has many: it is resumed instead."""
        return self._mode != OVER and is_published(self._target, manifest)

    def _begin(self) -> None:
        self._run.phase("publish")
        self._run.point_of_no_return()
        self.begun = True

    def rename(self, name: str, staged: int, manifest: Manifest) -> None:
        """Rename the staged entry to the target; a directory replaces nothing.

        Raises:
            VFolderExists, EntryExists: the target exists since the transfer began.
        """
        self._begin()
        inode = os.stat(name, dir_fd=staged, follow_symlinks=False).st_ino
        manifest.mark("publish", inode=inode)
        self._run.check()
        if self._mode == FILE:
            self._target.replace(name, staged)
        else:
            self._target.take(name, staged)

    def lay_over(
        self, trees: OverlayTrees, manifest: Manifest, record: TreeManifest, options: OverlayOptions
    ) -> OverlayResult:
        """Move the staged tree, entry by entry, over the target; `record` is the copy's record."""
        self._begin()
        manifest.mark("publish")
        return apply_overlay(trees, control=self._run, manifest=record, options=options)
