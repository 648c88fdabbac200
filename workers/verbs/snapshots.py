"""The verb `snapshot`: a vfolder as it was, kept by the storage system.

A restore copies the snapshot into a vfolder that is not there yet, by the same steps as a clone:
staged, checked, published by one rename. The vfolder of today is never written over; who wants it
back as it was deletes it first (it can be kept in the trash).
"""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, suppress
from typing import Any

from backends.base import HasSnapshots, Snapshot
from backends.retention import SnapshotExists, SnapshotNotFound, check_name, snapshots
from core.errors import Unsupported
from core.jobs.requests import CloneRequest, SnapshotRequest
from core.names import VFolderId, moment
from workers.run import Context, Outcome
from workers.verbs.clone import Clone


def verb(context: Context, request: SnapshotRequest) -> "SnapshotOperation | RestoreSnapshot":
    """The run of an act.

    Raises:
        Unsupported: the volume keeps no snapshots.
        InvalidName: that is no name of one.
    """
    if not snapshots.supported(context.backend(request.volume)):
        raise _unsupported(request.volume)
    if request.name is not None:
        check_name(request.name)
    return _ACTS[request.action](context, request)


def _snapshots_of(context: Context, volume: str) -> HasSnapshots:
    found = context.backend(volume).skill(HasSnapshots)
    if found is None:
        raise _unsupported(volume)
    return found


def _unsupported(volume: str) -> Unsupported:
    return Unsupported(f"Volume {volume} keeps no snapshots.")


class SnapshotOperation(ABC):
    """What all acts on the storage system have."""

    def __init__(self, context: Context, request: SnapshotRequest) -> None:
        self._context = context
        self._request = request
        self._vfolder = VFolderId.parse(request.vfolder)
        self._keeper = _snapshots_of(context, request.volume)
        self._root = context.root(request.volume)
        self._name = request.name or ""

    @abstractmethod
    def __call__(self) -> Outcome:
        """Do it."""

    def undo(self) -> None:
        """Nothing to undo: each act is one call of the storage system."""
        self._context.run.phase("clean up")

    def _until(self) -> dict[str, str]:
        """The moments until which snapshots of the vfolder are kept."""
        owner = self._vfolder.scope.directory if self._vfolder.scope else "."
        own = str(self._vfolder)
        found = (one for one in snapshots.kept(self._root, owner) if one.vfolder == own)
        return {one.name: moment(one.expires_at) for one in found}

    def _document(self, one: Snapshot, until: dict[str, str]) -> dict[str, Any]:
        at = one.created_at
        return {
            "name": one.name,
            "created_at": None if at is None else moment(at.timestamp()),
            "expires_at": until.get(one.name),
        }


class Create(SnapshotOperation):
    """One run of `create`: after a death, one of that name that we began is ours."""

    def __call__(self) -> Outcome:
        """See `HasSnapshots.create_snapshot`; how long it is kept is noted before."""
        manifest = self._context.manifest(self._root, self._vfolder.scope)
        self._context.run.phase("create")
        found = self._find()
        if manifest.last("create") is None:
            if found is not None:
                raise SnapshotExists(f"{self._vfolder} has a snapshot {self._name!r}.")
            self._context.run.point_of_no_return()
            manifest.mark("create")
        if self._request.keep_seconds is not None:
            snapshots.keep(self._root, self._vfolder, self._name, self._request.keep_seconds)
        else:
            snapshots.forget(self._root, self._vfolder, self._name)
        made = found or self._keeper.create_snapshot(self._vfolder, self._name)
        return Outcome(
            sentence=f"kept {self._vfolder} as {self._name}",
            result={"snapshot": self._document(made, self._until())},
        )

    def _find(self) -> Snapshot | None:
        known = self._keeper.list_snapshots(self._vfolder)
        return next((one for one in known if one.name == self._name), None)


class List(SnapshotOperation):
    """One run of `list`."""

    def __call__(self) -> Outcome:
        """Tell what is kept, oldest first."""
        self._context.run.phase("list")
        until = self._until()
        found = [self._document(o, until) for o in self._keeper.list_snapshots(self._vfolder)]
        return Outcome(
            sentence=f"{self._vfolder} has {len(found):,} snapshots", result={"snapshots": found}
        )


class DeleteSnapshot(SnapshotOperation):
    """One run of `delete`: absent is success, as with every delete."""

    def __call__(self) -> Outcome:
        """Let go of one."""
        self._context.run.phase("delete")
        existed = False
        with suppress(SnapshotNotFound):
            self._keeper.delete_snapshot(self._vfolder, self._name)
            existed = True
        snapshots.forget(self._root, self._vfolder, self._name)
        return Outcome(
            sentence=f"let go of {self._name} of {self._vfolder}",
            result={"name": self._name, "existed": existed},
        )


class RestoreSnapshot(Clone):
    """One run of `restore`: a clone whose source is the snapshot."""

    def __init__(self, context: Context, request: SnapshotRequest) -> None:
        as_clone = CloneRequest(
            volume=request.volume, source=request.vfolder, target=request.restored_vfolder
        )
        super().__init__(context, as_clone)
        self._keeper = _snapshots_of(context, request.volume)
        self._name = request.name or ""

    def _opened(self) -> AbstractContextManager[int]:
        return self._keeper.open_snapshot(self._source, self._name)


_ACTS: dict[str, type[SnapshotOperation | RestoreSnapshot]] = {
    "create": Create,
    "list": List,
    "delete": DeleteSnapshot,
    "restore": RestoreSnapshot,
}
