"""What every worker's main process does beside Celery, in one thread.

It registers the node with a TTL, takes back jobs whose process died here, consumes the queues of
mounts that come and go, and drains on request. The node that is the leader of the cluster also
reaps dead leases of all nodes, looks for lost nodes, forgets those that left and jobs that ended
long ago, and looks how many connections the store has left.

The reaper pauses for one lease after the store was restarted or could not be reached, so that live
runs renew first. The store's absence is not the death of a run.
"""

import threading
import time
from collections.abc import Iterable
from typing import Any, cast

import redis
from celery import bootsteps

from backends.volumes import Mounts
from core.cluster import (
    BEAT_SECONDS,
    LEADER_SECONDS,
    BandwidthStore,
    Leadership,
    Node,
    NodeStore,
    NodeVolume,
    boot_clock,
    load_average,
)
from core.events import EventPublisher
from core.jobs import Lane, queue_name
from core.jobs.requests import queue_of_registry, queue_of_storage
from core.jobs.store import JobStore
from core.process.version import VERSION
from core.redis import Database, connect
from core.settings import Settings
from core.telemetry import logger
from workers.node import celery_internals
from workers.node.doorbell import ringer_of
from workers.node.event_delivery import EventDelivery
from workers.node.flower_ends import FlowerEnds
from workers.node.mounting import Mounting
from workers.node.series import SeriesSampler, streamed_bytes
from workers.node.tree_answers import TreeAnswers
from workers.run import DRAIN, RELOAD, is_dead, reloaded

_log = logger(__name__)
#: Seconds between two looks of the leader at old nodes and at the store's connections.
TIDY_SECONDS = 60.0
#: From this share of the store's connections on, the leader warns.
CONNECTIONS_SHARE = 0.8
#: A beat that is late by this factor means that the store was away.
LATE = 1.5


def queues_of(volumes: Iterable[str], node: str) -> list[str]:
    """Return the queues a node consumes: two lanes per proven volume, and the node's own."""
    return [*(queue_name(name, lane) for name in volumes for lane in Lane), f"node.{node}"]


def artifact_queues(settings: Settings) -> list[str]:
    """Return what stands for the artifact storages and registries of a node, beside its volumes."""
    return [
        *map(queue_of_storage, settings.artifact_storages),
        *map(queue_of_registry, settings.artifact_registries),
    ]


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
        self._leads_until = 0.0
        self._tidied = -TIDY_SECONDS
        self._away_until = 0.0
        self._reloads = RELOAD.count
        self._node_id = self.settings.storage_proxy.node_id
        super().__init__(parent)

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's worker
        """Start the thread, the event delivery and the listener for mounts."""
        self._worker = parent
        celery_internals.replace_sighup_handler(RELOAD.request)
        self._publisher = EventPublisher(self.settings)
        jobs = connect(self.settings, Database.JOBS)
        flower = FlowerEnds(parent.app, jobs, parent.hostname)
        self._delivery = EventDelivery(self.settings, lambda: self._leads, flower)
        self._delivery.start()
        self._mounting = Mounting(self.settings)
        self._mounting.start()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def stop(self, parent: Any) -> None:  # noqa: ANN401, ARG002 - Celery's worker
        """Stop all three; the thread deregisters the node as it ends."""
        self._stop.set()
        if self._thread is not None:
            self._mounting.stop()
            self._thread.join()
            self._delivery.stop()

    terminate = stop

    def _run(self) -> None:
        client = connect(self.settings, Database.JOBS)
        store = JobStore(client, ringer_of(self._worker.app))
        nodes = NodeStore(client)
        self._leadership = Leadership(client, self._node_id)
        self._series = SeriesSampler(self.settings, client, nodes)
        slots_set = False
        while True:
            try:
                if self._reloads != RELOAD.count:
                    self._reload(store)
                    slots_set = False
                slots_set = slots_set or self._set_slots(store)
                self._beat(client, store, nodes)
            except redis.RedisError as error:
                _log.warning("store away", reason=type(error).__name__)
            if self._wait(store):
                break
        try:
            self._leadership.resign()
            if nodes.deregister(self._node_id):
                self._publisher.node_left(self._node_id, "stopped")
        except redis.RedisError as error:
            _log.warning("node record left to its expiry", reason=type(error).__name__)

    def _beat(self, client: "redis.Redis", store: JobStore, nodes: NodeStore) -> None:
        volumes = self.mounts.volumes()
        runs = store.running_on(self._node_id)
        DRAIN.set_requested(requested=nodes.renew(self._node(volumes, len(runs))))
        self._mark_reached()
        self._announce(nodes, volumes)
        self._consume(volumes)
        self._take_back(store, runs)
        self._lead(client, store, nodes)

    def _wait(self, store: JobStore) -> bool:
        """Wait for the next beat; return whether the worker stops.

        Meanwhile continue the wakes and admissions that other processes left. A lane of jobs that
        are not woken yet admits none, so this does not wait for the beat.
        """
        until = boot_clock() + BEAT_SECONDS
        try:
            while not store.proceed() and boot_clock() < until and not self._stop.is_set():
                pass
        except redis.RedisError as error:
            _log.warning("wakes not continued", reason=type(error).__name__)
        return self._stop.wait(max(0.0, until - boot_clock()))

    def _announce(self, nodes: NodeStore, volumes: dict[str, NodeVolume]) -> None:
        """Publish that this node joined."""
        if nodes.claim_arrival(self._node_id):
            proven = [name for name, volume in volumes.items() if volume.proven]
            self._publisher.node_joined(self._node_id, proven)

    @property
    def _leads(self) -> bool:
        """Whether this node is the leader now, as the store's last answer said."""
        return boot_clock() < self._leads_until

    def _lead(self, client: "redis.Redis", store: JobStore, nodes: NodeStore) -> None:
        """Do what one node does for the cluster, if this node is the leader."""
        asked = boot_clock()
        self._leads_until = asked + LEADER_SECONDS if self._leadership.hold() else 0.0
        if not self._leads:
            return
        for lost in nodes.claim_losses():
            self._publisher.node_left(lost, "lost")
        self._reap(client, store)
        self._forget(store)
        self._series.sample()
        if asked - self._tidied > TIDY_SECONDS:
            self._tidied = asked
            self._tidy(client, nodes)

    def _tidy(self, client: "redis.Redis", nodes: NodeStore) -> None:
        """Forget nodes that left, and warn before the store has no connection left."""
        if gone := nodes.forget_old():
            _log.info("nodes forgotten", nodes=gone)
        info = cast("dict[str, int]", client.info("clients"))
        used, most = info["connected_clients"], info.get("maxclients", 0)
        if most and used > most * CONNECTIONS_SHARE:
            _log.warning("store short of connections", used=used, most=most)

    def _mark_reached(self) -> None:
        now = boot_clock()
        if now - self._reached > BEAT_SECONDS * LATE:
            self._away_until = now + self.settings.vfolder.jobs.lease_seconds
        self._reached = now

    def _set_slots(self, store: JobStore) -> bool:
        jobs = self.settings.vfolder.jobs
        limits, budgets = self.settings.vfolder, BandwidthStore(store.redis)
        for name in artifact_queues(self.settings):
            store.set_slots(name, jobs.fast_slots, jobs.bulk_slots)
        for name in self.mounts.volumes():
            store.set_slots(name, jobs.fast_slots, jobs.bulk_slots)
            if (limit := limits.bytes_per_second(name)) is not None:
                budgets.set_default(name, limit)
        return True

    def _reload(self, store: JobStore) -> None:
        """Apply what the file changed; a changed bandwidth is set at once."""
        count, fresh = RELOAD.count, reloaded(self.settings)
        self.mounts.follow(fresh)
        budgets = BandwidthStore(store.redis)
        for name in fresh.volume:
            limit = fresh.vfolder.bytes_per_second(name)
            if limit != self.settings.vfolder.bytes_per_second(name):
                budgets.set(name, limit)
        self._reloads, self.settings = count, fresh  # last: a store that is away is asked again

    def _consume(self, volumes: dict[str, NodeVolume]) -> None:
        """Consume the queues of the proven volumes; none while draining."""
        names = [name for name, volume in volumes.items() if volume.proven]
        names += artifact_queues(self.settings)
        serving = set() if DRAIN.is_active else set(queues_of(names, self._node_id))
        if self._consumed is None:  # the worker was started with these
            self._consumed = set(queues_of(names, self._node_id))
        control = self._worker.app.control
        here = [self._worker.hostname]
        for queue in serving - self._consumed:
            control.add_consumer(queue, destination=here)
        for queue in self._consumed - serving:
            control.cancel_consumer(queue, destination=here)
        if serving != self._consumed:
            _log.info("queues changed", queues=sorted(serving))
        self._consumed = serving

    def _take_back(self, store: JobStore, runs: list[tuple[str, str, str]]) -> None:
        """Put jobs back whose process on this node is dead, without waiting for their lease."""
        for job, run, process in runs:
            if run and process and is_dead(process):
                why = "the process of the run is gone"
                taken = store.lose(job, run, why, self.settings.vfolder.jobs.max_losses)
                _log.warning("job taken back", job_id=job, taken=taken)

    def _forget(self, store: JobStore) -> None:
        """Remove the records of jobs that ended long ago; the rest waits for the next beat."""
        jobs = self.settings.vfolder.jobs
        if gone := store.sweep(jobs.keep_succeeded_seconds, jobs.keep_failed_seconds):
            _log.info("ended jobs forgotten", jobs=gone)

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

    def _node(self, volumes: dict[str, NodeVolume], running: int) -> Node:
        settings = self.settings
        received, sent = streamed_bytes(settings) or (None, None)
        return Node(
            id=self._node_id,
            version=VERSION,
            volumes=volumes,
            lanes=[lane.value for lane in Lane],
            slots=settings.vfolder.worker.concurrency,
            running=running,
            load=load_average(),
            started_at=self._started,
            queues=artifact_queues(settings),
            client_url=settings.vfolder.doors.client_url,
            manager_url=settings.api.manager.url,
            answers=TreeAnswers.listens,
            received_bytes=received,
            sent_bytes=sent,
        )
