"""What every worker's main process does beside Celery: tell that the node lives, and reap.

Any number of nodes may reap; each call is one script. The reaper rests for one lease after the
store was restarted, so that live runs can renew first.
"""

import threading
import time
from importlib.metadata import version
from typing import cast

import redis
from celery import bootsteps

from backends.registry import Volumes
from core.connections import Database, connect
from core.errors import BackendFailed, ConfigurationError
from core.jobs import Lane, queue_name
from core.nodes import BEAT_SECONDS, Node, NodeBook, NodeVolume, load_average
from core.settings import Settings
from core.store import JobStore
from core.telemetry import logger
from workers.bell import bell_of
from workers.drain import NODE

_log = logger(__name__)
VERSION = version("vfolder")


def prove(settings: Settings) -> dict[str, NodeVolume]:
    """Probe every volume this node shall serve."""
    wanted = settings.vfolder.worker.volumes
    volumes = Volumes(settings)
    return {n: _probe(volumes, n) for n in volumes.names() if not wanted or n in wanted}


def _probe(volumes: Volumes, name: str) -> NodeVolume:
    try:
        return NodeVolume(proven=True, fsid=volumes.get(name).probe())
    except (BackendFailed, ConfigurationError) as error:
        return NodeVolume(proven=False, reason=error.detail)


def queues_of(volumes: dict[str, NodeVolume], node: str) -> list[str]:
    """The queues a node consumes: two lanes per proven volume, and its own."""
    lanes = [queue_name(n, lane) for n, v in volumes.items() if v.proven for lane in Lane]
    return [*lanes, f"node.{node}"]


class Upkeep(bootsteps.StartStopStep):
    """A thread in the worker's main process."""

    requires = ("celery.worker.components:Pool",)
    settings: Settings

    def __init__(self, parent: object, **_options: object) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = time.time()
        super().__init__(parent)

    def start(self, parent: object) -> None:
        """Begin."""
        self._parent = parent
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def stop(self, parent: object) -> None:  # noqa: ARG002 - Celery passes it
        """End; the node's record goes with it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    terminate = stop

    def _run(self) -> None:
        client = connect(self.settings, Database.JOBS)
        app = self._parent.app  # type: ignore[attr-defined] # Celery has no types
        store = JobStore(client, bell_of(app))
        book = NodeBook(client)
        volumes = prove(self.settings)
        self._set_slots(store, volumes)
        while not self._stop.wait(BEAT_SECONDS):
            try:
                if book.tell(self._node(volumes)) and not NODE.wanted:
                    NODE.begin()
                self._reap(client, store)
            except redis.RedisError as error:
                _log.warning("store away", reason=type(error).__name__)
        try:
            book.leave(self.settings.storage_proxy.node_id)
        except redis.RedisError as error:
            _log.warning("node record left to its end", reason=type(error).__name__)

    def _set_slots(self, store: JobStore, volumes: dict[str, NodeVolume]) -> None:
        jobs = self.settings.vfolder.jobs
        while not self._stop.is_set():
            try:
                for name in volumes:
                    store.set_slots(name, jobs.fast_slots, jobs.bulk_slots)
            except redis.RedisError as error:
                _log.warning("store away", reason=type(error).__name__)
                self._stop.wait(BEAT_SECONDS)
            else:
                return

    def _reap(self, client: "redis.Redis", store: JobStore) -> None:
        jobs = self.settings.vfolder.jobs
        info = cast("dict[str, int]", client.info("server"))
        if info["uptime_in_seconds"] < jobs.lease_seconds:
            return
        lost, poisoned, rung = store.reap(jobs.max_losses)
        if lost or poisoned or rung:
            _log.info("jobs reaped", lost=lost, poisoned=poisoned, rung=rung)

    def _node(self, volumes: dict[str, NodeVolume]) -> Node:
        settings = self.settings
        return Node(
            id=settings.storage_proxy.node_id,
            version=VERSION,
            volumes=volumes,
            lanes=[lane.value for lane in Lane],
            slots=settings.vfolder.worker.concurrency,
            running=len(self._parent.state.active_requests),  # type: ignore[attr-defined] # Celery has no types
            load=load_average(),
            started_at=self._started,
            client_url=settings.vfolder.doors.client_url,
        )
