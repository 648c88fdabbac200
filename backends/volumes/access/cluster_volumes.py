"""Operations on volumes for a process that is no door: here, else at a node that serves the volume.

A worker uses it for records: they are small, so an operation on them takes no longer than a call.
"""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import redis

from backends.base import Backend
from backends.volumes import remote
from backends.volumes.node_calls import NodeCalls
from backends.volumes.registry import Volumes
from core.cluster import Node, NodeStore
from core.errors import Unavailable
from core.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")


class OnVolume(Protocol):
    """What does operations on volumes: `VolumeAccess`, or a command on its own node."""

    def on_volume(
        self,
        volume: str,
        operation: Callable[Concatenate[Backend, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do an operation with the backend of a volume."""


class ClusterVolumes:
    """The volumes of the cluster, for one process of a worker; made after the fork."""

    def __init__(self, settings: Settings, nodes: NodeStore) -> None:
        self._here = settings.storage_proxy.node_id
        self._volumes = Volumes(settings)
        self._nodes = nodes
        self._calls = NodeCalls(settings.api.manager.secret, settings.vfolder.doors.backend_timeout)

    def on_volume(
        self,
        volume: str,
        operation: Callable[Concatenate[Backend, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do an operation of `backends.volumes.operations` with the backend of a volume.

        Raises:
            Unavailable: no node that serves the volume answers, or the store is away.
            VolumeUnavailable: the volume is of this node, and is not mounted now.
        """
        if volume in self._volumes.names():
            return operation(self._volumes.get(volume), *args, **kwargs)
        call = remote.encode_call(volume, operation, "", *args, **kwargs)
        outcome = self._calls.send(volume, self._serving(volume), call)
        result: T = remote.decode_outcome(operation, outcome)
        return result

    def _serving(self, volume: str) -> list[Node]:
        try:
            found = self._nodes.reachable(volume)
        except redis.RedisError as error:
            raise Unavailable("The store that names the nodes does not answer.") from error
        others = [node for node in found if node.id != self._here]
        return sorted(others, key=lambda node: (node.load, node.id))
