"""What a job needs of its requester: which act it is, and which vfolders it is about.

A pure function of the request, so the door that takes a job and the worker that runs it decide the
same.
"""

from typing import NamedTuple

from core.jobs.requests import (
    CloneRequest,
    DeleteFilesRequest,
    DeleteRequest,
    ExtractRequest,
    FindRequest,
    PurgeRequest,
    Request,
    RestoreRequest,
    SingleVFolderRequest,
    SnapshotRequest,
    TransferRequest,
    UsageRequest,
)
from core.names import QuotaScope, VFolderId

#: The act of each verb that is about one vfolder.
_ON_ONE: dict[type[Request], str] = {
    DeleteRequest: "vfolders.delete",
    DeleteFilesRequest: "jobs.delete-files",
    UsageRequest: "jobs.usage",
    FindRequest: "jobs.find",
    RestoreRequest: "vfolders.restore",
    PurgeRequest: "vfolders.purge",
}
#: The same, where it is about entries in the trash; the vfolder is live.
_ON_ENTRIES: dict[type[Request], str] = {
    RestoreRequest: "entries.remove",
    PurgeRequest: "entries.purge",
}
#: The act of each action of the verb `snapshot` that is about one vfolder.
_SNAPSHOTS = {
    "create": "snapshots.create",
    "list": "snapshots.read",
    "delete": "snapshots.manage",
    "restore": "snapshots.manage",
}


class AccessEnd(NamedTuple):
    """A vfolder that an act is about; `trash` is its deletion, where it is in the trash."""

    volume: str
    vfolder: VFolderId
    trash: str = ""


class JobAccess(NamedTuple):
    """What is decided about a job: a row of `core.access.ACTS`, by its name, and its ends."""

    rule: str
    #: By the role that the act gives each of them.
    ends: dict[str, AccessEnd]
    #: The volume and the quota scope that get a new vfolder.
    made_in: tuple[str, QuotaScope | None] | None = None


def access_of(request: Request) -> JobAccess | None:
    """Return the act that a request is; None for a verb that people never request."""
    match request:
        case CloneRequest():
            return _making(request, "jobs.clone", request.source, request.target)
        case TransferRequest():
            return _transfer(request)
        case ExtractRequest():
            end = _end(request.volume, request.vfolder)
            return JobAccess("jobs.extract", {"source": end, "target": end})
        case SnapshotRequest(action="restore", target=str(target)):
            return _making(request, "snapshots.copy", request.vfolder, target)
        case SingleVFolderRequest():
            return _on_one(request)
        case _:
            return None


def _end(volume: str, vfolder: str, trash: str | None = None) -> AccessEnd:
    return AccessEnd(volume, VFolderId.parse(vfolder), trash or "")


def _making(request: Request, name: str, source: str, target: str) -> JobAccess:
    made_in = request.home, VFolderId.parse(target).scope
    return JobAccess(name, {"source": _end(request.volume, source)}, made_in)


def _transfer(request: TransferRequest) -> JobAccess:
    name = "jobs.move" if request.remove_source else "jobs.transfer"
    if request.on_conflict in ("replace", "newer"):
        name += "-over"
    if request.delete_extra:
        name = "jobs.transfer-mirror"
    ends = {
        "source": _end(request.volume, request.source),
        "target": _end(request.home, request.target),
    }
    return JobAccess(name, ends)


def _on_one(request: SingleVFolderRequest) -> JobAccess | None:
    name = _ON_ONE.get(type(request))
    trash: str | None = None
    if isinstance(request, DeleteFilesRequest) and request.keep_seconds == 0:
        name = "entries.purge"
    if isinstance(request, SnapshotRequest):
        name = _SNAPSHOTS[request.action]
    if isinstance(request, RestoreRequest | PurgeRequest):
        if request.entries:
            name = _ON_ENTRIES[type(request)]
        else:
            trash = request.trash
    end = _end(request.volume, request.vfolder, trash)
    return JobAccess(name, {"vfolder": end}) if name is not None else None
