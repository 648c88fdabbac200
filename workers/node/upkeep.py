"""What every worker's main process does beside Celery, in one thread.

It tells that the node lives, takes back jobs whose process died here, reaps dead leases of all
nodes, follows mounts that come and go, and drains on request. Any number of nodes may reap: each
call is one script. The reaper rests for one lease after the store was restarted or could not be
reached, so that live runs can renew first: a store that was away is no run's death.
"""

import signal
import threading
import time
from collections.abc import Iterable
from typing import Any, cast

import redis
from celery import bootsteps

from backends.volumes import Mounts
from core.cluster import (
    BEAT_SECONDS,
    BandwidthStore,
    Node,
    NodeStore,
    NodeVolume,
    boot_clock,
    load_average,
)
from core.events import EventPublisher
from core.jobs import Lane, queue_name
from core.jobs.store import JobStore
from core.process.version import VERSION
from core.redis import Database, connect
from core.settings import Settings
from core.telemetry import logger
from workers.node.doorbell import ringer_of
from workers.node.event_delivery import EventDelivery
from workers.node.mounting import Mounting
from workers.run import DRAIN, RELOAD, is_gone, reloaded

_log = logger(__name__)
#: A beat that comes this much later than it should says that the store was away.
LATE = 1.5


def queues_of(volumes: Iterable[str], node: str) -> list[str]:
    """Return the queues a node consumes: two lanes per proven volume, and the node's own."""
    return [*(queue_name(name, lane) for name in volumes for lane in Lane), f"node.{node}"]


class Upkeep(bootsteps.StartStopStep):
    """The thread, as a step of the worker's start and stop."""

    requires = ("celery.worker.components:Pool",)
    settings: Settings
    mounts: Mounts

    def __init__(self, parent: Any, **_options: Any) -> None:  # noqa: ANN401 - Celery's worker
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = time.time()
        self._consumed: set[str] | None = None
        self._reached = boot_clock()
        self._away_until = 0.0
        self._renewed = RELOAD.count
        self._node_id = self.settings.storage_proxy.node_id
        super().__init__(parent)

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's worker
        """Begin."""
        self._worker = parent
        signal.signal(
            signal.SIGHUP, lambda *_: RELOAD.request()
        )  # Celery's own starts the worker anew
        self._herald = EventPublisher(self.settings)
        self._courier = EventDelivery(self.settings)
        self._courier.start()
        self._mounting = Mounting(self.settings)
        self._mounting.start()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def stop(self, parent: Any) -> None:  # noqa: ANN401, ARG002 - Celery's worker
        """End; the node's record goes with it."""
        self._stop.set()
        if self._thread is not None:
            self._mounting.stop()
            self._thread.join()
            self._courier.stop()

    terminate = stop

    def _run(self) -> None:
        client = connect(self.settings, Database.JOBS)
        store = JobStore(client, ringer_of(self._worker.app))
        book = NodeStore(client)
        slots_set = False
        while True:
            try:
                if self._renewed != RELOAD.count:
                    self._renew(store)
                    slots_set = False
                slots_set = slots_set or self._set_slots(store)
                self._beat(client, store, book)
            except redis.RedisError as error:
                _log.warning("store away", reason=type(error).__name__)
            if self._stop.wait(BEAT_SECONDS):
                break
        try:
            if book.deregister(self._node_id):
                self._herald.node_left(self._node_id, "stopped")
        except redis.RedisError as error:
            _log.warning("node record left to its end", reason=type(error).__name__)

    def _beat(self, client: "redis.Redis", store: JobStore, book: NodeStore) -> None:
        volumes = self.mounts.volumes()
        DRAIN.set_requested(requested=book.renew(self._node(volumes)))
        self._mark_reached()
        self._announce(book, volumes)
        self._follow(volumes)
        self._take_back(store)
        self._reap(client, store)

    def _announce(self, book: NodeStore, volumes: dict[str, NodeVolume]) -> None:
        """Tell everybody of this node, and of others that fell silent."""
        if book.claim_arrival(self._node_id):
            proven = [name for name, volume in volumes.items() if volume.proven]
            self._herald.node_joined(self._node_id, proven)
        for lost in book.claim_losses():
            self._herald.node_left(lost, "lost")

    def _mark_reached(self) -> None:
        now = boot_clock()
        if now - self._reached > BEAT_SECONDS * LATE:
            self._away_until = now + self.settings.vfolder.jobs.lease_seconds
        self._reached = now

    def _set_slots(self, store: JobStore) -> bool:
        jobs = self.settings.vfolder.jobs
        own, budgets = self.settings.vfolder, BandwidthStore(store.redis)
        for name in self.mounts.volumes():
            store.set_slots(name, jobs.fast_slots, jobs.bulk_slots)
            if (limit := own.bytes_per_second(name)) is not None:
                budgets.set_default(name, limit)
        return True

    def _renew(self, store: JobStore) -> None:
        """Take over what the file changed; a bandwidth that it changed is set at once."""
        self._renewed = RELOAD.count
        before, self.settings = self.settings, reloaded(self.settings)
        self.mounts.follow(self.settings)
        budgets = BandwidthStore(store.redis)
        for name in self.settings.volume:
            limit = self.settings.vfolder.bytes_per_second(name)
            if limit != before.vfolder.bytes_per_second(name):
                budgets.set(name, limit)

    def _follow(self, volumes: dict[str, NodeVolume]) -> None:
        """Consume the queues of what is proven; nothing while draining."""
        proven = [name for name, volume in volumes.items() if volume.proven]
        wanted = set() if DRAIN.is_active else set(queues_of(proven, self._node_id))
        if self._consumed is None:  # the worker was started with these
            self._consumed = set(queues_of(proven, self._node_id))
        control = self._worker.app.control
        here = [self._worker.hostname]
        for queue in wanted - self._consumed:
            control.add_consumer(queue, destination=here)
        for queue in self._consumed - wanted:
            control.cancel_consumer(queue, destination=here)
        if wanted != self._consumed:
            _log.info("queues changed", queues=sorted(wanted))
        self._consumed = wanted

    def _take_back(self, store: JobStore) -> None:
        for job, run, process in store.running_on(self._node_id):
            if run and process and is_gone(process):
                why = "the process of the run is gone"
                taken = store.lose(job, run, why, self.settings.vfolder.jobs.max_losses)
                _log.warning("job taken back", job_id=job, taken=taken)

    def _reap(self, client: "redis.Redis", store: JobStore) -> None:
        jobs = self.settings.vfolder.jobs
        if boot_clock() < self._away_until:
            return
        info = cast("dict[str, int]", client.info("server"))
        if info["uptime_in_seconds"] < jobs.lease_seconds:
            return
        lost, poisoned, rung = store.reap(jobs.max_losses)
        if lost or poisoned or rung:
            _log.info("jobs reaped", lost=lost, poisoned=poisoned, rung=rung)

    def _node(self, volumes: dict[str, NodeVolume]) -> Node:
        settings = self.settings
        return Node(
            id=self._node_id,
            version=VERSION,
            volumes=volumes,
            lanes=[lane.value for lane in Lane],
            slots=settings.vfolder.worker.concurrency,
            running=len(self._worker.state.active_requests),
            load=load_average(),
            started_at=self._started,
            client_url=settings.vfolder.doors.client_url,
            manager_url=settings.api.manager.url,
        )
