"""The person who requested a job: may it still do what the job does? And the name that it chose.

The door decided when the job was submitted. A job may wait for long, so its first run decides
again, by the records and groups as they are then. The scopes of the credential counted at the door.
"""

import time

from msgspec import structs

from backends.volumes.access import AccessRecords, ClusterVolumes, JobDecisions
from backends.volumes.access.subjects import SubjectStore
from core.access import (
    AccessCache,
    Deciders,
    records,
)
from core.cluster import NodeStore
from core.errors import AccessUnavailable, JobNotPermitted, StorageError, VFolderNotFound
from core.jobs import Job, access_of
from core.jobs.requests import DeleteRequest, Request
from core.names import VFolderId
from core.redis import Database, connect
from core.settings import AccessTable, Settings

_REFUSED = "Who requested the job may not do this any more; nothing was done."


class Requesters:
    """Decisions about requesters, and records of what they make, for one process of a worker."""

    def __init__(self, settings: Settings, table: AccessTable, nodes: NodeStore) -> None:
        volumes, cache = ClusterVolumes(settings, nodes), AccessCache(settings)
        self._records = AccessRecords(settings, volumes, cache)
        subjects = SubjectStore(
            table.home_volume(settings.volume),
            settings.seal_secrets,
            volumes,
            connect(settings, Database.LIVE),
        )
        self._decisions = JobDecisions(
            self._records,
            subjects,
            Deciders(table, settings.directory, cache),
            members_may=table.group_creators == "members",
        )

    def check(self, job: Job, request: Request) -> None:
        """Refuse a job whose requester may not do this now.

        Raises:
            JobNotPermitted: it lost the permission, is blocked, or its key was revoked.
            AccessUnavailable: this cannot be decided now.
        """
        access = access_of(request)
        if access is None:
            raise JobNotPermitted(_REFUSED)
        try:
            decision = self._decisions.decide(job, access)
        except StorageError as error:
            if not error.retriable:
                raise
            raise AccessUnavailable(f"Access cannot be decided: {error.detail}") from error
        if not decision.allowed:
            raise JobNotPermitted(_REFUSED)

    def check_expired(self, request: Request) -> None:
        """Refuse the delete of an expired vfolder that has a later end now.

        Raises:
            JobNotPermitted: it is not expired any more, or is gone.
            AccessUnavailable: this cannot be read now.
        """
        if not isinstance(request, DeleteRequest):
            raise JobNotPermitted(_REFUSED)
        try:
            known = self._records.read(request.volume, VFolderId.parse(request.vfolder))
        except VFolderNotFound:
            raise JobNotPermitted("The vfolder is gone; nothing was done.") from None
        except StorageError as error:
            if not error.retriable:
                raise
            raise AccessUnavailable(f"The record cannot be read: {error.detail}") from error
        end = known.record.expires_at
        if end is None or end > time.time():
            raise JobNotPermitted("The vfolder has a later end now; nothing was done.")

    def name_made(self, job: Job, request: Request) -> None:
        """Write the record of the vfolder that a job made: its name, and who made it.

        A record that is there stays, so a second run of the job changes nothing.

        Raises:
            StorageError: it cannot be written.
        """
        volume, _, text = request.makes()[0].partition("/")
        known = self._records.read(volume, VFolderId.parse(text))
        if known.record.revision:
            return
        who = job.fields.get("requester", "")
        self._records.change(
            known,
            lambda record: structs.replace(
                record, name=job.new_name, created_at=time.time(), created_by=who
            ),
        )

    def revoke_links(self, volume: str, vfolder: VFolderId) -> None:
        """Revoke the links of a vfolder that goes to the trash; they stay revoked afterwards.

        Raises:
            StorageError: the record cannot be read or written.
        """
        known = self._records.read(volume, vfolder)
        if any(link.revoked_at is None for link in known.record.links):
            self._records.change(known, lambda record: records.revoked(record, time.time()))


def requesters(settings: Settings, nodes: NodeStore) -> Requesters:
    """Return what decides about requesters.

    Raises:
        JobNotPermitted: this node has no table [vfolder.access], so it permits people nothing.
    """
    table = settings.vfolder.access
    if table is None:
        raise JobNotPermitted("This node does nothing for people: it has no [vfolder.access].")
    return Requesters(settings, table, nodes)
