"""Routes of nodes: look, drain, undrain."""

from typing import Any

from flask import Response

from api.http import no_content
from api.routes import PeopleResource, PersonRequest, Route, RouteAnswer, current_door, needs
from api.routes.operating import NodeNotFound, known_node, no_query, no_store
from api.schemas import operators as shapes
from core.names import moment

blueprint = PeopleResource("nodes", __name__, description="Nodes, for operators.")

_SHOWN = (
    *("id", "version", "alive", "silent_seconds", "draining", "running", "slots", "load"),
    *("lanes", "volumes", "queues", "client_url"),
)


@blueprint.operation(
    "GET", "/v1/nodes", Route(gives={200: RouteAnswer("The nodes.", shapes.NodePage)})
)
@needs("nodes.read")
def list_nodes_of_cluster(asked: PersonRequest) -> Response:  # noqa: ARG001 - every view has it
    """List the nodes that were seen in the last day, with load, slots, volumes and version.

    `silent_seconds` is null where a node went on purpose. A node that drains takes no jobs;
    `running` says how many it still has.
    """
    no_query()
    jobs = current_door().jobs
    found = [_document(node) for node in jobs.nodes.all()]
    return no_store({"nodes": found, "at": moment(jobs.lists.now_ms() / 1000)})


def _document(node: dict[str, Any]) -> dict[str, Any]:
    started = node.get("started_at")
    shown = {name: node.get(name) for name in _SHOWN}
    return shown | {"started_at": None if started is None else moment(started)}


@blueprint.operation(
    "POST",
    "/v1/nodes/<node_id>/drain",
    Route(
        takes=shapes.ReasonBody,
        gives={204: RouteAnswer("It releases its jobs and takes no new one.")},
        refuses=(NodeNotFound,),
    ),
)
@needs("nodes.steer", noted=True)
def drain_node_of_cluster(body: shapes.GivenReason, asked: PersonRequest) -> Response:
    """Drain a node: it releases its jobs to other nodes and takes no new one."""
    node = known_node(asked.path["node_id"])
    asked.note(target=f"node:{node}", reason=body.reason, after="draining")
    current_door().jobs.nodes.drain(node)
    return no_content()


@blueprint.operation(
    "POST",
    "/v1/nodes/<node_id>/undrain",
    Route(
        takes=shapes.MaybeReasonBody,
        gives={204: RouteAnswer("It takes jobs again.")},
        refuses=(NodeNotFound,),
    ),
)
@needs("nodes.steer", noted=True)
def undrain_node_of_cluster(body: shapes.GivenReason, asked: PersonRequest) -> Response:
    """Let a drained node take jobs again."""
    node = known_node(asked.path["node_id"])
    asked.note(target=f"node:{node}", reason=body.reason or None, after="serving")
    current_door().jobs.nodes.drain(node, undo=True)
    return no_content()
