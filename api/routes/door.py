"""The resources of a door: settings, volumes, stores, jobs; and its Flask app with request ids."""

import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, current_app
from msgspec import structs

from api.access import AccessService, VFolderNews
from api.http import DoorFlask, begin_request, json, metrics, problems, this_request
from api.jobs import Feed, JobPlanner, JobReads, Jobs, Live, check_broker
from api.volumes import (
    Budgets,
    Deadlines,
    HealthMonitor,
    InlineCalls,
    NodeDirectory,
    Ping,
    ServiceName,
    VolumeAccess,
)
from backends.base import possible_capabilities
from backends.volumes import Mounts, MountState, NodeCalls, Volumes
from backends.volumes.artifacts import ArtifactRegistries, ArtifactStorages
from core.cluster import (
    BandwidthStore,
    Node,
    NodeStore,
    PerformanceStore,
    SelectionStore,
    VFolderCache,
)
from core.errors import ConfigurationError
from core.events import recent_events
from core.jobs import Job
from core.jobs.store import PREFIX, PurgeRates
from core.names import QuotaScope
from core.quota import (
    HiddenUsageStore,
    NoticeStore,
    TotalLimits,
    accounts_at_thresholds,
    scope_figures,
)
from core.redis import connections, prove_write
from core.settings import Settings
from core.telemetry import logs
from core.uploads import UploadBounds, UploadPlaces, UploadStore

if TYPE_CHECKING:
    from api.access.links import LinkVisits
    from api.routes.people_parts import PeopleParts

REQUEST_ID_HEADER = "X-Request-ID"
_KEY = "vfolder.door"
#: The databases that a healthy node needs, by the name in its health document.
_NEEDED = {"jobs": connections.Database.JOBS, "events": connections.Database.EVENTS}
#: Open uploads whose offsets are compared for the news of operators; of more, their number alone.
_NEWS_UPLOADS = 500
#: Returns the current app, looked up once, as `this_request`.
_this_app: Callable[[], Flask] = current_app._get_current_object  # type: ignore[attr-defined] # noqa: SLF001 - werkzeug documents it under this name
_log = logs.logger(__name__)


class Door:
    """The resources of one process of a door. Connections open at first use, after the fork."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.volumes = Volumes(settings)
        self.deadlines = Deadlines(settings.vfolder.doors.backend_timeout)
        self.inline_calls = InlineCalls(self.deadlines)
        #: The answer of `/volumes`, and what it was made from.
        self._listed: tuple[list[Node], dict[str, MountState], bytes] | None = None

    def follow(self, settings: Settings) -> None:
        """Apply changed settings, here and in everything that was made from the old ones."""
        self.settings = settings
        self.volumes.follow(settings)
        self.mounts.follow(settings)
        self.__dict__.pop("_own_volumes", None)
        self._listed = None

    def close(self) -> None:
        """End the threads that prove volumes and call services, where there are any.

        The process of a real door just ends. One that makes many doors in turn closes each.
        """
        for name in ("mounts", "health"):
            if (made := self.__dict__.get(name)) is not None:
                made.stop()

    def volume_list(self) -> bytes:
        """Return the JSON of `/volumes`: the volumes of this node, then those of other nodes."""
        nodes = self.volume_access.directory.nodes()
        self.mounts.wait()
        states = self.mounts.states()
        cached = self._listed
        if cached is None or cached[0] is not nodes or cached[1] != states:
            cached = self._listed = (nodes, states, self._volumes_json(states))
        return cached[2]

    def _volumes_json(self, states: dict[str, MountState]) -> bytes:
        elsewhere = self.volume_access.directory.volumes()
        # This calls no volume: one that hangs would delay the answer about all of them.
        # What is proved here now wins over what is proved elsewhere, and that over what was
        # proved here earlier.
        here = {name: state.volume for name, state in states.items()}
        proved = {name: one.capabilities for name, one in here.items() if one.capabilities}
        proved |= {name: volume["capabilities"] for name, volume in elsewhere.items()}
        proved |= {name: one.capabilities for name, one in here.items() if one.proven}
        own = {
            name: volume | ({"capabilities": proved[name]} if name in proved else {})
            for name, volume in self._own_volumes.items()
        }
        others = [volume for name, volume in sorted(elsewhere.items()) if name not in own]
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
            if not self.volumes.mistake(name)  # callers of this list cannot read "down"
        }

    @cached_property
    def artifact_storages(self) -> ArtifactStorages:
        """The artifact storages of this node."""
        return ArtifactStorages(self.settings)

    @cached_property
    def registries(self) -> ArtifactRegistries:
        """The registries of models that this node knows."""
        return ArtifactRegistries(self.settings)

    @cached_property
    def performance_store(self) -> PerformanceStore:
        """The performance of volumes as the workers observed it; the manager reads it, too."""
        return PerformanceStore(self.settings)

    @cached_property
    def vfolder_cache(self) -> VFolderCache:
        """A short-lived cache of properties of vfolders."""
        return VFolderCache(self.settings)

    @cached_property
    def notices(self) -> NoticeStore:
        """The notices of people, of the whole cluster."""
        client = connections.connect(self.settings, connections.Database.JOBS)
        return NoticeStore(client, posted=bool(self.settings.vfolder.notices.url))

    @cached_property
    def quota_totals(self) -> TotalLimits:
        """The limits of users and groups over all volumes."""
        return TotalLimits(connections.connect(self.settings, connections.Database.JOBS))

    @cached_property
    def uploads(self) -> UploadStore:
        """The open uploads of the whole cluster."""
        client = connections.connect(self.settings, connections.Database.UPLOADS)
        own = self.settings.vfolder.uploads
        bounds = UploadBounds(**structs.asdict(own))
        return UploadStore(client, self.settings.storage_proxy.node_id, bounds)

    @cached_property
    def selections(self) -> SelectionStore:
        """The paths of long tickets, of the whole cluster."""
        return SelectionStore(self.settings)

    @cached_property
    def stream_budgets(self) -> Budgets:
        """The bandwidth budgets of the streams of this process."""
        return Budgets(self.settings)

    @cached_property
    def bandwidth(self) -> BandwidthStore:
        """The bandwidth limits of the volumes."""
        return BandwidthStore(connections.connect(self.settings, connections.Database.JOBS))

    @cached_property
    def purge_rates(self) -> PurgeRates:
        """The purge rates of the volumes."""
        return PurgeRates(self.jobs.redis)

    @cached_property
    def jobs(self) -> Jobs:
        """The jobs of the whole cluster."""
        return Jobs(self.settings, self.volume_access)

    @cached_property
    def live(self) -> Live:
        """Changes of jobs as they happen, for event streams and `Prefer: wait`."""
        client = connections.connect(self.settings, connections.Database.JOBS)
        own = self.settings.vfolder.doors
        jobs = self.jobs
        return Live(client, jobs.store.get, jobs.document, streams=own.streams, waits=own.waits)

    @cached_property
    def feed(self) -> Feed:
        """News of jobs and what is compared, for streams about many things."""
        jobs = self.jobs
        reads = JobReads(jobs.lists.read, jobs.lists.now_ms, self._note_job)
        looks = {"nodes": self._node_states, "volumes": self._volume_states}
        own = {"uploads": self._upload_states, "quota": self._quota_states}
        of_operators = {
            "audit": self._audit_state,
            "events": self._published_state,
            "findings": self._finding_states,
        }
        return Feed(reads, {**looks, **of_operators}, own)

    @cached_property
    def vfolder_news(self) -> VFolderNews:
        """News of vfolders, for streams about many things."""
        return VFolderNews(self.settings, self.feed)

    def _note_job(self, job: Job) -> None:
        self.vfolder_news.note_job(job)

    def _upload_states(self, sessions: Sequence[str]) -> dict[str, dict[str, object]]:
        """Return the open uploads of each session; without one, those of all, without names."""
        places = UploadPlaces(self.uploads)
        found: dict[str, dict[str, object]] = {}
        for session in sessions:
            if session:
                known = places.of_session(session)
                found[session] = {
                    one.upload.id: (one.offset, one.upload.volume, one.upload.vfolder)
                    for one in known
                }
            else:
                offsets = {one.upload.id: one.offset for one in places.page(_NEWS_UPLOADS)}
                found[session] = {"": (self.uploads.count(), offsets)}
        return found

    def _quota_states(self, scopes: Sequence[str]) -> dict[str, dict[str, object]]:
        """Return what the store knows of each scope; without one, the thresholds by volume."""
        client, volumes = self.jobs.redis, self.access.volumes()
        named = {scope: QuotaScope.parse(scope).directory for scope in scopes if scope}
        figures = scope_figures(client, list(named.values()), volumes)
        found: dict[str, dict[str, object]] = {
            scope: {scope: figures[directory]} for scope, directory in named.items()
        }
        if "" in scopes:
            found[""] = {name: accounts_at_thresholds(client, name) for name in ["", *volumes]}
        return found

    def _node_states(self) -> dict[str, object]:
        shown = ("alive", "draining", "running", "version")
        return {node["id"]: [node[name] for name in shown] for node in self.jobs.nodes.all()}

    def _volume_states(self) -> dict[str, object]:
        paused, notes = set(self.jobs.lists.paused_volumes()), self.jobs.notes.all()
        shares = self.bandwidth.shares()
        found: dict[str, list[object]] = {name: [] for name in self.settings.volume}
        for node in self.jobs.nodes.all():
            for name, volume in node["volumes"].items():
                found.setdefault(name, []).append((node["alive"], volume["proven"]))
        return {
            name: [
                *nodes,
                name in paused,
                notes.get(name),
                share.bytes_per_second if (share := shares.get(name)) else None,
            ]
            for name, nodes in found.items()
        }

    def _audit_state(self) -> dict[str, object]:
        newest = self.people.audit.recent(1) if self.people is not None else []
        return {"newest": newest[0][0] if newest else None}

    def _published_state(self) -> dict[str, object]:
        """Return the id of the newest published event, and how many wait."""
        client = connections.connect(self.settings, connections.Database.EVENTS, text=False)
        newest = recent_events(client, 1)
        waiting = self.jobs.redis.zcard(f"{PREFIX}outbox")
        return {"newest": (newest[0]["id"] if newest else None, waiting)}

    def _finding_states(self) -> dict[str, object]:
        """Return what the last rescan and the last sweep of each volume found, and its purges."""
        client = self.jobs.redis
        sweeps = HiddenUsageStore(client)
        purges = self.purge_rates.running(self.access.volumes())
        return {
            name: (client.get(f"{PREFIX}rescan:{name}"), sweeps.last(name), running)
            for name, running in purges.items()
        }

    @cached_property
    def mounts(self) -> Mounts:
        """The states of the volumes; probing threads start when `health` is first used."""
        return Mounts(self.settings)

    @cached_property
    def health(self) -> HealthMonitor:
        """The health of this node."""
        pings: dict[ServiceName, Ping] = {
            ("redis", name): partial(prove_write, connections.connect(self.settings, database))
            for name, database in _NEEDED.items()
        }
        pings["broker", "jobs"] = partial(check_broker, self.settings)
        return HealthMonitor(pings, self.mounts)

    @cached_property
    def planner(self) -> JobPlanner:
        """Plans of jobs that are not submitted."""
        return JobPlanner(self.jobs, self.volume_access)

    @cached_property
    def volume_access(self) -> VolumeAccess:
        """Access to every volume of the cluster."""
        calls = NodeCalls(
            self.settings.api.manager.secret, self.deadlines.seconds, problems.request_id
        )
        directory = NodeDirectory(self.nodes, self.settings.storage_proxy.node_id)
        return VolumeAccess(
            self.volumes, self.mounts, directory, deadlines=self.deadlines, calls=calls
        )

    @cached_property
    def people(self) -> "PeopleParts | None":
        """What people need; None without `[vfolder.access]`."""
        table = self.settings.vfolder.access
        if table is None:
            return None
        from api.routes.people_parts import PeopleParts  # noqa: PLC0415 - most doors do not need it

        return PeopleParts(self.settings, table, self.volume_access)

    @cached_property
    def access(self) -> AccessService:
        """Who asks at the routes for people, and what is decided.

        Raises:
            ConfigurationError: the table `[vfolder.access]` is missing.
        """
        if self.people is None:
            raise ConfigurationError("The table [vfolder.access] is missing.")
        return AccessService(self.settings, self.volume_access, self.jobs, self.people)

    @cached_property
    def link_visits(self) -> "LinkVisits":
        """The visits by links.

        Raises:
            ConfigurationError: the table `[vfolder.access]` is missing.
        """
        from api.access.links import LinkVisits  # noqa: PLC0415 - most doors do not need it

        service = self.access
        return LinkVisits(self.settings, service, service.parts.failures, service.parts.link_counts)

    def capabilities_of(self, volume: str) -> list[str]:
        """Return what a volume can do, here or on another node; empty where that is unknown."""
        table = self.settings.volume.get(volume)
        if table is not None and not self.volumes.mistake(volume):
            return possible_capabilities(self.volumes.get(volume))
        found = self.volume_access.directory.volumes().get(volume, {})
        return list(found.get("capabilities", []))

    @cached_property
    def nodes(self) -> NodeStore:
        """The nodes of the whole cluster."""
        return NodeStore(connections.connect(self.settings, connections.Database.JOBS))


def current_door() -> Door:
    """Return the door of the current request."""
    door: Door = _this_app().extensions[_KEY]
    return door


def make_app(name: str, settings: Settings, *, measured: bool = True) -> Flask:
    """Return a Flask app with problem documents, request ids and one log line per request."""
    app = DoorFlask(name)
    app.url_map.merge_slashes = False  # a redirect would hide that no such route exists
    app.extensions[_KEY] = Door(settings)
    app.before_request(begin_request)
    app.after_request(_end)
    problems.install(app)
    if measured:
        metrics.install(app)
    return app


def _end(response: Response) -> Response:
    request = this_request()
    if not request.is_answered:  # Flask runs the hooks again when one of them fails
        request.is_answered = True
        response.headers.add(REQUEST_ID_HEADER, request.request_id)
    else:
        response.headers[REQUEST_ID_HEADER] = request.request_id
    _log.info(
        "request answered",
        method=request.method,
        route=request.url_rule.rule if request.url_rule else None,
        status=response.status_code,
        duration_seconds=round(time.monotonic() - request.began, 6),
    )
    return response


def bind_log_context(volume: str | None = None, vfolder: object = None) -> None:
    """Add the operation, volume, backend and vfolder to every log line of the current request."""
    # An endpoint is named `resource.view`; the view is the operation.
    facts = {"operation": (this_request().endpoint or "").rpartition(".")[2]}
    if volume is not None:
        facts["volume"] = volume
        table = current_door().settings.volume.get(volume)
        if table is not None:
            facts["backend"] = table.backend
    if vfolder is not None:
        facts["vfolder_id"] = str(vfolder)
    logs.note(**facts)
