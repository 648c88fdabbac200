"""What has become due on a volume: trash that expired, a rescan. Each becomes a job.

Called by the sweep, on any node and any number of times: a job that is asked for twice is one.
"""

import os
import random
import time
from typing import cast
from uuid import UUID

from backends.fs import descriptors, layout
from backends.mounted import PosixBackend
from backends.quota import requested_limits
from backends.retention import snapshot_expiry, trash
from core.errors import Locked, StorageError
from core.jobs import PRIORITY_LAST
from core.jobs.requests import PurgeRequest, Request, RescanRequest, SnapshotRequest
from core.jobs.store import PREFIX, JobStore, Submission
from core.names import QuotaScope, ScopeKind
from core.quota import Thresholds
from core.settings import Settings
from core.telemetry import logger

_log = logger(__name__)

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

    def __init__(self, settings: Settings, store: JobStore, backend: PosixBackend) -> None:
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
            thresholds.look(self._volume, name, found.used_bytes, found.limit_bytes)

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
        over: list[snapshot_expiry.KeptSnapshot] = []
        with self._backend.root() as root:
            for scope in layout.scopes(root):
                over += snapshot_expiry.expired(root, scope)
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
        over = [note for note in trash.notes(room) if note.purging or note.expires_at <= at]
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
