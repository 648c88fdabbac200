"""Operations on volumes, wherever the volumes are: here within a deadline, else at their node.

A volume is here while it is configured and its last proof did not fail. An operation on a volume
that is not here goes to the manager door of a node that serves it (`node_calls`). Its result and
its errors are the same as here.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from api.volumes.deadlines import Deadlines
from api.volumes.node_directory import NodeDirectory
from backends.base import Backend
from backends.entries import object_tree
from backends.volumes import Mounts, NodeCalls, Volumes, remote
from core.cluster import Node
from core.errors import DeadlineExceeded, NoCommonNode, Unavailable, UnknownVolume
from core.names import VFolderId
from core.uploads import UploadStore

P = ParamSpec("P")
T = TypeVar("T")


class MisdirectedCall(Unavailable):
    """The call is for another node, or for a volume that this node does not serve now."""

    kind = "storage/node/misdirected"
    title = "Not for this node"
    status = HTTPStatus.MISDIRECTED_REQUEST


class VFolderLocation(Protocol):
    """Anything that names a vfolder on a volume."""

    @property
    def volume(self) -> str:
        """The volume's name."""

    @property
    def vfolder(self) -> VFolderId:
        """The vfolder's id."""


class VolumeAccess:
    """The volumes of the cluster, as one process of a door reaches them; made after the fork."""

    def __init__(
        self,
        volumes: Volumes,
        mounts: Mounts,
        directory: NodeDirectory,
        *,
        deadlines: Deadlines,
        calls: NodeCalls,
    ) -> None:
        self.directory = directory
        self._volumes = volumes
        self._mounts = mounts
        self._deadlines = deadlines
        self._calls = calls
        mounts.start(wait=False)

    def is_here(self, volume: str) -> bool:
        """Return whether this node answers for a volume itself, if only to refuse."""
        if self._serves(volume):
            return True
        return not self.directory.knows(volume) or (
            volume in self._volumes.names() and not self.directory.serving(volume)
        )

    def _serves(self, volume: str) -> bool:
        return volume in self._volumes.names() and self._mounts.may_serve(volume)

    def node_of(self, volume: str) -> Node:
        """Return another node that serves a volume.

        Raises:
            Unavailable: all nodes that did are lost.
        """
        return self._nodes_of(volume)[0]

    def _nodes_of(self, volume: str) -> list[Node]:
        found = self.directory.serving(volume)
        if not found:
            raise Unavailable(f"No node that serves volume {volume} is alive.", volume=volume)
        return found

    def check_known(self, volume: str) -> None:
        """Refuse a volume that no node of the cluster has.

        Raises:
            UnknownVolume: no node serves a volume of this name.
        """
        if volume not in self._volumes.names() and not self.directory.knows(volume):
            raise UnknownVolume("No volume of that name is configured.", volume=volume)

    def check_copies(self, source: str, target: str) -> None:
        """Refuse a copy between two volumes that no node of the cluster can do.

        A node copies from a volume of another one by way of that node's manager door. A volume
        whose nodes are all away is no reason: the job waits for them.

        Raises:
            NoCommonNode: no node serves both, and no node of the source can be asked.
        """
        if source == target or (self._serves(source) and self._serves(target)):
            return
        reads, writes = self._servers_of(source), self._servers_of(target)
        apart = reads and writes and not reads & writes
        if apart and not self.directory.is_reachable(source):
            raise NoCommonNode(
                f"No node serves both {source} and {target}, and no node of {source} has a worker "
                "and an `announce-addr` of its manager door.",
                volume=target,
            )

    def check_moves(self, source: str, target: str) -> None:
        """Refuse a move between two volumes that no node serves both.

        Raises:
            NoCommonNode: the nodes of each are known, and none is in both.
        """
        reads, writes = self._servers_of(source), self._servers_of(target)
        if source != target and reads and writes and not reads & writes:
            raise NoCommonNode(
                f"No node serves both {source} and {target}, so no job moves between them: "
                "transfer the entries, then delete them.",
                volume=target,
            )

    def _servers_of(self, volume: str) -> set[str]:
        """Return the ids of the nodes that serve a volume now, this one too."""
        here = {self.directory.here} if self._serves(volume) else set()
        return here | {node.id for node in self.directory.serving(volume)}

    def on_volume(
        self,
        volume: str,
        operation: Callable[Concatenate[Backend, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do an operation of `backends.volumes.operations` with the backend of a volume.

        Raises:
            UnknownVolume: no such volume.
            DeadlineExceeded, Unavailable: no answer in time; all its nodes are lost.
        """
        if self.is_here(volume):
            return self._deadlines.call(
                volume, operation, self._volumes.get(volume), *args, **kwargs
            )
        return self._elsewhere(volume, operation, "", *args, **kwargs)

    def both(
        self, volumes: tuple[str, str], operation: Callable[[Backend, Backend], T]
    ) -> T | None:
        """Do a bounded operation with two volumes; None when this node does not have both."""
        if not all(map(self.is_here, volumes)):
            return None
        backends = [self._volumes.get(name) for name in volumes]
        return self._deadlines.call(volumes[1], operation, *backends)

    def in_vfolder(
        self,
        location: VFolderLocation,
        operation: Callable[Concatenate[int, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do an operation of `backends.volumes.operations` with a descriptor of a vfolder's root.

        Raises:
            UnknownVolume, VFolderNotFound: no such volume or vfolder.
            DeadlineExceeded, Unavailable: as `on_volume`.
        """
        if not self.is_here(location.volume):
            vfolder = str(location.vfolder)
            return self._elsewhere(location.volume, operation, vfolder, *args, **kwargs)

        def inside(backend: Backend) -> T:
            return object_tree.perform(backend, location.vfolder, operation, *args, **kwargs)

        return self._deadlines.call(location.volume, inside, self._volumes.get(location.volume))

    def within_deadline(
        self, volume: str, operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do an operation with what was opened on a volume.

        Raises:
            DeadlineExceeded, Unavailable: no answer in time.
        """
        return self._deadlines.call(volume, operation, *args, **kwargs)

    def check_served(self, node: str, volume: str) -> None:
        """Refuse what another node sends to a wrong node.

        Raises:
            MisdirectedCall: `node` is not this one, or the volume is not served here now.
        """
        if node != self.directory.here or not self._serves(volume):
            raise MisdirectedCall(f"Node {self.directory.here} does not serve volume {volume}.")

    def perform(self, node: str, call: remote.OperationCall, uploads: UploadStore) -> bytes:
        """Do an operation that the door of another node sends, and return its outcome.

        It is done here or not at all: what comes from another node is never sent on.

        Raises:
            MisdirectedCall: `node` is not this one, or the volume is not served here now.
            Unavailable: the threads of the volume are all busy; the operation was not begun.
        """
        self.check_served(node, call.volume)
        backend = self._volumes.get(call.volume)
        try:
            return self._deadlines.call(call.volume, remote.perform, call, backend, uploads)
        except DeadlineExceeded as error:
            return remote.encode_error(error)

    def _elsewhere(
        self,
        volume: str,
        operation: Callable[..., T],
        vfolder: str,
        *args: object,
        **kwargs: object,
    ) -> T:
        nodes = self._nodes_of(volume)
        call = remote.encode_call(volume, operation, vfolder, *args, **kwargs)
        outcome = self._deadlines.call(volume, self._calls.send, volume, nodes, call)
        result: T = remote.decode_outcome(operation, outcome)
        return result
