"""The source of a transfer on another node: its endpoint here, and the answers to it there."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from backends.base import MountedBackend
from backends.fs import clock, descriptors, layout
from backends.transfer.endpoints import Endpoint
from backends.tree import (
    DONE,
    Frame,
    RemoteTree,
    Transport,
    answer,
    failure_frame,
    pack_frame,
    status_from_wire,
    status_to_wire,
)
from core.errors import StorageError
from core.names import VFolderId, VFolderPath


@dataclass(frozen=True, slots=True)
class RemoteEndpoint:
    """A path in a vfolder of a volume that another node serves.

    `transport_to` returns what asks about a path of the vfolder. `patiently` repeats a call while
    no node answers.
    """

    vfolder: VFolderId
    path: VFolderPath
    transport_to: Callable[[VFolderPath], Transport]
    patiently: Callable[[Callable[[], Any]], Any]

    def __str__(self) -> str:
        return str(self.vfolder) if self.path.is_root else f"{self.vfolder}/{self.path}"

    @property
    def parent(self) -> "RemoteEndpoint":
        """The directory that holds this entry."""
        return RemoteEndpoint(self.vfolder, self.path.parent, self.transport_to, self.patiently)

    @contextmanager
    def opened(self) -> Iterator[RemoteTree]:
        """Return the tree below the directory."""
        yield RemoteTree(self.transport_to(self.path))

    def status(self) -> os.stat_result | None:
        """Return the attributes of the entry itself, as `Endpoint.status`."""
        wire = self._value("status")
        return None if wire is None else status_from_wire(wire)

    def clock_ns(self, job: str) -> int:
        """Return the present moment by the clock of the file system (nanoseconds).

        Raises:
            OSError: the file system accepts no change.
        """
        return int(self._value("clock", job))

    def _value(self, question: str, *arguments: str) -> Any:  # noqa: ANN401 - builtin values
        tree = RemoteTree(self.transport_to(self.path))
        return self.patiently(lambda: tree.value(question, *arguments))


def answer_node(endpoint: Endpoint, question: Frame, connection: socket.socket) -> None:
    """Answer a question of another node about a path of a vfolder here.

    Raises:
        ConnectionError: the other side is gone.
    """
    try:
        kind, *arguments = question
        if kind == "status":
            status = endpoint.status()
            value: Any = None if status is None else status_to_wire(status)
        elif kind == "clock":
            value = _clock_ns(endpoint.backend, endpoint.vfolder, *arguments)
        else:
            with endpoint.opened() as directory:
                answer(directory, question, connection)
            return
    except ConnectionError:
        raise
    except (StorageError, OSError) as error:
        connection.sendall(pack_frame(failure_frame(error)))
        return
    connection.sendall(pack_frame([DONE, value]))


def _clock_ns(backend: MountedBackend, vfolder: VFolderId, job: str) -> int:
    """Return the clock of a file system, by the directory of the jobs' manifests."""
    path = layout.manifest(vfolder.scope, job).parent
    with backend.root() as root, descriptors.made(path, root, descriptors.HIDDEN_MODE) as directory:
        return clock.ticked_ns(directory)
