"""Answers for the web processes of the node, which have no rights: acts on quota scopes, no more.

Whoever owns the top of a volume may ask for it, and root. Everybody can reach the socket; the
kernel says who it is (unix(7), SO_PEERCRED).
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
from backends.wrappers import ANSWER_SECONDS, HelperAnswer, HelperRequest, perform, read_all
from core.errors import ConfigurationError, StorageError
from core.settings import Settings
from core.telemetry import logger

_log = logger(__name__)
_SOCKET_MODE = 0o666
#: pid, uid, gid.
_PEER = struct.Struct("3i")


class QuotaHelperServer(socketserver.ThreadingUnixStreamServer):
    """The listening socket; a thread per question."""

    daemon_threads = True

    def __init__(self, place: Path, volumes: Volumes) -> None:
        place.unlink(missing_ok=True)  # a dead process leaves it behind
        super().__init__(str(place), _Question)
        place.chmod(_SOCKET_MODE)
        self.volumes = volumes

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - socketserver's
        """A caller that went away is not our fault; he asks again."""
        _log.info("question not answered", exc_info=True)


class _Question(socketserver.BaseRequestHandler):
    server: QuotaHelperServer

    def handle(self) -> None:
        line: socket.socket = self.request
        line.settimeout(ANSWER_SECONDS)
        line.sendall(msgspec.json.encode(self._answer(line)))

    def _answer(self, line: socket.socket) -> HelperAnswer:
        try:
            ask = msgspec.json.decode(read_all(line), type=HelperRequest)
            backend = self.server.volumes.get(ask.volume)
            _, peer, _ = _PEER.unpack(
                line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            )
            if not _may_ask(backend, peer):
                return HelperAnswer(
                    None, "Forbidden", "Only the owner of a volume's top may ask for it."
                )
            _log.info("quota asked", verb=ask.verb, volume=ask.volume, scope=ask.scope, uid=peer)
            return perform(backend, ask)
        except msgspec.DecodeError:
            return HelperAnswer(None, "InvalidParameters", "That is no question about quota.")
        except (StorageError, ConfigurationError) as error:
            return HelperAnswer(None, type(error).__name__, error.detail)
        except OSError as error:
            known = translate(error)
            _log.warning("quota refused", reason=known.detail)
            return HelperAnswer(None, type(known).__name__, known.detail)


def _may_ask(backend: Backend, peer: int) -> bool:
    if peer == 0:
        return True
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return False
    with mounted.root() as root:
        return os.fstat(root).st_uid == peer


class QuotaHelper(bootsteps.StartStopStep):
    """The desk, as a step of the worker's start and stop; none where no socket is configured."""

    requires = ("celery.worker.components:Pool",)
    settings: Settings

    def __init__(self, parent: Any, **_options: Any) -> None:  # noqa: ANN401 - Celery's worker
        self._desk: QuotaHelperServer | None = None
        super().__init__(parent)

    def start(self, parent: Any) -> None:  # noqa: ANN401, ARG002 - Celery's worker
        """Listen."""
        place = self.settings.vfolder.worker.quota_socket
        if place:
            self._desk = QuotaHelperServer(Path(place), Volumes(self.settings))
            threading.Thread(target=self._desk.serve_forever, name="keeper", daemon=True).start()

    def stop(self, parent: Any) -> None:  # noqa: ANN401, ARG002 - Celery's worker
        """Listen no more; the socket's name goes with it."""
        if self._desk is None:
            return
        self._desk.shutdown()
        self._desk.server_close()
        Path(self.settings.vfolder.worker.quota_socket).unlink(missing_ok=True)

    terminate = stop
