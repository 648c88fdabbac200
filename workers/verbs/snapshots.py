"""The verb `snapshot`: a vfolder at one moment, kept by the storage system.

A restore clones the snapshot into a vfolder that does not exist yet: staged, verified, published
with one rename. `restore_over` puts it in the place of the vfolder itself.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from backends.base import HasSnapshots, Snapshot
from backends.retention import SnapshotExists, SnapshotNotFound, check_name, snapshots
from backends.transfer import Endpoint
from core.errors import Unsupported
from core.jobs import State
from core.jobs.requests import CloneRequest, SnapshotRequest
from core.names import VFolderId, counted, moment
from workers.run import Context, Outcome
from workers.verbs.clone import Clone


def verb(context: Context, request: SnapshotRequest) -> "SnapshotOperation | RestoreSnapshot":
    """Return the run of the operation that the request names.

    Raises:
        Unsupported: the volume keeps no snapshots.
        InvalidName: the request's name is not allowed for a snapshot.
    """
    check(context, request)
    return _OPERATIONS[request.action](context, request)


def check(context: Context, request: SnapshotRequest) -> None:
    """Refuse what the volume cannot do; see `verb`."""
    if not snapshots.supported(context.backend(request.volume)):
        raise _unsupported(request.volume)
    if request.name is not None:
        check_name(request.name)


def _snapshots_of(context: Context, volume: str) -> HasSnapshots:
    skill = context.backend(volume).skill(HasSnapshots)
    if skill is None:
        raise _unsupported(volume)
    return skill


def _unsupported(volume: str) -> Unsupported:
    return Unsupported(f"Volume {volume} keeps no snapshots.")


class SnapshotOperation(ABC):
    """Base of the operations that are one call of the storage system."""

    def __init__(self, context: Context, request: SnapshotRequest) -> None:
        self._context = context
        self._request = request
        self._vfolder = VFolderId.parse(request.vfolder)
        self._backend = _snapshots_of(context, request.volume)
        self._root = context.root(request.volume)
        self._name = request.name or ""

    @abstractmethod
    def __call__(self) -> Outcome:
        """Do the operation."""

    def undo(self) -> None:
        """Undo nothing: an operation is one call of the storage system."""
        self._context.run.phase("clean up")

    def _expiries(self) -> dict[str, str]:
        """Return by name the moments until which snapshots of the vfolder are kept."""
        owner = self._vfolder.scope.directory if self._vfolder.scope else "."
        own = str(self._vfolder)
        kept = (one for one in snapshots.kept(self._root, owner) if one.vfolder == own)
        return {one.name: moment(one.expires_at) for one in kept}

    def _document(self, snapshot: Snapshot, expiries: dict[str, str]) -> dict[str, Any]:
        at = snapshot.created_at
        return {
            "name": snapshot.name,
            "created_at": None if at is None else moment(at.timestamp()),
            "expires_at": expiries.get(snapshot.name),
        }


class CreateSnapshot(SnapshotOperation):
    """One run of `create`."""

    def __call__(self) -> Outcome:
        """Create the snapshot; its expiry is noted before it exists.

        A later run takes a snapshot of the name for its own once the manifest says that an earlier
        run of this job began to create it.
        """
        manifest = self._context.manifest(self._root, self._vfolder.scope)
        self._context.run.phase("create")
        existing = self._find()
        if manifest.last("create") is None:
            if existing is not None:
                raise SnapshotExists(f"{self._vfolder} has a snapshot {self._name!r}.")
            self._context.run.point_of_no_return()
            manifest.mark("create")
        if self._request.keep_seconds is not None:
            snapshots.keep(self._root, self._vfolder, self._name, self._request.keep_seconds)
        else:
            snapshots.forget(self._root, self._vfolder, self._name)
        snapshot = existing or self._backend.create_snapshot(self._vfolder, self._name)
        return Outcome(
            sentence=f"made the snapshot {self._name} of {self._vfolder}",
            result={"snapshot": self._document(snapshot, self._expiries())},
        )

    def _find(self) -> Snapshot | None:
        known = self._backend.list_snapshots(self._vfolder)
        return next((one for one in known if one.name == self._name), None)


class ListSnapshots(SnapshotOperation):
    """One run of `list`."""

    def __call__(self) -> Outcome:
        """Return the snapshots of the vfolder, oldest first."""
        self._context.run.phase("list")
        expiries = self._expiries()
        listed = self._backend.list_snapshots(self._vfolder)
        documents = [self._document(one, expiries) for one in listed]
        return Outcome(
            sentence=f"{self._vfolder} has {counted(len(documents), 'snapshot')}",
            result={"snapshots": documents},
        )


class DeleteSnapshot(SnapshotOperation):
    """One run of `delete`; a snapshot that does not exist is no error, but nothing was done."""

    def __call__(self) -> Outcome:
        """Delete the snapshot and its expiry."""
        run = self._context.run
        run.phase("delete")
        existed = None if run.may_continue else False
        with suppress(SnapshotNotFound):
            self._backend.delete_snapshot(self._vfolder, self._name)
            existed = True
        snapshots.forget(self._root, self._vfolder, self._name)
        name = f"the snapshot {self._name} of {self._vfolder}"
        return Outcome(
            sentence=f"deleted nothing: {name} was not there"
            if existed is False
            else f"deleted {name}",
            result={"name": self._name, "existed": existed},
            state=State.PARTIAL if existed is False else State.SUCCEEDED,
        )


@dataclass(frozen=True, slots=True)
class SnapshotEndpoint(Endpoint):
    """A snapshot of a vfolder as the source of a transfer."""

    snapshots: HasSnapshots
    name: str

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Open the snapshot's directory.

        Raises:
            SnapshotNotFound: the vfolder has no snapshot of this name.
        """
        with self.snapshots.open_snapshot(self.vfolder, self.name) as directory:
            yield directory


class RestoreSnapshot(Clone):
    """One run of `restore`: a clone whose source is the snapshot."""

    shareable = False

    def __init__(self, context: Context, request: SnapshotRequest) -> None:
        as_clone = CloneRequest(
            volume=request.volume, source=request.vfolder, target=request.restored_vfolder
        )
        super().__init__(context, as_clone)
        source = self._source
        self._source = SnapshotEndpoint(
            context.backend(request.volume),
            source.vfolder,
            source.path,
            _snapshots_of(context, request.volume),
            request.name or "",
        )


_OPERATIONS: dict[str, type[SnapshotOperation | RestoreSnapshot]] = {
    "create": CreateSnapshot,
    "list": ListSnapshots,
    "delete": DeleteSnapshot,
    "restore": RestoreSnapshot,
}
