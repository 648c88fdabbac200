"""What every door stands on: the settings and volumes of this node, the store, request ids."""

import re
import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast
from uuid import uuid4

import structlog
from flask import Flask, Response, current_app, g, request
from redis import Redis

from api import encoding, metrics, problems
from api.deadlines import Deadlines
from api.dispatch import ask_broker
from api.health import Ask, Health, Part
from api.jobs import Jobs
from api.live import Live
from api.plans import Planner
from backends.base import Backend, capabilities
from backends.mounts import Mounts
from backends.registry import Volumes
from core import connections
from core.names import VFolderId
from core.settings import Settings
from core.telemetry import logger
from core.upload_store import UploadStore

REQUEST_ID_HEADER = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_KEY = "vfolder.door"
#: The databases that a node is not well without, by the name in its health document.
_NEEDED = {"jobs": connections.Database.JOBS, "events": connections.Database.EVENTS}
_log = logger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class Door:
    """The resources of one door's process; connections open on first use, after the fork."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.volumes = Volumes(settings)
        self.deadlines = Deadlines(settings.vfolder.doors.backend_timeout)

    @cached_property
    def volume_list(self) -> bytes:
        """The answer of `/volumes`: what is configured does not change while the process lives."""
        volumes = [
            {
                "name": name,
                "backend": table.backend,
                "path": str(self.settings.volume_path(table)),
                "fsprefix": table.fsprefix,
                "capabilities": capabilities(self.volumes.get(name)),
            }
            for name, table in self.settings.volume.items()
        ]
        return encoding.dumps({"volumes": volumes})

    @cached_property
    def volume_stats(self) -> Redis:
        """What the manager also reads of volumes."""
        return connections.connect(self.settings, connections.Database.LIVE)

    @cached_property
    def uploads(self) -> UploadStore:
        """The uploads under way in the whole cluster."""
        client = connections.connect(self.settings, connections.Database.UPLOADS)
        return UploadStore(client, self.settings.storage_proxy.node_id)

    @cached_property
    def jobs(self) -> Jobs:
        """The jobs of the whole cluster."""
        return Jobs(self.settings, self.volumes, self.deadlines)

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
    def health(self) -> Health:
        """How this node is."""
        asks: dict[Part, Ask] = {
            ("redis", name): connections.connect(self.settings, database).ping
            for name, database in _NEEDED.items()
        }
        asks["broker", "jobs"] = partial(ask_broker, self.settings)
        return Health(asks, self.mounts)

    @cached_property
    def planner(self) -> Planner:
        """How jobs would be done."""
        return Planner(self.jobs, self.volumes)

    def on_volume(self, volume: str, act: Callable[[Backend], T]) -> T:
        """Call `act` with the backend of a volume, within the deadline.

        Raises:
            UnknownVolume: no such volume.
            DeadlineExceeded, Unavailable: as `Deadlines.call`.
        """
        return self.deadlines.call(volume, act, self.volumes.get(volume))

    def in_vfolder(
        self,
        place: "Place",
        act: Callable[Concatenate[int, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call `act` with a descriptor of a vfolder's root, within the deadline.

        Raises:
            UnknownVolume, VFolderNotFound: no such place.
            DeadlineExceeded, Unavailable: as `Deadlines.call`.
        """

        def inside(backend: Backend) -> T:
            with backend.open_vfolder(place.vfolder) as root:
                return act(root, *args, **kwargs)

        return self.on_volume(place.volume, inside)


class Place(Protocol):
    """Anything that names a vfolder on a volume."""

    @property
    def volume(self) -> str:
        """The volume's name."""

    @property
    def vfolder(self) -> VFolderId:
        """The vfolder's id."""


def current_door() -> Door:
    """The door of the request at work."""
    return cast("Door", current_app.extensions[_KEY])


def make_app(name: str, settings: Settings, *, measured: bool = True) -> Flask:
    """A Flask app with what all doors share: problems, request ids, one log line per request."""
    app = Flask(name, static_folder=None)
    app.url_map.merge_slashes = False  # a redirect would hide that no such route exists
    app.extensions[_KEY] = Door(settings)
    app.before_request(_begin)
    app.after_request(_end)
    problems.install(app)
    if measured:
        metrics.install(app)
    return app


def _begin() -> None:
    given = request.headers.get(REQUEST_ID_HEADER, "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
    g.began = time.monotonic()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = g.request_id
    _log.info(
        "request answered",
        method=request.method,
        route=str(request.url_rule) if request.url_rule else None,
        status=response.status_code,
        duration_seconds=round(time.monotonic() - g.began, 6),
    )
    return response
