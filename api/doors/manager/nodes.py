"""Routes for operators: nodes (list, drain) and volumes (pause, bandwidth, purge rate)."""

from dataclasses import asdict

from flask import Response

from api.http import answer, no_content
from api.routes import Resource, Route, RouteAnswer, current_door, operating
from api.schemas import (
    Bandwidth,
    BandwidthBody,
    BandwidthDocument,
    NodeList,
    PurgeRate,
    PurgeRateBody,
    PurgeRateDocument,
)
from core.errors import UnknownVolume

blueprint = Resource("nodes", __name__, description="Machines that run jobs.")


@blueprint.operation("GET", "/v1/nodes", Route(gives={200: RouteAnswer("All nodes.", NodeList)}))
def list_nodes() -> Response:
    """List the nodes that were seen in the last day, with their state, volumes, slots and load.

    `volumes_at_rest` lists the volumes whose jobs are paused.
    """
    jobs = current_door().jobs
    return answer({"nodes": jobs.nodes.all(), "volumes_at_rest": jobs.lists.paused_volumes()})


@blueprint.operation(
    "POST",
    "/v1/nodes/<node_id>/drain",
    Route(
        gives={204: RouteAnswer("It releases its jobs and takes no new one.")},
        refuses=(operating.NodeNotFound,),
    ),
)
def drain_node(node_id: str) -> Response:
    """Drain a node: it releases its jobs to other nodes and takes no new one."""
    current_door().jobs.nodes.drain(operating.known_node(node_id))
    return no_content()


@blueprint.operation(
    "POST",
    "/v1/nodes/<node_id>/undrain",
    Route(gives={204: RouteAnswer("It takes jobs again.")}, refuses=(operating.NodeNotFound,)),
)
def undrain_node(node_id: str) -> Response:
    """Let a drained node take jobs again."""
    current_door().jobs.nodes.drain(operating.known_node(node_id), undo=True)
    return no_content()


@blueprint.operation(
    "POST",
    "/v1/volumes/<volume>/pause",
    Route(gives={204: RouteAnswer("Its jobs are paused.")}, refuses=(UnknownVolume,)),
)
def pause_volume(volume: str) -> Response:
    """Pause all jobs of a volume; running ones stop at their next heartbeat and lose nothing."""
    door = current_door()
    door.volume_access.check_known(volume)
    door.jobs.notes.set(volume, None)
    door.jobs.store.pause_volume(volume)
    return no_content()


@blueprint.operation(
    "POST",
    "/v1/volumes/<volume>/resume",
    Route(gives={204: RouteAnswer("Its jobs continue.")}, refuses=(UnknownVolume,)),
)
def resume_volume(volume: str) -> Response:
    """Let the jobs of a volume continue."""
    door = current_door()
    door.volume_access.check_known(volume)
    door.jobs.store.pause_volume(volume, resume=True)
    door.jobs.notes.set(volume, None)
    return no_content()


@blueprint.operation(
    "GET",
    "/v1/volumes/<volume>/bandwidth",
    Route(gives={200: RouteAnswer("The limit.", BandwidthDocument)}, refuses=(UnknownVolume,)),
)
def get_bandwidth(volume: str) -> Response:
    """Return the bandwidth limit of a volume, and how many jobs and streams share it now."""
    door = current_door()
    door.volume_access.check_known(volume)
    share = door.bandwidth.shares().get(volume)
    return answer(dict.fromkeys(BandwidthDocument().fields) if share is None else asdict(share))


@blueprint.operation(
    "PUT",
    "/v1/volumes/<volume>/bandwidth",
    Route(takes=BandwidthBody, gives={204: RouteAnswer("Set.")}, refuses=(UnknownVolume,)),
)
def set_bandwidth(body: Bandwidth, volume: str) -> Response:
    """Limit the bandwidth of the running jobs and the client doors' streams of a volume together.

    Each has an equal share. Jobs apply it at their next heartbeat, streams within two seconds. Null
    lifts the limit.
    """
    door = current_door()
    door.volume_access.check_known(volume)
    door.bandwidth.set(volume, body.bytes_per_second)
    return no_content()


@blueprint.operation(
    "GET",
    "/v1/volumes/<volume>/purge-rate",
    Route(gives={200: RouteAnswer("The rate.", PurgeRateDocument)}, refuses=(UnknownVolume,)),
)
def get_purge_rate(volume: str) -> Response:
    """Return the purge rate of a volume, and how fast its running purges remove entries now."""
    current_door().volume_access.check_known(volume)
    return answer(operating.purge_rates([volume])[volume])


@blueprint.operation(
    "PUT",
    "/v1/volumes/<volume>/purge-rate",
    Route(takes=PurgeRateBody, gives={204: RouteAnswer("Set.")}, refuses=(UnknownVolume,)),
)
def set_purge_rate(body: PurgeRate, volume: str) -> Response:
    """Limit the entries per second that the running purges of a volume remove together.

    Each has an equal share from its next heartbeat on. Null lifts the limit.
    """
    door = current_door()
    door.volume_access.check_known(volume)
    door.purge_rates.set(volume, body.entries_per_second)
    return no_content()
