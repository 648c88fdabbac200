"""What may be asked of a job: one request per verb, with the locks it needs and its natural key.

A request arrives checked by the door's schema; here it is checked again, because a record in Redis
is not proof of anything. Ids are kept in their text forms, so a request is plain JSON.
"""

import json
import re
from typing import Any, ClassVar, Literal

import msgspec

from core.errors import InvalidParameters
from core.jobs.job import Lane
from core.jobs.requests.base import (
    Lock,
    LockMode,
    Request,
    SingleVFolderRequest,
    invalid_field,
    lock_key,
    scope_of,
)
from core.jobs.requests.transfer import AssistRequest, TransferRequest
from core.jobs.requests.upkeep import (
    AdoptRequest,
    PurgeRequest,
    RescanRequest,
    RestoreRequest,
    SnapshotRequest,
)
from core.names import VFolderId, VFolderPath

#: A list of paths in one request; more are deleted by naming their directory.
PATHS_MAX = 10_000
#: A deleted vfolder is kept no longer than this: ten years.
KEEP_MAX_SECONDS = 10 * 365 * 86_400
#: Not more paths than this, none of them a tree, go by the fast lane.
FAST_PATHS_MAX = 100

_UPLOAD_ID = re.compile(r"[A-Za-z0-9-]{1,128}")


class CloneRequest(Request, frozen=True, kw_only=True, tag="clone"):
    """Make `target` a copy of `source`; the target must not exist."""

    source: str
    target: str
    target_volume: str | None = None
    verify: Literal["none", "size", "checksum"] = "size"

    @property
    def home(self) -> str:
        """The volume that is written."""
        return self.target_volume or self.volume

    def locks(self) -> list[Lock]:
        """Source shared, target exclusive."""
        return [
            (lock_key(self.volume, self.source), "shared"),
            (lock_key(self.home, self.target), "exclusive"),
        ]

    def natural_key(self) -> str:
        """One clone at a time makes a target."""
        return lock_key(self.home, self.target)

    def scope(self) -> str:
        """The owner of the copy pays."""
        return scope_of(self.target)

    def validate(self) -> None:
        """Two different vfolders, the target with a quota scope."""
        if VFolderId.parse(self.target).scope is None:
            raise invalid_field("target", "needs a quota scope")
        if lock_key(self.volume, self.source) == lock_key(self.home, self.target):
            raise invalid_field("target", "is the source itself")


class DeleteRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="delete"):
    """Take a vfolder away: gone at once, its bytes removed afterwards."""

    #: How long it can be restored (seconds); None is as configured, 0 not at all.
    keep_seconds: float | None = None

    def validate(self) -> None:
        """The id parses, and the time is one."""
        super().validate()
        if self.keep_seconds is not None and not 0 <= self.keep_seconds <= KEEP_MAX_SECONDS:
            raise invalid_field("keep_seconds", f"between 0 and {KEEP_MAX_SECONDS}")


class DeleteFilesRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="delete-files"):
    """Remove entries of a vfolder; absent ones are skipped."""

    paths: list[str]
    recursive: bool = False

    @property
    def lane(self) -> Lane:
        """A few names that are no trees take no longer than a call."""
        few = len(self.paths) <= FAST_PATHS_MAX and not self.recursive
        return Lane.FAST if few else Lane.BULK

    def natural_key(self) -> str:
        """None: several may be asked for one vfolder; they queue."""
        return ""

    def validate(self) -> None:
        """Every path parses, none is the root, and there are not too many."""
        VFolderId.parse(self.vfolder)
        if not 1 <= len(self.paths) <= PATHS_MAX:
            raise invalid_field("paths", f"name between 1 and {PATHS_MAX}")
        if any(VFolderPath.parse(path).is_root for path in self.paths):
            raise invalid_field("paths", "the root is not deleted here; delete the vfolder")


class UsageRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="usage"):
    """Count what a vfolder holds."""

    mode: ClassVar[LockMode] = "shared"


class ExtractRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="extract"):
    """Unpack an archive into a directory that must not exist and appears whole."""

    mode: ClassVar[LockMode] = "shared"
    target: str
    archive: Literal["tar", "zip"]
    #: The archive is this file of the vfolder …
    source: str = ""
    #: … or this whole upload, whose bytes go with the job.
    upload: str = ""

    def natural_key(self) -> str:
        """One job at a time makes a target."""
        return f"{lock_key(self.volume, self.vfolder)}/{VFolderPath.parse(self.target)}"

    def validate(self) -> None:
        """The names parse, the target is not the root, and there is one archive."""
        VFolderId.parse(self.vfolder)
        if VFolderPath.parse(self.target).is_root:
            raise invalid_field("target", "names a directory that will appear")
        if bool(self.source) == bool(self.upload):
            raise invalid_field("source", "names the archive")
        if self.source and VFolderPath.parse(self.source).is_root:
            raise invalid_field("source", "names a file")
        if self.upload and not _UPLOAD_ID.fullmatch(self.upload):
            raise invalid_field("upload", "is the id of an upload")


VERBS: dict[str, type[Request]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (
        AssistRequest,
        CloneRequest,
        DeleteRequest,
        DeleteFilesRequest,
        ExtractRequest,
        TransferRequest,
        UsageRequest,
        RestoreRequest,
        PurgeRequest,
        RescanRequest,
        AdoptRequest,
        SnapshotRequest,
    )
}


def parse(body: dict[str, Any]) -> Request:
    """Read a request from JSON, and check it.

    Raises:
        InvalidParameters: unknown verb, unknown or missing key, wrong type, bad id or path.
    """
    if body.get("verb") not in VERBS:
        raise InvalidParameters(
            f"Unknown verb; known are {', '.join(sorted(VERBS))}.",
            errors=[{"pointer": "/verb", "detail": "unknown verb"}],
        )
    try:
        request: Request = msgspec.convert(body, VERBS[body["verb"]])
    except msgspec.ValidationError as error:
        raise InvalidParameters(f"{error}.") from error
    request.validate()
    return request


def encode(request: Request) -> str:
    """The request as canonical JSON: equal requests give equal text."""
    try:
        return msgspec.json.encode(request, order="sorted").decode()
    except UnicodeEncodeError:  # a name that is not UTF-8
        return json.dumps(msgspec.to_builtins(request), sort_keys=True, separators=(",", ":"))
