"""Sweeps: periodic upkeep, rung by beat, done by any worker; each is short and may be repeated."""

import os
from itertools import product
from pathlib import PurePosixPath
from typing import Any

from backends.fs import descriptors, layout
from backends.mounted import PosixBackend
from backends.retention import trash
from backends.tree import remove_tree
from backends.uploads import sweep_uploads
from backends.volumes import Volumes
from core.errors import JobNotFound
from core.jobs import Unattended
from core.jobs.store import JobStore
from core.quota import HiddenUsageStore
from core.redis import Database, connect
from core.settings import Settings
from core.telemetry import logger
from core.uploads import UploadStore
from workers.node import hidden_usage
from workers.node.due import Due

_log = logger(__name__)

#: How often ended jobs are forgotten, and old uploads and left-over files removed.
SWEEP_SECONDS = 300.0
SWEEP_TASK = "storage.sweep"
#: Left-overs of a job nobody knows are removed once they are this old: a store that came back
#: without its last second must not cost a live run its files.
ORPHAN_GRACE_SECONDS = 3600.0


def schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Beat's schedule: one bell per volume, on its bulk lane; a late bell is worthless."""
    return {
        f"sweep {name}": {
            "task": SWEEP_TASK,
            "schedule": SWEEP_SECONDS,
            "args": [name],
            "options": {"queue": f"vol.{name}.bulk", "expires": SWEEP_SECONDS},
        }
        for name in settings.volume
    }


class Sweep:
    """One sweep of one volume."""

    def __init__(self, settings: Settings, store: JobStore, volume: str) -> None:
        self._settings = settings
        self._store = store
        self._volume = volume

    def __call__(self) -> str:
        """Forget old jobs, remove dead uploads and left-overs; one sentence."""
        jobs = self._settings.vfolder.jobs
        forgotten = self._store.sweep(jobs.keep_succeeded_seconds, jobs.keep_failed_seconds)
        backend = Volumes(self._settings).get(self._volume)
        client = connect(self._settings, Database.UPLOADS)
        uploads = sweep_uploads(backend, UploadStore(client, self._settings.storage_proxy.node_id))
        removed = due = 0
        if isinstance(backend, PosixBackend):
            removed = self._leftovers(backend)
            due = Due(self._settings, self._store, backend)()
            with backend.root() as root:
                HiddenUsageStore(self._store.redis).keep(self._volume, hidden_usage.measured(root))
        return (
            f"forgot {forgotten} jobs, {uploads.removed} uploads, {removed} left-overs; "
            f"asked for {due} jobs"
        )

    def _leftovers(self, backend: PosixBackend) -> int:
        removed = 0
        with backend.root() as root:
            hidden_usage = (layout.STAGING, layout.TRASH, layout.JOBS)
            for scope, room in product(layout.scopes(root), hidden_usage):
                removed += self._room(root, layout.scope_area(scope, room))
        return removed

    def _room(self, root: int, path: PurePosixPath) -> int:
        try:
            room = descriptors.open_directory(path, root)
        except (FileNotFoundError, NotADirectoryError):
            return 0
        try:
            os.utime(room)  # the file system's own clock: this node's may be off
            old = os.fstat(room).st_ctime - ORPHAN_GRACE_SECONDS
            return sum(self._entry(room, name, old) for name in os.listdir(room))
        finally:
            os.close(room)

    def _entry(self, room: int, name: str, old: float) -> bool:
        is_report = name.endswith(layout.REPORT_SUFFIX)
        try:
            job = self._store.get(PurePosixPath(name).stem)
            dead = job.state.ended and not is_report  # kept as long as the job is
        except JobNotFound:
            dead = True
        try:
            found = os.stat(name, dir_fd=room, follow_symlinks=False)
            if not dead or found.st_ctime > old:
                return False
            if _is_kept(room, name):
                return False
            if is_report or name.endswith((".manifest", trash.NOTE_SUFFIX, layout.ARCHIVE_SUFFIX)):
                os.unlink(name, dir_fd=room)
            else:
                remove_tree(room, name, control=Unattended())
        except FileNotFoundError:
            return False
        _log.info("left-over removed", volume=self._volume, job_id=name)
        return True


def _is_kept(room: int, name: str) -> bool:
    """Whether a tree lies in the trash by a note, or is the note of one: a purge's business."""
    if name.endswith(trash.NOTE_SUFFIX):
        return descriptors.exists(PurePosixPath(name.removesuffix(trash.NOTE_SUFFIX)), room)
    return trash.find(room, name) is not None
