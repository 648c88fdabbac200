"""The privileged quota helper: it works on quota scopes for the node's unprivileged web processes.

Every local process can connect to the socket. The kernel names the user of the peer (unix(7),
SO_PEERCRED); root and the owner of a volume's top directory may send requests for that volume.
"""

import os
import socket
import socketserver
import struct
import threading
from pathlib import Path
from typing import Any

import msgspec
from celery import bootsteps

from backends.base import Backend, MountedBackend
from backends.fs import translate
from backends.volumes import Volumes
from backends.volumes.wrappers import ANSWER_SECONDS, HelperAnswer, HelperRequest, perform, read_all
from core.errors import StorageError
from core.settings import Settings
from core.telemetry import logger

_log = logger(__name__)
_SOCKET_MODE = 0o666
#: pid, uid, gid.
_PEER = struct.Struct("3i")


class QuotaHelperServer(socketserver.ThreadingUnixStreamServer):
    """The listening socket, with a thread per request."""

    daemon_threads = True

    def __init__(self, path: Path, volumes: Volumes) -> None:
        path.unlink(missing_ok=True)  # a killed process leaves it behind
        super().__init__(str(path), _RequestHandler)
        path.chmod(_SOCKET_MODE)
        self.volumes = volumes

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - socketserver's
        """Log that the caller went away; it connects again."""
        _log.info("request not answered", exc_info=True)


class _RequestHandler(socketserver.BaseRequestHandler):
    server: QuotaHelperServer

    def handle(self) -> None:
        connection: socket.socket = self.request
        connection.settimeout(ANSWER_SECONDS)
        connection.sendall(msgspec.json.encode(self._answer(connection)))

    def _answer(self, connection: socket.socket) -> HelperAnswer:
        try:
            request = msgspec.json.decode(read_all(connection), type=HelperRequest)
            backend = self.server.volumes.get(request.volume)
            _, peer, _ = _PEER.unpack(
                connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            )
            if not _is_allowed(backend, peer):
                return HelperAnswer(
                    None,
                    "Forbidden",
                    "Only the owner of a volume's top directory may send requests for it.",
                )
            _log.info(
                "quota requested",
                verb=request.verb,
                volume=request.volume,
                scope=request.scope,
                uid=peer,
            )
            return perform(backend, request)
        except msgspec.DecodeError:
            return HelperAnswer(
                None, "InvalidParameters", "The message is not a request of the quota helper."
            )
        except StorageError as error:
            return HelperAnswer(None, type(error).__name__, error.detail)
        except OSError as error:
            known = translate(error)
            _log.warning("quota refused", reason=known.detail)
            return HelperAnswer(None, type(known).__name__, known.detail)


def _is_allowed(backend: Backend, peer: int) -> bool:
    if peer == 0:
        return True
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return False
    with mounted.root() as root:
        return os.fstat(root).st_uid == peer


class QuotaHelper(bootsteps.StartStopStep):
    """The helper as a step of the worker's start and stop; off when no socket is configured."""

    requires = ("celery.worker.components:Pool",)
    settings: Settings

    def __init__(self, parent: Any, **_options: Any) -> None:  # noqa: ANN401 - Celery's worker
        self._server: QuotaHelperServer | None = None
        super().__init__(parent)

    def start(self, parent: Any) -> None:  # noqa: ANN401, ARG002 - Celery's worker
        """Listen."""
        path = self.settings.vfolder.worker.quota_socket
        if path:
            self._server = QuotaHelperServer(Path(path), Volumes(self.settings))
            threading.Thread(
                target=self._server.serve_forever, name="quota-helper", daemon=True
            ).start()

    def stop(self, parent: Any) -> None:  # noqa: ANN401, ARG002 - Celery's worker
        """Stop listening, and remove the socket."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        Path(self.settings.vfolder.worker.quota_socket).unlink(missing_ok=True)

    terminate = stop
