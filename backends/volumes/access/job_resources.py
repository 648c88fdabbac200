"""What a decision about a job looks at: the records of the vfolders that it is about."""

from backends.volumes.access.access_records import AccessRecords
from core.access import ProtectedResource, ScopeResource, VFolderResource
from core.errors import UnknownVolume, VFolderNotFound
from core.jobs import AccessEnd, JobAccess


def resources_of(
    access: JobAccess, records: AccessRecords, *, members_may: bool
) -> dict[str, ProtectedResource]:
    """Return by role what a job is about, as of now; what is absent has no record.

    `members_may` says whether each member of a group may make vfolders of it.

    Raises:
        Unavailable, DeadlineExceeded: a record cannot be read now.
    """
    found: dict[str, ProtectedResource] = {
        role: _resource(end, records) for role, end in access.ends.items()
    }
    if access.made_in is not None:
        volume, scope = access.made_in
        if scope is not None:
            found["scope"] = ScopeResource(scope=scope, volume=volume, members_may=members_may)
    return found


def _resource(end: AccessEnd, records: AccessRecords) -> VFolderResource:
    try:
        if end.trash:
            record = records.read_trashed(end.volume, end.vfolder, end.trash)
            return VFolderResource(record=record, trashed=True)
        return VFolderResource(record=records.read(end.volume, end.vfolder).record)
    except (UnknownVolume, VFolderNotFound):
        return VFolderResource(record=None)
