"""Clones that the storage system makes by itself, within one volume: no byte passes through here.

A clone is only a faster copy. What the storage system cannot clone is copied.
"""

import os
from pathlib import PurePosixPath
from typing import TypeVar

from backends.base import HasFileClone, HasTreeClone, MountedBackend
from core.errors import StorageError, Unsupported
from core.telemetry import logger

#: After so many failed clones in one copy the rest is copied.
FAILURES_MAX = 3
S = TypeVar("S")
_log = logger(__name__)


class FileCloner:
    """Clones big files of one copy by the storage system; `sides` are source and target."""

    def __init__(self, skill: HasFileClone, sides: tuple[PurePosixPath, PurePosixPath]) -> None:
        self._skill = skill
        self._sides = sides
        self._failures = 0

    def __call__(self, path: str) -> bool:
        """Make the file of the target; False where it has to be copied."""
        if self._failures >= FAILURES_MAX:
            return False
        source, target = (side / path for side in self._sides)
        try:
            self._skill.clone_file(source, target)
        except Unsupported as refusal:
            self._failures = FAILURES_MAX
            _log.info("files are copied, not cloned", reason=refusal.detail)
            return False
        except StorageError as error:
            self._failures += 1
            _log.warning("the storage system did not clone a file", reason=error.detail)
            return False
        return True


def file_cloner(
    source: MountedBackend, target: MountedBackend, sides: tuple[int, int]
) -> FileCloner | None:
    """Return what clones big files between two open directories; None where nothing does.

    Asks the storage system once. Where the mount shares blocks itself (FICLONE), that is faster.
    """
    skill = _skill(HasFileClone, "file-clone", source, target)
    if skill is None or target.reflinks():
        return None
    places = place_below(source, sides[0]), place_below(target, sides[1])
    return FileCloner(skill, (places[0], places[1])) if places[0] and places[1] else None


def tree_cloner(source: MountedBackend, target: MountedBackend) -> HasTreeClone | None:
    """Return the volume as one that clones whole directories; None where it does not."""
    return _skill(HasTreeClone, "instant-clone", source, target)


def place_below(backend: MountedBackend, directory: int) -> PurePosixPath | None:
    """Return where an open directory is below its volume; None where the mount has changed."""
    path = os.readlink(f"/proc/self/fd/{directory}")
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    below = os.path.relpath(path, os.path.realpath(backend.mount.path))
    if below.startswith("..") or not os.path.samestat(found, os.fstat(directory)):
        return None
    return PurePosixPath(below)


def _skill(
    kind: type[S], capability: str, source: MountedBackend, target: MountedBackend
) -> S | None:
    skill = target.skill(kind) if source is target else None
    return None if skill is None or capability in target.lacking() else skill
