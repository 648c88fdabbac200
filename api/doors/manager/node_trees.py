"""Trees of this node's volumes for the workers of other nodes; no part of the public API.

The question goes to the worker of this node, which may read the files of all users. Its answer
passes through here at the pace of the volume's budget.
"""

import io
import socket
from collections.abc import Iterator
from http import HTTPStatus

from flask import Blueprint, Response, request

from api.routes import bind_log_context, current_door
from api.streaming import Pace
from backends.tree import Frame, pack_frame, read_frame
from core.cluster import NODE_HEADER, TREES_PATH
from core.errors import MalformedRequest, NodeAway
from core.names import VFolderId
from core.process import unix_address
from core.settings import Settings

blueprint = Blueprint("node_trees", __name__)
#: The largest question has the names of a batch and what the target has of them.
BODY_MAX_BYTES = 32 * 1024 * 1024
CONTENT_TYPE = "application/octet-stream"
#: The worker takes a question within this time (seconds), or is away.
CONNECT_SECONDS = 10.0
#: A worker that sends nothing for so long (seconds) hangs with its storage.
ANSWER_SECONDS = 120.0
CHUNK_BYTES = 256 * 1024


@blueprint.route(TREES_PATH, methods=["POST"])
def answer_question() -> Response:
    """Return the frames of the worker's answer."""
    request.max_content_length = BODY_MAX_BYTES
    door = current_door()
    try:
        body = io.BytesIO(request.get_data(cache=False))
        request_frame: Frame = read_frame(body.read) or ()
        volume, vfolder, path, question = request_frame
        bind_log_context(volume, VFolderId.parse(vfolder))
    except (TypeError, ValueError, NodeAway) as error:
        raise MalformedRequest("The body is no question of another node.") from error
    door.volume_access.check_served(request.headers.get(NODE_HEADER, ""), volume)
    frame = pack_frame([door.settings.api.manager.secret, volume, vfolder, path, question])
    connection = _sent(door.settings, frame)
    door.stream_budgets.start()  # this door has no other streams, and most processes have none
    pace = door.stream_budgets.pace(volume)
    return Response(_relayed(connection, pace), HTTPStatus.OK, content_type=CONTENT_TYPE)


def _sent(settings: Settings, question: bytes) -> socket.socket:
    """Return a connection to the worker that has got the question.

    Raises:
        NodeAway: the worker does not run.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(CONNECT_SECONDS)
        with unix_address(settings.tree_socket) as address:
            connection.connect(address)
        connection.sendall(question)
    except OSError as error:
        connection.close()
        raise NodeAway("The worker of this node takes no questions now; try again.") from error
    connection.settimeout(ANSWER_SECONDS)
    return connection


def _relayed(connection: socket.socket, pace: Pace) -> Iterator[bytes]:
    try:
        while chunk := connection.recv(CHUNK_BYTES):
            yield from pace.pieces(chunk)
    finally:
        pace.close()
        connection.close()
