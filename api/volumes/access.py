"""Calls to volumes, wherever they are: here within a deadline, else at a node that serves them.

A volume is here while it is configured and its last proof did not fail. What is here costs nothing
more; what is not goes through the volume's fast lane (`core.cluster.calls`) and comes back as if
it had been done here, errors too.
"""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from api.volumes.deadlines import Deadlines
from api.volumes.node_directory import NodeDirectory
from backends.base import Backend
from backends.volumes import Mounts, Volumes, remote
from core.cluster import Calls, Node
from core.errors import Unavailable, UnknownVolume
from core.names import VFolderId

P = ParamSpec("P")
T = TypeVar("T")


class VFolderLocation(Protocol):
    """Anything that names a vfolder on a volume."""

    @property
    def volume(self) -> str:
        """The volume's name."""

    @property
    def vfolder(self) -> VFolderId:
        """The vfolder's id."""


class VolumeAccess:
    """The volumes of the cluster, as one door's process reaches them; made after the fork."""

    def __init__(
        self,
        volumes: Volumes,
        mounts: Mounts,
        atlas: NodeDirectory,
        *,
        deadlines: Deadlines,
        calls: Calls,
    ) -> None:
        self.atlas = atlas
        self._volumes = volumes
        self._mounts = mounts
        self._deadlines = deadlines
        self._calls = calls
        mounts.start(wait=False)

    def is_here(self, volume: str) -> bool:
        """Whether this node answers for a volume itself, were it only to refuse."""
        if volume in self._volumes.names() and self._mounts.may_serve(volume):
            return True
        return not self.atlas.knows(volume) or (
            volume in self._volumes.names() and not self.atlas.serving(volume)
        )

    def node_of(self, volume: str) -> Node:
        """Another node that serves a volume.

        Raises:
            Unavailable: all that did are lost.
        """
        found = self.atlas.serving(volume)
        if not found:
            raise Unavailable(f"No node that serves volume {volume} is alive.", volume=volume)
        return found[0]

    def check_known(self, volume: str) -> None:
        """Refuse a volume that nobody in the cluster has.

        Raises:
            UnknownVolume: so it is.
        """
        if volume not in self._volumes.names() and not self.atlas.knows(volume):
            raise UnknownVolume("No volume of that name is configured.", volume=volume)

    def on_volume(
        self,
        volume: str,
        act: Callable[Concatenate[Backend, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do an act of `backends.volumes.operations` with the backend of a volume.

        Raises:
            UnknownVolume: no such volume.
            DeadlineExceeded, Unavailable: no answer in time; all its nodes are lost.
        """
        if self.is_here(volume):
            return self._deadlines.call(volume, act, self._volumes.get(volume), *args, **kwargs)
        return self._elsewhere(volume, act, "", *args, **kwargs)

    def both(self, volumes: tuple[str, str], act: Callable[[Backend, Backend], T]) -> T | None:
        """Do a bounded act with two volumes; None when this node does not have both."""
        if not all(map(self.is_here, volumes)):
            return None
        backends = [self._volumes.get(name) for name in volumes]
        return self._deadlines.call(volumes[1], act, *backends)

    def in_vfolder(
        self,
        place: VFolderLocation,
        act: Callable[Concatenate[int, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do an act of `backends.volumes.operations` with a descriptor of a vfolder's root.

        Raises:
            UnknownVolume, VFolderNotFound: no such place.
            DeadlineExceeded, Unavailable: as `on_volume`.
        """
        if not self.is_here(place.volume):
            return self._elsewhere(place.volume, act, str(place.vfolder), *args, **kwargs)

        def inside(backend: Backend) -> T:
            with backend.open_vfolder(place.vfolder) as root:
                return act(root, *args, **kwargs)

        return self._deadlines.call(place.volume, inside, self._volumes.get(place.volume))

    def within_deadline(
        self, volume: str, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do something with what was opened on a volume.

        Raises:
            DeadlineExceeded, Unavailable: no answer in time.
        """
        return self._deadlines.call(volume, act, *args, **kwargs)

    def _elsewhere(
        self, volume: str, act: Callable[..., T], vfolder: str, *args: object, **kwargs: object
    ) -> T:
        self.node_of(volume)
        asked = remote.request(volume, act, vfolder, *args, **kwargs)
        answer = self._deadlines.observed(
            volume, lambda: self._calls.ask(volume, asked, self._deadlines.seconds)
        )
        result: T = remote.result(act, answer)
        return result
