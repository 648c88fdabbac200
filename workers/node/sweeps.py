"""Sweeps: periodic upkeep, rung by beat, done by any worker; each is short and may be repeated."""

import os
import random
import time
from itertools import product
from pathlib import PurePosixPath
from typing import Any, cast
from uuid import UUID

from backends.base import MountedBackend
from backends.fs import descriptors, layout
from backends.quota import requested_limits
from backends.retention import snapshots, trash
from backends.tree import Effort, UsageOptions, measure_tree, remove_tree
from backends.uploads import sweep_uploads
from backends.volumes import Volumes
from core.errors import JobNotFound, Locked, StorageError
from core.jobs import PRIORITY_LAST, Unattended
from core.jobs.requests import PurgeRequest, Request, RescanRequest, SnapshotRequest
from core.jobs.store import PREFIX, JobStore, Submission
from core.names import QuotaScope, ScopeKind
from core.quota import HiddenUsageStore, Thresholds
from core.redis import Database, connect
from core.settings import Settings
from core.telemetry import logger
from core.uploads import UploadStore

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
        mounted = backend.skill(MountedBackend)
        if mounted is not None:
            removed = self._leftovers(mounted)
            due = Due(self._settings, self._store, mounted)()
            with mounted.root() as root:
                HiddenUsageStore(self._store.redis).keep(self._volume, measured(root))
        return (
            f"forgot {forgotten} jobs, {uploads.removed} uploads, {removed} left-overs; "
            f"asked for {due} jobs"
        )

    def _leftovers(self, backend: MountedBackend) -> int:
        removed = 0
        with backend.root() as root:
            hidden = (layout.STAGING, layout.TRASH, layout.JOBS)
            for scope, room in product(layout.scopes(root), hidden):
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


#: Purges that one sweep asks for; the next takes the rest.
PURGES_MAX = 200
#: And snapshots that it lets go of.
SNAPSHOTS_MAX = 200
#: A period is this share of itself, by chance, so that volumes do not fall in step.
JITTER = (0.9, 1.1)
#: Who asks, as lists of jobs show it.
REQUESTER = "sweep"


class Due:
    """One look at one volume."""

    def __init__(self, settings: Settings, store: JobStore, backend: MountedBackend) -> None:
        self._settings = settings
        self._store = store
        self._backend = backend
        self._volume = backend.mount.volume

    def __call__(self) -> int:
        """Ask for what is due, and look at thresholds; how many jobs."""
        self._look()
        return self._purges() + self._snapshots() + self._rescan()

    def _look(self) -> None:
        """Tell of scopes that rose to a threshold; costs a few system calls for each."""
        thresholds = Thresholds(self._settings)
        with self._backend.root() as root:
            names = requested_limits.names(root)
        for name in names:
            try:
                found = self._backend.describe_scope(QuotaScope(ScopeKind.USER, UUID(name)))
            except StorageError as error:  # gone meanwhile, or the rescan's to tell
                _log.info("quota scope not described", reason=error.title)
                continue
            thresholds.check(self._volume, name, found.used_bytes, found.limit_bytes)

    def _rescan(self) -> int:
        """Whether a rescan was due: the first at any moment of a period, then one in each."""
        period = self._settings.vfolder.sweeps.rescan_seconds
        if not period:
            return 0
        redis, key = self._store.redis, f"{PREFIX}rescan-due:{self._volume}"
        due = cast("str | None", redis.get(key))
        at = time.time()
        if due is None:
            redis.set(key, at + random.random() * period, nx=True)  # noqa: S311 - no secret
            return 0
        if at < float(due):
            return 0
        redis.set(key, at + period * random.uniform(*JITTER))  # noqa: S311 - no secret
        self._ask(RescanRequest(volume=self._volume))
        return 1

    def _purges(self) -> int:
        asked = 0
        with self._backend.root() as root:
            for scope in layout.scopes(root):
                room = layout.scope_area(scope, layout.TRASH)
                try:
                    with descriptors.opened(room, root) as trashed:
                        asked += self._expired(trashed, PURGES_MAX - asked)
                except (FileNotFoundError, NotADirectoryError):
                    continue
        return asked

    def _snapshots(self) -> int:
        """Let go of snapshots whose time is over."""
        over: list[snapshots.KeptSnapshot] = []
        with self._backend.root() as root:
            for scope in layout.scopes(root):
                over += snapshots.expired(root, scope)
        for one in over[:SNAPSHOTS_MAX]:
            self._ask(
                SnapshotRequest(
                    volume=self._volume, vfolder=one.vfolder, action="delete", name=one.name
                )
            )
        return min(len(over), SNAPSHOTS_MAX)

    def _expired(self, room: int, most: int) -> int:
        if not os.listdir(room):
            return 0
        at = trash.clock(room)
        over = [note for note in trash.records(room) if note.purging or note.expires_at <= at]
        for note in over[:most]:
            self._ask(PurgeRequest(volume=self._volume, vfolder=note.vfolder, trash=note.id))
        return min(len(over), most)

    def _ask(self, request: Request) -> None:
        try:
            self._submit(request)
        except Locked:  # somebody asked for it in other words, and it is at work
            _log.info("already asked for", verb=request.verb)

    def _submit(self, request: Request) -> None:
        jobs = self._settings.vfolder.jobs
        self._store.submit(
            Submission(
                request,
                requester=REQUESTER,
                priority=PRIORITY_LAST,
                ring_again_seconds=jobs.ring_again_seconds,
            )
        )


#: One room of a volume is not counted for longer; then its size is not known.
SECONDS_MAX = 5.0
ROOMS = {"staging": (layout.STAGING, layout.UPLOADS), "trash": (layout.TRASH,)}
_ALONE = UsageOptions(effort=Effort(helpers=1))


def measured(root: int) -> dict[str, int | None]:
    """Allocated bytes by room, over all scopes of the volume; None when they are not known."""
    scopes = layout.scopes(root)
    return {name: _bytes(root, scopes, rooms) for name, rooms in ROOMS.items()}


def _bytes(root: int, scopes: list[str], rooms: tuple[str, ...]) -> int | None:
    deadline = time.monotonic() + SECONDS_MAX
    found = 0
    for scope, room in product(scopes, rooms):
        try:
            with descriptors.opened(layout.scope_area(scope, room), root) as top:
                usage = measure_tree(top, control=Unattended(), deadline=deadline, options=_ALONE)
        except (FileNotFoundError, NotADirectoryError):
            continue  # no such room
        except OSError:
            return None
        if not usage.complete:
            return None
        found += usage.allocated_bytes
    return found
