"""Routes of what a node is set to, of what rescans found, and of what the manager reads."""

from typing import Any, cast

from flask import Response
from redis import Redis

from api.routes import Door, PeopleResource, PersonRequest, Route, RouteAnswer, current_door, needs
from api.routes.operating import no_query, no_store
from api.schemas import operators as shapes
from core.errors import ConfigurationError
from core.events import recent_events
from core.jobs.store import PREFIX
from core.names import moment_of_ms
from core.redis import Database, connect, json
from core.settings import effective, masked, reload, sources
from core.telemetry import logger

blueprint = PeopleResource("settings", __name__, description="What a node is set to.")
_log = logger(__name__)


@blueprint.operation(
    "GET", "/v1/settings", Route(gives={200: RouteAnswer("The values.", shapes.SettingsPage)})
)
@needs("settings.read")
def list_settings(asked: PersonRequest) -> Response:  # noqa: ARG001 - every view has it
    """List every effective value of the node that answers, with where it comes from.

    Secrets are stars. `waits` marks what was changed in the file and waits for a restart.
    """
    no_query()
    return no_store(settings_document(current_door()))


def settings_document(door: Door) -> dict[str, Any]:
    """Return the effective values of this node, without secrets."""
    settings = door.settings
    try:
        found, waiting = sources(settings), set(reload(settings)[1])
    except ConfigurationError as error:  # the file was broken or removed since the start
        _log.warning("settings not read again", reason=error.detail)
        found, waiting = {}, set[str]()
    return {
        "node": settings.storage_proxy.node_id,
        "settings": [
            {
                "key": key,
                "value": masked(key, value),
                "source": _source(key, found),
                "waits": key in waiting,
            }
            for key, value in effective(settings)
        ],
    }


def _source(key: str, found: dict[str, str]) -> str:
    """Return where a value comes from; an array or a table of options is one key of a file."""
    for name, source in found.items():
        if key == name or key.startswith(f"{name}.") or name.startswith(f"{key}."):
            return source
    return "default"


@blueprint.operation(
    "GET", "/v1/orphans", Route(gives={200: RouteAnswer("What was found.", shapes.OrphansPage)})
)
@needs("settings.read")
def list_orphans(asked: PersonRequest) -> Response:  # noqa: ARG001 - every view has it
    """Return what the last rescan of each volume found, by kind, and what it repaired.

    `rescan` is null where none ended for 30 days. The report of its job names every entry.
    """
    no_query()
    door = current_door()
    found = [
        {"volume": name, "rescan": _last_rescan(door.jobs.redis, name)}
        for name in door.access.volumes()
    ]
    return no_store({"volumes": found})


def _last_rescan(client: "Redis", volume: str) -> dict[str, Any] | None:
    text = cast("str | None", client.get(f"{PREFIX}rescan:{volume}"))
    return None if text is None else cast("dict[str, Any]", json.loads(text))


@blueprint.operation(
    "GET",
    "/v1/published-events",
    Route(gives={200: RouteAnswer("The events.", shapes.PublishedEvents)}),
)
@needs("settings.read")
def list_published_events(asked: PersonRequest) -> Response:  # noqa: ARG001 - every view has it
    """List the newest events of the stream that the manager reads, the newest first.

    The stream keeps about 128. `unpublished` counts the ended jobs whose end is not in it yet.
    """
    no_query()
    door = current_door()
    found = recent_events(connect(door.settings, Database.EVENTS, text=False))
    return no_store(
        {
            "events": [{**one, "at": moment_of_ms(one["id"].partition("-")[0])} for one in found],
            "unpublished": door.jobs.redis.zcard(f"{PREFIX}outbox"),
        }
    )
