"""Where things lie below a volume (see docs/design.md, «On disk»).

    <scope>/<2>/<2>/<28>                 a vfolder: agents mount exactly this
    <scope>/.vfolder/staging/<job id>    a result growing
    <scope>/.vfolder/staging/<job id>.archive   an upload that a job unpacks
    <scope>/.vfolder/uploads/<upload id> upload bytes
    <scope>/.vfolder/trash/<job id>      renamed away, until purged
    <scope>/.vfolder/jobs/<job id>.manifest
    <scope>/.vfolder/jobs/<job id>.report   entries that could not be done
    <scope>/.vfolder/retention/<vfolder hex>.<name>   until when a snapshot is kept
    <scope>/.vfolder/meta/<vfolder hex>  what the manager stores about a vfolder

All of ours is inside the quota scope: only there the right owner pays, and project quotas,
filesets and qtrees refuse renames across. At the top of the volume `.vfolder` keeps what must not
count for any scope: scopes being made, and the limits that were asked for. A legacy vfolder
without scope uses that one too.
"""

import os
import re
from pathlib import PurePosixPath

from core.names import QuotaScope, VFolderId

#: Ours, and nobody else's; never inside a vfolder.
HIDDEN = ".vfolder"
STAGING = "staging"
UPLOADS = "uploads"
TRASH = "trash"
JOBS = "jobs"
META = "meta"
RETENTION = "retention"
REPORT_SUFFIX = ".report"
ARCHIVE_SUFFIX = ".archive"
#: At the top of the volume only: scopes being made, and what was asked of their limits.
MAKING = "making"
LIMITS = "limits"
#: At the top too, where the storage system has no place of its own for them.
SNAPSHOTS = "snapshots"
#: Marks the layout version for the reference's tools.
VERSION_FILE = "version.txt"
VERSION_TEXT = "3"

_SCOPE_NAME = re.compile(r"[0-9a-f]{32}")


def area(scope: QuotaScope | None, room: str) -> PurePosixPath:
    """One of our rooms for a scope, relative to the volume."""
    base = PurePosixPath(scope.directory) if scope else PurePosixPath()
    return base / HIDDEN / room


def scopes(root: int) -> list[str]:
    """The directories of quota scopes below a volume, and `.` for the legacy one."""
    return [".", *sorted(name for name in os.listdir(root) if _SCOPE_NAME.fullmatch(name))]


def scope_area(directory: str, room: str) -> PurePosixPath:
    """As `area`, for a scope known by the name of its directory only."""
    return PurePosixPath(directory, HIDDEN, room)


def staging(scope: QuotaScope | None, job: str) -> PurePosixPath:
    """Where the result of a job grows."""
    return area(scope, STAGING) / job


def archive(scope: QuotaScope | None, job: str) -> PurePosixPath:
    """The uploaded archive that a job unpacks."""
    return area(scope, STAGING) / f"{job}{ARCHIVE_SUFFIX}"


def upload(scope: QuotaScope | None, upload_id: str) -> PurePosixPath:
    """Where the bytes of an upload grow."""
    return area(scope, UPLOADS) / upload_id


def trash(scope: QuotaScope | None, job: str) -> PurePosixPath:
    """Where a deleted vfolder waits for its purge."""
    return area(scope, TRASH) / job


def manifest(scope: QuotaScope | None, job: str) -> PurePosixPath:
    """A job's file beside the data."""
    return area(scope, JOBS) / f"{job}.manifest"


def snapshots(vfolder: VFolderId) -> PurePosixPath:
    """Where snapshots of a vfolder lie, one directory each."""
    return area(None, SNAPSHOTS) / vfolder.id.hex


def report(scope: QuotaScope | None, job: str) -> PurePosixPath:
    """The entries that a job could not do, as JSON lines."""
    return area(scope, JOBS) / f"{job}{REPORT_SUFFIX}"


def metadata(vfolder: VFolderId) -> PurePosixPath:
    """What the manager stored about a vfolder."""
    return area(vfolder.scope, META) / vfolder.id.hex
