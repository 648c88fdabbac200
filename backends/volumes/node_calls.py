"""Bounded operations on volumes of other nodes, over HTTP to the manager doors of those nodes.

One request per operation: the body is the call and the answer its outcome, both as
`backends.volumes.remote` makes them. The door that gets the request does the operation itself and
never sends it on, so no request travels in circles.
"""

import ssl
from collections.abc import Callable, Iterable
from http import HTTPStatus
from itertools import islice

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from core.cluster import NODE_HEADER, SECRET_HEADER, Node
from core.errors import BackendFailed, DeadlineExceeded, Unavailable
from core.telemetry import logger

#: The route that does operations for other nodes.
PATH = "/v1/node/operations"
CONTENT_TYPE = "application/msgpack"
#: Nodes that one call is sent to, the next only where the one before surely did not begin it.
NODES_TRIED = 2
#: A node in the same cluster accepts a connection faster than this, or is away.
CONNECT_SECONDS = 2.0
#: Idle connections that are kept for each node.
CONNECTIONS_KEPT = 16
#: Answers of a door that did not begin: no such route (an older release), the secret is another,
#: another node or volume, or the volume's threads are all busy.
_NOT_BEGUN = frozenset(
    {
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.MISDIRECTED_REQUEST,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
)
_log = logger(__name__)


class NodeCalls:
    """The connections of this process to the manager doors of other nodes."""

    def __init__(
        self,
        secret: str,
        timeout_seconds: float,
        request_id: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Send the secret with each call, and the id of the request that it is made for."""
        self._headers = {SECRET_HEADER: secret, "Content-Type": CONTENT_TYPE}
        self._request_id = request_id
        self._pool = urllib3.PoolManager(
            maxsize=CONNECTIONS_KEPT,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=timeout_seconds),
        )

    def send(self, volume: str, nodes: Iterable[Node], call: bytes) -> bytes:
        """Have one of the nodes do an operation and return its outcome.

        Raises:
            Unavailable: no node began it; the same call may work later.
            DeadlineExceeded: a node got it and did not answer; it may still take effect.
            BackendFailed: the node answered something else than an outcome.
        """
        for node in islice(nodes, NODES_TRIED):
            outcome = self._post(volume, node, call)
            if outcome is not None:
                return outcome
        raise Unavailable(f"No node of volume {volume} takes calls now; try again.", volume=volume)

    def _post(self, volume: str, node: Node, call: bytes) -> bytes | None:
        """Return the outcome; None when the node surely did not begin the operation."""
        if not node.manager_url:
            _log.warning("node announces no manager door", node=node.id, volume=volume)
            return None
        headers = {**self._headers, NODE_HEADER: node.id}
        if request_id := self._request_id():
            headers["X-Request-ID"] = request_id
        try:
            answer = self._pool.request("POST", node.manager_url + PATH, body=call, headers=headers)
        except (NewConnectionError, ConnectTimeoutError) as error:
            _log.warning("node not reached", node=node.id, reason=type(error).__name__)
            return None
        except HTTPError as error:
            if isinstance(error.__context__, ssl.SSLCertVerificationError):
                _log.warning("node has no trusted certificate", node=node.id)
                return None
            _log.warning("node did not answer", node=node.id, reason=type(error).__name__)
            raise DeadlineExceeded(
                f"The node of volume {volume} did not answer; the call may still take effect.",
                volume=volume,
            ) from error
        if answer.status == HTTPStatus.OK:
            return answer.data
        _log.warning("node refused a call", node=node.id, status=answer.status)
        if answer.status in _NOT_BEGUN:
            return None
        raise BackendFailed(f"The node of volume {volume} answered with an error.", volume=volume)
