"""Operations on this node's volumes for the doors of other nodes; no part of the public API."""

from flask import Blueprint, Response, request

from api.routes import bind_log_context, current_door
from backends.volumes import CONTENT_TYPE, PATH, remote
from core.cluster import NODE_HEADER
from core.errors import MalformedRequest

blueprint = Blueprint("node_operations", __name__)
#: The largest call stores metadata of a vfolder (10 MiB).
BODY_MAX_BYTES = 11 * 1024 * 1024


@blueprint.route(PATH, methods=["POST"])
def perform_operation() -> Response:
    """Do the operation of the body here, and return its outcome."""
    request.max_content_length = BODY_MAX_BYTES
    try:
        call = remote.decode_call(request.get_data(cache=False))
    except ValueError as error:
        raise MalformedRequest("The body is no call of another node.") from error
    bind_log_context(call.volume, call.vfolder or None)
    door = current_door()
    node = request.headers.get(NODE_HEADER, "")
    outcome = door.volume_access.perform(node, call, door.uploads)
    return Response(outcome, content_type=CONTENT_TYPE)
