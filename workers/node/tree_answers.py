"""Answers about the trees of this node's volumes, for workers of other nodes that copy from them.

The doors have no right to read the files of all users; the worker has. So the manager door, which
checks the secret and keeps to the bandwidth of the volume, passes each question to this socket. The
question has the secret once more, because every local process can connect.
"""

import hmac
import socket
import socketserver
import threading
from contextlib import suppress
from typing import Any

from celery import bootsteps

from backends.base import MountedBackend
from backends.entries import HasObjects
from backends.transfer import Endpoint, answer_node
from backends.tree import Frame, failure_frame, pack_frame, read_frame
from backends.volumes import Volumes
from core.errors import Forbidden, InvalidParameters, StorageError, Unsupported
from core.names import VFolderId, VFolderPath
from core.process import unix_address
from core.settings import Settings
from core.telemetry import logger
from workers.run import RELOAD, reloaded

_log = logger(__name__)
_SOCKET_MODE = 0o666
#: A question is here within this time (seconds): a local process sends it.
QUESTION_SECONDS = 30.0
#: An answer that is not read for so long (seconds) has no reader. A door may pause for its budget.
ANSWER_SECONDS = 600.0
#: Questions that wait to be taken.
BACKLOG = 64


class TreeAnswerServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """The listening socket, with a thread per question."""

    daemon_threads = True
    request_queue_size = BACKLOG

    def __init__(self, settings: Settings) -> None:
        self.secret = settings.api.manager.secret.encode()
        self._settings = settings
        self._volumes = Volumes(settings)
        self._reloads = RELOAD.count
        path = settings.tree_socket
        path.unlink(missing_ok=True)  # a killed process leaves it behind
        with unix_address(path) as address:
            super().__init__(address, _QuestionHandler)
        path.chmod(_SOCKET_MODE)

    @property
    def volumes(self) -> Volumes:
        """The volumes of the node, as its file has them since the last reload."""
        if self._reloads != RELOAD.count:
            self._reloads = RELOAD.count
            self._volumes.follow(reloaded(self._settings))
        return self._volumes

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - socketserver's
        """Log that the other side went away; it asks again."""
        _log.info("question not answered", exc_info=True)


class _QuestionHandler(socketserver.BaseRequestHandler):
    server: TreeAnswerServer

    def handle(self) -> None:
        connection: socket.socket = self.request
        connection.settimeout(QUESTION_SECONDS)
        with suppress(ConnectionError):
            try:
                endpoint, question = self._read(connection)
            except StorageError as error:
                connection.sendall(pack_frame(failure_frame(error)))
                return
            connection.settimeout(ANSWER_SECONDS)
            answer_node(endpoint, question, connection)

    def _read(self, connection: socket.socket) -> tuple[Endpoint, Any]:
        with connection.makefile("rb") as stream:
            frame: Frame = read_frame(stream.read)
        try:
            secret, volume, vfolder, path, question = frame
            right = hmac.compare_digest(secret.encode(), self.server.secret)
        except (TypeError, ValueError, AttributeError) as error:
            raise InvalidParameters("The message is no question about a tree.") from error
        if not right:
            raise Forbidden("The secret is wrong.")
        backend = self.server.volumes.get(volume).skill(MountedBackend)
        if backend is None or backend.skill(HasObjects) is not None:
            raise Unsupported(f"Volume {volume} has no mounted tree of files.")
        return Endpoint(backend, VFolderId.parse(vfolder), VFolderPath.parse(path)), question


class TreeAnswers(bootsteps.StartStopStep):
    """The server as a step of the worker's start and stop."""

    requires = ("celery.worker.components:Pool",)
    settings: Settings
    #: Whether this process answers; the node's record says so.
    listens = False

    def __init__(self, parent: Any, **_options: Any) -> None:  # noqa: ANN401 - Celery's worker
        self._server: TreeAnswerServer | None = None
        super().__init__(parent)

    def start(self, parent: Any) -> None:  # noqa: ANN401, ARG002 - Celery's worker
        """Listen; where the socket cannot be made, other nodes do not copy from this one."""
        try:
            self._server = TreeAnswerServer(self.settings)
        except OSError as error:
            _log.warning("no answers to other nodes", errno=error.errno)
            return
        TreeAnswers.listens = True
        threading.Thread(target=self._server.serve_forever, name="trees", daemon=True).start()

    def stop(self, parent: Any) -> None:  # noqa: ANN401, ARG002 - Celery's worker
        """Stop listening, and remove the socket."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self.settings.tree_socket.unlink(missing_ok=True)

    terminate = stop
