"""What a decision about a job looks at, and the decision about one that was requested before."""

from typing import TYPE_CHECKING

import msgspec

from backends.volumes.access.access_records import AccessRecords
from core.access import (
    ACTS,
    Caller,
    CredentialFacts,
    Deciders,
    Decision,
    PersonClaims,
    ProtectedResource,
    Scope,
    ScopeResource,
    VFolderResource,
)
from core.errors import UnknownVolume, VFolderNotFound
from core.jobs import AccessEnd, Job, JobAccess

if TYPE_CHECKING:
    from backends.volumes.access.subjects import SubjectStore

#: The door compared the scopes of the credential with the act.
_ALL_SCOPES = frozenset(Scope)


class JobDecisions:
    """Decisions about jobs of people that were requested before, as of now."""

    def __init__(
        self,
        records: AccessRecords,
        subjects: "SubjectStore",
        deciders: Deciders,
        *,
        members_may: bool,
    ) -> None:
        self._records = records
        self._subjects = subjects
        self._deciders = deciders
        self._members_may = members_may

    def decide(self, job: Job, access: JobAccess) -> Decision:
        """Decide whether the requester of a job may do what it does.

        Raises:
            Unavailable, DeadlineExceeded: a record cannot be read now.
        """
        claims = msgspec.json.decode(job.person, type=PersonClaims)
        caller = Caller(
            subject=self._subjects.as_of_now(claims),
            credential=CredentialFacts(kind="ticket", id=claims.cid, scopes=_ALL_SCOPES),
        )
        resources = resources_of(access, self._records, members_may=self._members_may)
        return self._deciders.decide_rule(caller, ACTS[access.rule], resources)


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
