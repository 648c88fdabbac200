"""What every door stands on: the settings and volumes of this node, the store, request ids."""

import random
import re
import time
from functools import cached_property, partial
from typing import Any, cast

from flask import Flask, Response, current_app

from api.http import DoorFlask, json, metrics, problems, this_request
from api.jobs import JobPlanner, Jobs, Live, ask_broker
from api.volumes import (
    Budgets,
    Deadlines,
    HealthMonitor,
    NodeCalls,
    NodeDirectory,
    Ping,
    ServiceName,
    VolumeAccess,
)
from backends.base import possible_capabilities
from backends.volumes import Mounts, MountState, Volumes
from core.cluster import BandwidthStore, Node, NodeStore, PerformanceStore, VFolderCache
from core.redis import connections
from core.settings import Settings
from core.telemetry import logs
from core.uploads import UploadStore

REQUEST_ID_HEADER = "X-Request-ID"
#: The same as WSGI names it, which is found sooner.
_REQUEST_ID_GIVEN = "HTTP_X_REQUEST_ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_KEY = "vfolder.door"
#: The databases that a node is not well without, by the name in its health document.
_NEEDED = {"jobs": connections.Database.JOBS, "events": connections.Database.EVENTS}
_log = logs.logger(__name__)


class Door:
    """The resources of one door's process; connections open on first use, after the fork."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.volumes = Volumes(settings)
        self.deadlines = Deadlines(settings.vfolder.doors.backend_timeout)
        #: The answer of `/volumes`, and what it was made from.
        self._listed: tuple[list[Node], dict[str, MountState], bytes] | None = None

    def follow(self, settings: Settings) -> None:
        """Take over changed settings: new volumes, here and in what was made from the old ones."""
        self.settings = settings
        self.volumes.follow(settings)
        self.mounts.follow(settings)
        self.__dict__.pop("_own_volumes", None)
        self._listed = None

    def volume_list(self) -> bytes:
        """The answer of `/volumes`: this node's, then what other nodes serve now."""
        nodes = self.volume_access.directory.nodes()
        self.mounts.wait()
        looks = self.mounts.states()
        known = self._listed
        if known is None or known[0] is not nodes or known[1] != looks:
            known = self._listed = (nodes, looks, self._volumes_told(looks))
        return known[2]

    def _volumes_told(self, looks: dict[str, MountState]) -> bytes:
        elsewhere = self.volume_access.directory.volumes()
        # No volume is asked here: one that hangs would hold up who asks for all of them.
        # Proved here goes before proved elsewhere, and that before what was proved here once.
        here = {name: look.volume for name, look in looks.items()}
        skills = {name: one.capabilities for name, one in here.items() if one.capabilities}
        skills |= {name: found["capabilities"] for name, found in elsewhere.items()}
        skills |= {name: one.capabilities for name, one in here.items() if one.proven}
        own = {
            name: volume | ({"capabilities": skills[name]} if name in skills else {})
            for name, volume in self._own_volumes.items()
        }
        others = [found for name, found in sorted(elsewhere.items()) if name not in own]
        return json.dumps({"volumes": [*own.values(), *others]})

    @cached_property
    def _own_volumes(self) -> dict[str, dict[str, Any]]:
        return {
            name: {
                "name": name,
                "backend": table.backend,
                "path": str(self.settings.volume_path(table)),
                "fsprefix": table.fsprefix,
                "capabilities": possible_capabilities(self.volumes.get(name)),
            }
            for name, table in self.settings.volume.items()
        }

    @cached_property
    def performance_store(self) -> PerformanceStore:
        """What the manager also reads of volumes."""
        return PerformanceStore(self.settings)

    @cached_property
    def vfolder_cache(self) -> VFolderCache:
        """What is kept of vfolders for a moment."""
        return VFolderCache(self.settings)

    @cached_property
    def uploads(self) -> UploadStore:
        """The uploads under way in the whole cluster."""
        client = connections.connect(self.settings, connections.Database.UPLOADS)
        return UploadStore(client, self.settings.storage_proxy.node_id)

    @cached_property
    def stream_budgets(self) -> Budgets:
        """What the volumes' streams may move."""
        return Budgets(self.settings)

    @cached_property
    def bandwidth(self) -> BandwidthStore:
        """What the volumes may move, as the store has it."""
        return BandwidthStore(connections.connect(self.settings, connections.Database.JOBS))

    @cached_property
    def jobs(self) -> Jobs:
        """The jobs of the whole cluster."""
        return Jobs(self.settings, self.volume_access)

    @cached_property
    def live(self) -> Live:
        """Changes of jobs, for those who wait."""
        client = connections.connect(self.settings, connections.Database.JOBS)
        limit = self.settings.vfolder.doors.streams
        return Live(client, self.jobs.store.get, self.jobs.document, limit)

    @cached_property
    def mounts(self) -> Mounts:
        """The volumes as threads of their own see them, once `health` was asked."""
        return Mounts(self.settings)

    @cached_property
    def health(self) -> HealthMonitor:
        """How this node is."""
        asks: dict[ServiceName, Ping] = {
            ("redis", name): connections.connect(self.settings, database).ping
            for name, database in _NEEDED.items()
        }
        asks["broker", "jobs"] = partial(ask_broker, self.settings)
        return HealthMonitor(asks, self.mounts)

    @cached_property
    def planner(self) -> JobPlanner:
        """How jobs would be done."""
        return JobPlanner(self.jobs, self.volume_access)

    @cached_property
    def volume_access(self) -> VolumeAccess:
        """The volumes of the cluster."""
        calls = NodeCalls(self.settings.api.manager.secret, self.deadlines.seconds)
        directory = NodeDirectory(self.nodes, self.settings.storage_proxy.node_id)
        return VolumeAccess(
            self.volumes, self.mounts, directory, deadlines=self.deadlines, calls=calls
        )

    @cached_property
    def nodes(self) -> NodeStore:
        """The nodes of the whole cluster."""
        return NodeStore(connections.connect(self.settings, connections.Database.JOBS))


def current_door() -> Door:
    """The door of the request at work."""
    return cast("Door", current_app.extensions[_KEY])


def make_app(name: str, settings: Settings, *, measured: bool = True) -> Flask:
    """A Flask app with what all doors share: problems, request ids, one log line per request."""
    app = DoorFlask(name)
    app.url_map.merge_slashes = False  # a redirect would hide that no such route exists
    app.extensions[_KEY] = Door(settings)
    app.before_request(_begin)
    app.after_request(_end)
    problems.install(app)
    if measured:
        metrics.install(app)
    return app


def _new_request_id() -> str:
    """32 random digits; nobody's secret, so without asking the kernel."""
    return f"{random.getrandbits(128):032x}"


def _begin() -> None:
    request = this_request()
    given = request.environ.get(_REQUEST_ID_GIVEN, "")
    request.request_id = given if _REQUEST_ID.fullmatch(given) else _new_request_id()
    request.began = time.monotonic()
    logs.begin(request_id=request.request_id)


def _end(response: Response) -> Response:
    request = this_request()
    response.headers[REQUEST_ID_HEADER] = request.request_id
    _log.info(
        "request answered",
        method=request.method,
        route=str(request.url_rule) if request.url_rule else None,
        status=response.status_code,
        duration_seconds=round(time.monotonic() - request.began, 6),
    )
    return response


#: The route's own name is the operation; views of a resource are named `resource.view`.
_SEPARATOR = "."


def bind_log_context(volume: str | None = None, vfolder: object = None) -> None:
    """Bind what is known of the request at work; what is not is left out."""
    facts = {"operation": (this_request().endpoint or "").rpartition(_SEPARATOR)[2]}
    if volume is not None:
        facts["volume"] = volume
        table = current_door().settings.volume.get(volume)
        if table is not None:
            facts["backend"] = table.backend
    if vfolder is not None:
        facts["vfolder_id"] = str(vfolder)
    logs.note(**facts)
