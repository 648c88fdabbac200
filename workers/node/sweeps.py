"""Sweeps: periodic upkeep of a volume. Beat rings for it; any worker of the volume does it.

A sweep is short and may be repeated. It removes expired uploads and what dead jobs left, submits
jobs for what is due, and counts the hidden directories.
"""

import os
import random
import time
from itertools import product
from typing import cast
from uuid import UUID

import redis

from backends.base import MountedBackend
from backends.entries import HasObjects
from backends.fs import descriptors, layout
from backends.quota import requested_limits
from backends.retention import snapshots, trash
from backends.tree import Effort, UsageOptions, measure_tree
from backends.uploads import sweep_uploads
from backends.volumes import Volumes
from core.access import AccessIndex
from core.errors import Locked, StorageError, StoreUnavailable, VolumeUnavailable
from core.jobs import PRIORITY_LAST, Unattended
from core.jobs.requests import PurgeRequest, Request, RescanRequest, SnapshotRequest
from core.jobs.store import PREFIX, JobStore, Submission
from core.names import QuotaScope, ScopeKind
from core.quota import HiddenUsage, HiddenUsageStore, Thresholds
from core.redis import Database, connect, store_is_away
from core.settings import Settings
from core.telemetry import logger
from core.uploads import UploadStore
from workers.node.expiry import ExpiredVFolders
from workers.node.leftovers import Leftovers

_log = logger(__name__)


class Sweep:
    """One sweep of one volume."""

    def __init__(self, settings: Settings, store: JobStore, volume: str) -> None:
        self._settings = settings
        self._store = store
        self._volume = volume

    def __call__(self) -> str:
        """Do the sweep; return one sentence that says what was done.

        While the store is away nothing is known to be dead: the next sweep does the rest.
        """
        try:
            return self._sweep()
        except (redis.RedisError, StoreUnavailable) as error:
            if not store_is_away(error):
                raise
            _log.warning("sweep put off", volume=self._volume, reason=type(error).__name__)
            return "put off: the store is away"

    def _sweep(self) -> str:
        mounted = Volumes(self._settings).get(self._volume).skill(MountedBackend)
        if mounted is None:
            return "the volume is no mounted directory"
        try:
            with mounted.held():
                return self._sweep_volume(mounted)
        except VolumeUnavailable as error:
            return error.detail

    def _sweep_volume(self, mounted: MountedBackend) -> str:
        client = connect(self._settings, Database.UPLOADS)
        uploads = sweep_uploads(mounted, UploadStore(client, self._settings.storage_proxy.node_id))
        leftovers = Leftovers(self._store, mounted)
        removed = leftovers.remove()
        if objects := mounted.skill(HasObjects):
            removed += self._sweep_objects(objects)
        jobs = DueJobs(self._settings, self._store, mounted)
        due = jobs()
        with mounted.root() as root:
            counted = hidden_usage(root)
        usage = HiddenUsage(
            staging_bytes=counted["staging"],
            trash_bytes=counted["trash"],
            trash_due_at=jobs.trash_due_at,
            staging_due_at=leftovers.waits_since,
            swept_at=time.time(),
        )
        HiddenUsageStore(self._store.redis).keep(self._volume, usage)
        return f"removed {uploads.removed} uploads, {removed} left-overs; asked for {due} jobs"

    def _sweep_objects(self, objects: HasObjects) -> int:
        """Remove open uploads of a bucket; while it fails, the next sweep does that."""
        try:
            return objects.sweep()
        except StorageError as error:
            _log.warning("open uploads not removed", volume=self._volume, reason=error.detail)
            return 0


#: Purges that one sweep submits at most; the next submits the rest.
PURGES_MAX = 200
#: Deletes of snapshots that one sweep submits at most.
SNAPSHOTS_MAX = 200
#: A period is multiplied by a random factor of this range, so that volumes do not synchronize.
JITTER = (0.9, 1.1)
#: The requester that lists of jobs show.
REQUESTER = "sweep"


class DueJobs:
    """The jobs of one volume that are due: expired trash and snapshots, a rescan.

    Any node may submit them, any number of times: a job that is submitted twice is one job.
    """

    def __init__(self, settings: Settings, store: JobStore, backend: MountedBackend) -> None:
        self._settings = settings
        self._store = store
        self._backend = backend
        self._volume = backend.mount.volume
        #: When the oldest tree that is still in the trash should have been purged.
        self.trash_due_at: float | None = None

    def __call__(self) -> int:
        """Submit what is due, and check the thresholds; return the number of jobs."""
        self._check_thresholds()
        return self._purges() + self._snapshots() + self._rescan() + self._expired_vfolders()

    def _check_thresholds(self) -> None:
        """Publish which scopes reached a threshold; costs a few system calls for each scope."""
        thresholds = Thresholds(self._settings)
        with self._backend.root() as root:
            names = requested_limits.names(root)
        for name in names:
            try:
                quota = self._backend.describe_scope(QuotaScope(ScopeKind.USER, UUID(name)))
            except StorageError as error:  # deleted meanwhile, or the rescan reports it
                _log.info("quota scope not described", reason=error.title)
                continue
            thresholds.check(self._volume, name, quota.used_bytes, quota.limit_bytes)

    def _rescan(self) -> int:
        """Submit a rescan if one is due: one in each period, the first at a random time.

        Where people share and the index of the volume was never built, one is due at once, but not
        twice in a period.
        """
        period = self._settings.vfolder.sweeps.rescan_seconds
        if not period:
            return 0
        redis, key = self._store.redis, f"{PREFIX}rescan-due:{self._volume}"
        due = cast("str | None", redis.get(key))
        at = time.time()
        if self._lacks_index() and redis.set(
            f"{PREFIX}rescan-for-index:{self._volume}", "1", nx=True, px=round(period * 1000)
        ):
            due = "0"
        if due is None:
            redis.set(key, at + random.random() * period, nx=True)  # noqa: S311 - no secret
            return 0
        if at < float(due):
            return 0
        redis.set(key, at + period * random.uniform(*JITTER))  # noqa: S311 - no secret
        self._submit_once(RescanRequest(volume=self._volume))
        return 1

    def _lacks_index(self) -> bool:
        """Return whether lists of what others share lack something until a rescan."""
        if self._settings.vfolder.access is None:
            return False
        return not AccessIndex(self._settings).is_complete(self._volume)

    def _purges(self) -> int:
        submitted = 0
        with self._backend.root() as root:
            for scope in layout.scopes(root):
                path = layout.scope_area(scope, layout.TRASH)
                try:
                    with descriptors.opened(path, root) as trashed:
                        submitted += self._expired(trashed, PURGES_MAX - submitted)
                except (FileNotFoundError, NotADirectoryError):
                    continue
        return submitted

    def _expired_vfolders(self) -> int:
        """Submit the delete of each vfolder whose end has passed long ago."""
        due = ExpiredVFolders(self._settings, self._store, self._backend).due()
        for request in due:
            self._submit_once(request, if_expired="1")
        return len(due)

    def _snapshots(self) -> int:
        """Submit the delete of each expired snapshot."""
        over: list[snapshots.KeptSnapshot] = []
        with self._backend.root() as root:
            for scope in layout.scopes(root):
                over += snapshots.expired(root, scope)
        for one in over[:SNAPSHOTS_MAX]:
            self._submit_once(
                SnapshotRequest(
                    volume=self._volume, vfolder=one.vfolder, action="delete", name=one.name
                )
            )
        return min(len(over), SNAPSHOTS_MAX)

    def _expired(self, directory: int, most: int) -> int:
        if not os.listdir(directory):
            return 0
        at = trash.clock(directory)
        kept = trash.records(directory)
        self._note_due([record.expires_at for record in kept if record.expires_at <= at], at)
        over = [record for record in kept if record.purging or record.expires_at <= at]
        for record in over[:most]:
            self._submit_once(
                PurgeRequest(volume=self._volume, vfolder=record.vfolder, trash=record.id)
            )
        return min(len(over), most)

    def _note_due(self, expired: list[float], at: float) -> None:
        """Note the oldest moment of a list by this node's clock; `at` is now by the volume's."""
        if expired:
            due = time.time() - (at - min(expired))
            self.trash_due_at = min(due, self.trash_due_at or due)

    def _submit_once(self, request: Request, **extra: str) -> None:
        try:
            self._submit(request, extra)
        except Locked:  # another request for the same is at work
            _log.info("already submitted", verb=request.verb)

    def _submit(self, request: Request, extra: dict[str, str]) -> None:
        jobs = self._settings.vfolder.jobs
        self._store.submit(
            Submission(
                request,
                requester=REQUESTER,
                priority=PRIORITY_LAST,
                ring_again_seconds=jobs.ring_again_seconds,
                extra=extra,
            )
        )


#: The count of one kind of hidden directory gives up after this time; its size is then unknown.
SECONDS_MAX = 5.0
KINDS = {"staging": (layout.STAGING, layout.UPLOADS), "trash": (layout.TRASH,)}
_ALONE = UsageOptions(effort=Effort(helpers=1))


def hidden_usage(root: int) -> dict[str, int | None]:
    """Return the allocated bytes of each kind over all scopes of a volume; None for unknown."""
    scopes = layout.scopes(root)
    return {name: _bytes(root, scopes, areas) for name, areas in KINDS.items()}


def _bytes(root: int, scopes: list[str], areas: tuple[str, ...]) -> int | None:
    deadline = time.monotonic() + SECONDS_MAX
    total = 0
    for scope, area in product(scopes, areas):
        try:
            with descriptors.opened(layout.scope_area(scope, area), root) as top:
                usage = measure_tree(top, control=Unattended(), deadline=deadline, options=_ALONE)
        except (FileNotFoundError, NotADirectoryError):
            continue  # the scope has no such directory
        except (OSError, StorageError):
            return None
        if not usage.complete:
            return None
        total += usage.allocated_bytes
    return total
