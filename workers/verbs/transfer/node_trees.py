"""Trees of other nodes, over HTTP: one request per question, to the manager door of a node.

Helpers are forked or threads, so each has connections of its own.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from backends.tree import Frame, Transport, pack_frame, read_frame
from core.cluster import NODE_HEADER, SECRET_HEADER, TREES_PATH, NodeStore
from core.errors import NodeAway
from core.names import VFolderId, VFolderPath
from core.settings import Settings
from core.telemetry import logger

#: A node in the same cluster accepts a connection faster than this (seconds), or is away.
CONNECT_SECONDS = 2.0
#: A node that sends nothing for so long (seconds) is away: answers that take long have counts.
SILENCE_SECONDS = 120.0
#: A node whose kernel acknowledges nothing for so long (seconds) is away: it lost power, or a cable
#: is cut. A slow process is not taken for that, since its kernel answers.
DEAD_SECONDS = 20
#: The first probe of an idle connection, the pause between two, and how many may be lost (tcp(7)).
_PROBE_SECONDS, _PROBES = 5, 3
_TCP_OPTIONS = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES),
    # No probe is sent while a question is unacknowledged.
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_SECONDS * 1000),
]
_log = logger(__name__)


class NodeTrees:
    """The vfolders of a volume that other nodes serve."""

    def __init__(self, settings: Settings, nodes: NodeStore, volume: str) -> None:
        self._secret = settings.api.manager.secret
        self._here = settings.storage_proxy.node_id
        self._store = nodes
        self._volume = volume
        self._nodes: list[tuple[str, str]] = []
        #: By process and thread. A forked helper keeps those of its parent and never uses them.
        self._pools: dict[tuple[int, int], urllib3.PoolManager] = {}

    def look(self) -> bool:
        """Find the nodes that serve the volume now, for this process and helpers that start later.

        Raises:
            redis.RedisError: the store does not answer.
        """
        found = self._store.reachable(self._volume)
        others = sorted(found, key=lambda node: (node.load, node.id))
        self._nodes = [(node.id, node.manager_url) for node in others if node.id != self._here]
        return bool(self._nodes)

    def to(self, vfolder: VFolderId) -> Callable[[VFolderPath], Transport]:
        """Return what asks about a path of a vfolder."""

        def transport_to(path: VFolderPath) -> Transport:
            def transport(question: list[Any]) -> Iterator[Frame]:
                return self._ask([self._volume, str(vfolder), str(path), question])

            return transport

        return transport_to

    def _ask(self, request: list[Any]) -> Iterator[Frame]:
        body = pack_frame(request)
        for node, url in self._nodes:
            answer = self._post(node, url, body)
            if answer is not None:
                yield from _frames(answer)
                return
        raise NodeAway(f"No node of volume {self._volume} answers; try again.", volume=self._volume)

    def _post(self, node: str, url: str, body: bytes) -> urllib3.BaseHTTPResponse | None:
        """Return an answer that begins; None when the node has none."""
        headers = {SECRET_HEADER: self._secret, NODE_HEADER: node}
        try:
            answer = self._pool().request(
                "POST", url + TREES_PATH, body=body, headers=headers, preload_content=False
            )
        except HTTPError as error:
            _log.warning("node not reached", node=node, reason=type(error).__name__)
            return None
        if answer.status == HTTPStatus.OK:
            return answer
        _log.warning("node refused a question", node=node, status=answer.status)
        answer.drain_conn()
        answer.release_conn()
        return None

    def _pool(self) -> urllib3.PoolManager:
        key = os.getpid(), threading.get_ident()
        if key not in self._pools:
            self._pools[key] = urllib3.PoolManager(
                retries=False,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=SILENCE_SECONDS),
                socket_options=_TCP_OPTIONS,
            )
        return self._pools[key]


def _frames(answer: urllib3.BaseHTTPResponse) -> Iterator[Frame]:
    """Yield the frames of an answer; the connection is used again when all were read."""
    whole = False
    try:
        while (frame := read_frame(answer.read)) is not None:
            yield frame
        whole = True
    except HTTPError as error:
        raise NodeAway("The connection to the source's node broke; try again.") from error
    finally:
        if whole:
            answer.release_conn()
        else:
            answer.close()
