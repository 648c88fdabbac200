"""The routes of the overview: the cluster on one page, and its last hour."""

from collections import Counter
from dataclasses import asdict
from typing import Any, cast

from flask import Response

from api.doors.operators.attention import Figures, attention, health
from api.doors.operators.volume_facts import VolumeFacts
from api.routes import Door, PeopleResource, PersonRequest, Route, RouteAnswer, current_door, needs
from api.routes.operating import no_query, no_store
from api.schemas import operators as shapes
from core.cluster import SERIES_SECONDS, SeriesPoint, SeriesStore
from core.jobs import Job
from core.jobs.store import PREFIX, Queues
from core.names import moment
from core.quota import scopes_at_thresholds

blueprint = PeopleResource("overview", __name__, description="The cluster on one page.")

#: Failures of this time are counted (milliseconds).
FAILURES_MS = 3_600_000
#: From this share of its limit on (percent), a scope is near it.
NEAR_PERCENT = 90
#: A point that is older says nothing about now (seconds).
FRESH_SECONDS = 3 * SERIES_SECONDS


@blueprint.operation(
    "GET",
    "/v1/overview",
    Route(gives={200: RouteAnswer("The overview.", shapes.OverviewDocument)}),
)
@needs("settings.read")
def get_overview(asked: PersonRequest) -> Response:  # noqa: ARG001 - every view has it
    """Return health, what needs attention, throughput, queue and failures of the last hour.

    It reads what is kept anyway and calls no storage system. What is not known is null.
    """
    no_query()
    return no_store(overview_of(current_door()))


def overview_of(door: Door) -> dict[str, Any]:
    """Return the overview document."""
    facts, client = VolumeFacts(door), door.jobs.redis
    volumes, queues = facts.all(), facts.queues
    failures = _by_code(door.jobs.lists.failed_since(int(queues.at * 1000) - FAILURES_MS))
    info = cast("dict[str, int]", client.info("clients"))
    most = info.get("maxclients")
    figures = Figures(
        nodes=facts.nodes,
        volumes=volumes,
        failures=failures,
        full_scopes={one["name"]: _near(door, one["name"]) for one in volumes},
        unpublished=client.zcard(f"{PREFIX}outbox"),
        connections=(info["connected_clients"], most) if most else None,
    )
    found = attention(figures)
    return {
        "at": moment(queues.at),
        "health": health(found),
        "attention": [asdict(one) for one in found],
        "nodes": _nodes(facts.nodes),
        "volumes": _volumes(volumes),
        "jobs": {
            "running": len(queues.running),
            "waiting": queues.waiting,
            "oldest_seconds": round(queues.oldest_seconds, 1),
        },
        "lanes": [
            {"volume": one["name"], **lane}
            for one in volumes
            for lane in one["lanes"]
            if lane["running"] or lane["waiting"] or lane["waiting"] is None
        ],
        "failures": [
            {"error_code": code, "jobs": count} for code, count in Counter(failures).most_common()
        ],
        "throughput": _throughput(SeriesStore(client).last(1), queues),
        "uploads_open": door.uploads.count(),
        "events_unpublished": figures.unpublished,
    }


def _by_code(jobs: list[Job]) -> dict[str, int]:
    return Counter(str((job.member("error") or {}).get("error_code", "unknown")) for job in jobs)


def _near(door: Door, volume: str) -> int:
    levels = scopes_at_thresholds(door.jobs.redis, volume)
    return sum(count for percent, count in levels.items() if percent >= NEAR_PERCENT)


def _nodes(nodes: list[dict[str, Any]]) -> dict[str, int]:
    alive = [one for one in nodes if one["alive"]]
    draining = sum(one["draining"] for one in alive)
    return {
        "alive": len(alive) - draining,
        "draining": draining,
        "silent": sum(not one["alive"] and one["silent_seconds"] is not None for one in nodes),
    }


def _volumes(volumes: list[dict[str, Any]]) -> dict[str, int]:
    states = Counter(one["state"] for one in volumes)
    paused = sum(one["paused"] for one in volumes)
    return {"total": len(volumes), **{s: states[s] for s in ("ready", "partly", "away")}} | {
        "paused": paused
    }


def _throughput(points: list[SeriesPoint], queues: Queues) -> dict[str, Any]:
    """Return the newest rates; null where the newest point is old."""
    point = points[0] if points else None
    if point is None:
        return {"received_bytes_per_second": None, "sent_bytes_per_second": None, "as_of": None}
    fresh = queues.at - point.at <= FRESH_SECONDS
    return {
        "received_bytes_per_second": point.received if fresh else None,
        "sent_bytes_per_second": point.sent if fresh else None,
        "as_of": moment(point.at),
    }


@blueprint.operation(
    "GET",
    "/v1/series",
    Route(gives={200: RouteAnswer("The last hour.", shapes.SeriesDocument)}),
)
@needs("settings.read")
def get_series(asked: PersonRequest) -> Response:  # noqa: ARG001 - every view has it
    """Return the last hour as columns, a point every five seconds, the oldest first.

    The leading node adds the points; while there is none, some lack. Bytes of the doors come from
    their counters, those of a volume from its last observation.
    """
    no_query()
    return no_store(columns(SeriesStore(current_door().jobs.redis).last()))


def columns(points: list[SeriesPoint]) -> dict[str, Any]:
    """Return points as columns of the same length."""
    names = sorted({name for point in points for name in point.volumes})
    unknown = (None, None)
    return {
        "interval_seconds": SERIES_SECONDS,
        "at": [round(point.at, 1) for point in points],
        "received": [_whole(point.received) for point in points],
        "sent": [_whole(point.sent) for point in points],
        "running": [point.running for point in points],
        "waiting": [point.waiting for point in points],
        "oldest_seconds": [round(point.oldest, 1) for point in points],
        "volumes": {
            name: {
                "read": [_whole(point.volumes.get(name, unknown)[0]) for point in points],
                "written": [_whole(point.volumes.get(name, unknown)[1]) for point in points],
            }
            for name in names
        },
    }


def _whole(rate: float | None) -> float | None:
    return None if rate is None else round(rate)
