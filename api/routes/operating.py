"""What operators do at both doors: by the secret of the manager, or by a key of their own."""

from typing import Any

from flask import Response, request

from api.http import answer
from api.jobs import pointer
from api.routes.door import current_door
from core.errors import NotFound


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
