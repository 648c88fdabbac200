"""The sweep of uploads that nobody will finish."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from backends.base import Backend, MountedBackend
from backends.fs import descriptors, layout
from core.uploads import UploadStore

#: A staging file without a record is left alone this long: its record may be about to be written.
ORPHAN_GRACE_SECONDS = 3_600
#: Ids asked of Redis in one round trip.
BATCH = 500

_SCOPE_DIRECTORY = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True)
class UploadSweep:
    """What a sweep found."""

    kept: int = 0
    kept_bytes: int = 0
    removed: int = 0
    removed_bytes: int = 0


def sweep_uploads(
    backend: Backend, store: UploadStore, grace_seconds: float = ORPHAN_GRACE_SECONDS
) -> UploadSweep:
    """Remove the staging files of a volume whose upload Redis no longer knows.

    Redis forgets an upload a day after its last byte; a file younger than the grace is kept, so
    that an upload just being opened is safe. Costs one directory listing per quota scope and one
    round trip per 500 files. Any number of sweeps may run at once.

    Raises:
        Unavailable: Redis does not answer; nothing was removed on a guess.
        BackendFailed: the volume is not there.
    """
    swept = UploadSweep()
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return swept
    with mounted.root() as root:
        scopes = [name for name in os.listdir(root) if _SCOPE_DIRECTORY.fullmatch(name)]
        for scope in (".", *scopes):
            with _room(root, scope) as room:
                if room is not None:
                    _sweep_room(room, store, time.time() - grace_seconds, swept)
    return swept


@contextmanager
def _room(root: int, scope: str) -> Iterator[int | None]:
    try:
        room = descriptors.open_directory(PurePosixPath(scope, layout.HIDDEN, layout.UPLOADS), root)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        yield room
    finally:
        os.close(room)


def _sweep_room(room: int, store: UploadStore, before: float, swept: UploadSweep) -> None:
    names = os.listdir(room)
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        for name, known in zip(batch, store.exists(batch), strict=True):
            _sweep_file(room, name, known=known, before=before, swept=swept)


def _sweep_file(room: int, name: str, *, known: bool, before: float, swept: UploadSweep) -> None:
    try:
        found = os.stat(name, dir_fd=room, follow_symlinks=False)
        if known or found.st_mtime > before:
            swept.kept += 1
            swept.kept_bytes += found.st_size
            return
        os.unlink(name, dir_fd=room)
    except FileNotFoundError:  # published or removed meanwhile
        return
    swept.removed += 1
    swept.removed_bytes += found.st_size
