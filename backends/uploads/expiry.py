"""Ends of uploads that no sender asks for: expired ones, and those of a deleted vfolder."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from backends.base import Backend, MountedBackend
from backends.fs import descriptors, layout
from backends.uploads.staging import end
from core.names import VFolderId
from core.uploads import UploadPlaces, UploadStore

#: Seconds that a staging file without a record is kept: its record may be about to be written.
ORPHAN_GRACE_SECONDS = 3_600
#: Ids checked in Redis in one round trip.
BATCH = 500

_SCOPE_DIRECTORY = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True)
class UploadSweep:
    """What a sweep kept and removed."""

    kept: int = 0
    kept_bytes: int = 0
    removed: int = 0
    removed_bytes: int = 0


def sweep_uploads(
    backend: Backend, store: UploadStore, grace_seconds: float = ORPHAN_GRACE_SECONDS
) -> UploadSweep:
    """Remove the staging files of a volume whose upload is no longer in Redis.

    Redis forgets an upload a day after its last byte. A file younger than the grace is kept, so
    that an upload just being opened is safe. Costs one directory listing per quota scope and one
    round trip per 500 files. Any number of sweeps may run at once.

    Raises:
        Unavailable: Redis does not answer; nothing was removed on a guess.
        VolumeUnavailable: the volume is not mounted.
    """
    swept = UploadSweep()
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return swept
    with mounted.root() as root:
        scopes = [name for name in os.listdir(root) if _SCOPE_DIRECTORY.fullmatch(name)]
        for scope in (".", *scopes):
            with _uploads(root, scope) as uploads:
                if uploads is not None:
                    _sweep_directory(uploads, store, time.time() - grace_seconds, swept)
    return swept


def end_uploads(backend: Backend, store: UploadStore, volume: str, vfolder: VFolderId) -> int:
    """End every open upload of a vfolder, and return their number; repeating it is safe.

    Their bytes go at once, and requests that write them stop within a second. Costs one round trip
    per 500 uploads and two for each.

    Raises:
        Unavailable: Redis does not answer.
        StorageError: the volume refuses.
    """
    places, ended = UploadPlaces(store), 0
    while found := places.of_vfolder(volume, vfolder):
        for one in found:
            end(backend, store, one.upload)
        ended += len(found)
    return ended


@contextmanager
def _uploads(root: int, scope: str) -> Iterator[int | None]:
    """Open the upload directory of a scope; None when the scope never had an upload."""
    path = PurePosixPath(scope, layout.HIDDEN, layout.UPLOADS)
    try:
        uploads = descriptors.open_directory(path, root)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        yield uploads
    finally:
        os.close(uploads)


def _sweep_directory(uploads: int, store: UploadStore, before: float, swept: UploadSweep) -> None:
    names = os.listdir(uploads)
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        for name, known in zip(batch, store.exists(batch), strict=True):
            _sweep_file(uploads, name, known=known, before=before, swept=swept)


def _sweep_file(uploads: int, name: str, *, known: bool, before: float, swept: UploadSweep) -> None:
    try:
        status = os.stat(name, dir_fd=uploads, follow_symlinks=False)
        if known or status.st_mtime > before:
            swept.kept += 1
            swept.kept_bytes += status.st_size
            return
        os.unlink(name, dir_fd=uploads)
    except FileNotFoundError:  # published or removed meanwhile
        return
    swept.removed += 1
    swept.removed_bytes += status.st_size
