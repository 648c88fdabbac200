"""Paths below a volume (see docs/design.md, «On disk»).

    .vfolder-volume                      the marker of the volume (`backends.fs.marker`)
    <scope>/<2>/<2>/<28>                 a vfolder: agents mount exactly this
    <scope>/.vfolder/staging/<job id>    a result that is not complete
    <scope>/.vfolder/staging/<job id>.clone     the same of a clone or a restored snapshot
    <scope>/.vfolder/staging/<job id>.archive   an uploaded archive that a job unpacks
    <scope>/.vfolder/uploads/<upload id> bytes of an upload
    <scope>/.vfolder/trash/<job id>      a deleted vfolder, or removed entries, until the purge
    <scope>/.vfolder/jobs/<job id>.manifest
    <scope>/.vfolder/jobs/<job id>.report   entries that a job could not process
    <scope>/.vfolder/retention/<vfolder hex>.<name>   the time until which a snapshot is kept
    <scope>/.vfolder/meta/<vfolder hex>  metadata that the manager stores about a vfolder
    <scope>/.vfolder/meta/<vfolder hex>.access   the access record of a vfolder
    <scope>/.vfolder/meta/scope.subject          the record of the scope's user or group
    <scope>/.vfolder/trash/<job id>.access       the access record of a vfolder in the trash

All these hidden directories are inside the quota scope. Only there the bytes count for the right
owner, and project quotas, filesets and qtrees refuse renames between scopes. The hidden directory
at the top of the volume has what must count for no scope: scopes that are being made, and
requested limits. A legacy vfolder without a scope uses it too.
"""

import os
import re
from pathlib import PurePosixPath
from uuid import UUID

from core.names import QuotaScope, VFolderId

#: The name of the hidden directory; it is never inside a vfolder.
HIDDEN = ".vfolder"
STAGING = "staging"
UPLOADS = "uploads"
TRASH = "trash"
JOBS = "jobs"
META = "meta"
RETENTION = "retention"
REPORT_SUFFIX = ".report"
ARCHIVE_SUFFIX = ".archive"
#: Ends the name of an access record; and the name of the record of a user or group.
RECORD_SUFFIX = ".access"
SUBJECT = "scope.subject"
#: At the top of the volume only: scopes that are being made, and requested limits.
MAKING = "making"
LIMITS = "limits"
#: At the top too, where the storage system has no directory of its own for snapshots.
SNAPSHOTS = "snapshots"
#: Marks the layout version for the reference's tools.
VERSION_FILE = "version.txt"

_SCOPE_NAME = re.compile(r"[0-9a-f]{32}")


def area(scope: QuotaScope | None, name: str) -> PurePosixPath:
    """Return the path of a hidden directory of a scope, relative to the volume."""
    base = PurePosixPath(scope.directory) if scope else PurePosixPath()
    return base / HIDDEN / name


def is_id(name: str) -> bool:
    """Return whether a name is a UUID of 32 hexadecimal digits, as scopes and vfolders have."""
    return _SCOPE_NAME.fullmatch(name) is not None


def scopes(root: int) -> list[str]:
    """Return the directories of quota scopes below a volume, and `.` for vfolders without one."""
    return [".", *sorted(name for name in os.listdir(root) if _SCOPE_NAME.fullmatch(name))]


def scope_area(directory: str, name: str) -> PurePosixPath:
    """Return the same as `area`, for a scope of which only the directory's name is known."""
    return PurePosixPath(directory, HIDDEN, name)


def staging(scope: QuotaScope | None, job: str) -> PurePosixPath:
    """Return the directory in which a job builds its result."""
    return area(scope, STAGING) / job


def archive(scope: QuotaScope | None, job: str) -> PurePosixPath:
    """Return the path of the uploaded archive that a job unpacks."""
    return area(scope, STAGING) / f"{job}{ARCHIVE_SUFFIX}"


def upload(scope: QuotaScope | None, upload_id: str) -> PurePosixPath:
    """Return the path of the file that has the bytes of an upload."""
    return area(scope, UPLOADS) / upload_id


def trash(scope: QuotaScope | None, job: str) -> PurePosixPath:
    """Return the directory of a deleted vfolder that waits for its purge."""
    return area(scope, TRASH) / job


def manifest(scope: QuotaScope | None, job: str) -> PurePosixPath:
    """Return the path of a job's manifest."""
    return area(scope, JOBS) / f"{job}.manifest"


def snapshots(vfolder: VFolderId) -> PurePosixPath:
    """Return the directory with the snapshots of a vfolder, one directory each."""
    return area(None, SNAPSHOTS) / vfolder.id.hex


def report(scope: QuotaScope | None, job: str) -> PurePosixPath:
    """Return the path of the report of a job: entries it could not process, as JSON lines."""
    return area(scope, JOBS) / f"{job}{REPORT_SUFFIX}"


def metadata(vfolder: VFolderId) -> PurePosixPath:
    """Return the path of the metadata that the manager stored about a vfolder."""
    return area(vfolder.scope, META) / vfolder.id.hex


def record(vfolder: VFolderId) -> PurePosixPath:
    """Return the path of the access record of a live vfolder."""
    return area(vfolder.scope, META) / f"{vfolder.id.hex}{RECORD_SUFFIX}"


def trashed_record(scope: QuotaScope | None, job: str) -> PurePosixPath:
    """Return the path of the access record of a vfolder in the trash."""
    return area(scope, TRASH) / f"{job}{RECORD_SUFFIX}"


def subject(identity: UUID) -> PurePosixPath:
    """Return the path of the record of a user or group, in its scope."""
    return PurePosixPath(identity.hex) / HIDDEN / META / SUBJECT
