"""What operators do at both doors: by the secret of the manager, or by a key of their own."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from flask import Response, request

from api.http import answer
from api.jobs import pointer
from api.routes.door import current_door
from core.errors import NotFound
from core.names import moment_or_none


class NodeNotFound(NotFound):
    """No node of this id was seen."""

    title = "No such node"


def known_node(node_id: str) -> str:
    """Return the id of a node that was seen in the last day.

    Raises:
        NodeNotFound: there is none.
    """
    if node_id not in {node["id"] for node in current_door().jobs.nodes.all()}:
        raise NodeNotFound(
            "No node of this id was seen in the last day; GET /v1/nodes lists the nodes."
        )
    return node_id


def purge_rates(volumes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what limits the purges of each volume, and how fast the running ones go."""
    door = current_door()
    each = door.settings.vfolder.trash.purge_entries_per_second or None
    return {
        volume: asdict(found)
        | {"each_entries_per_second": each, "as_of": moment_or_none(found.as_of)}
        for volume, found in door.purge_rates.running(volumes).items()
    }


def no_query() -> None:
    """Refuse every parameter of a query.

    Raises:
        InvalidParameters: there is one.
    """
    if request.args:
        raise pointer(min(request.args), "is not a parameter of this route")


def no_store(document: dict[str, Any]) -> Response:
    """Return an answer that no cache keeps."""
    response = answer(document)
    response.headers["Cache-Control"] = "no-store"
    return response
