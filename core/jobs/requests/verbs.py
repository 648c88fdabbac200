"""The requests of clone, delete, delete-files, usage and extract; the table of all verbs."""

import json
import re
from typing import Any, ClassVar, Literal

import msgspec

from core.errors import InvalidParameters
from core.jobs.job import Lane
from core.jobs.requests.artifacts import DescribeRequest, ImportRequest
from core.jobs.requests.base import (
    KEEP_MAX_SECONDS,
    Lock,
    LockMode,
    Request,
    SingleVFolderRequest,
    invalid_field,
    lock_key,
    scope_of,
)
from core.jobs.requests.transfer import AssistRequest, TransferRequest, check_moment
from core.jobs.requests.upkeep import (
    AdoptRequest,
    PurgeRequest,
    RescanRequest,
    RestoreRequest,
    SnapshotRequest,
)
from core.names import VFolderId, VFolderPath

#: Most paths in one request. For more, name their directory.
PATHS_MAX = 10_000
#: A request with at most this many paths and no trees goes to the fast lane.
FAST_PATHS_MAX = 100

_UPLOAD_ID = re.compile(r"[A-Za-z0-9-]{1,128}")


class CloneRequest(Request, frozen=True, kw_only=True, tag="clone"):
    """Copy the vfolder `source` to `target`, which must not exist."""

    source: str
    target: str
    target_volume: str | None = None
    verify: Literal["none", "size", "checksum"] = "size"
    #: Whether a change of the source during the copy is a failure.
    strict: bool = False

    @property
    def home(self) -> str:
        """Return the target volume: its nodes run the job."""
        return self.target_volume or self.volume

    def locks(self) -> list[Lock]:
        """Return source shared and target exclusive."""
        return [
            (lock_key(self.volume, self.source), "shared"),
            (lock_key(self.home, self.target), "exclusive"),
        ]

    def needs(self) -> list[str]:
        """Return the source."""
        return [lock_key(self.volume, self.source)]

    def makes(self) -> list[str]:
        """Return the target."""
        return [lock_key(self.home, self.target)]

    def natural_key(self) -> str:
        """Return the target: there is one clone at a time per target."""
        return lock_key(self.home, self.target)

    def scope(self) -> str:
        """Return the quota scope of the copy: its limit counts."""
        return scope_of(self.target)

    def validate(self) -> None:
        """Check that the vfolders differ and the target has a quota scope."""
        if VFolderId.parse(self.target).scope is None:
            raise invalid_field("target", "needs a quota scope")
        if lock_key(self.volume, self.source) == lock_key(self.home, self.target):
            raise invalid_field("target", "is the source itself")


class DeleteRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="delete"):
    """Delete a vfolder. It disappears at once; its bytes are removed afterwards."""

    #: How long it can be restored (seconds); None is the configured time, 0 is not at all.
    keep_seconds: float | None = None

    def validate(self) -> None:
        """Check the id and the time."""
        super().validate()
        if self.keep_seconds is not None and not 0 <= self.keep_seconds <= KEEP_MAX_SECONDS:
            raise invalid_field("keep_seconds", f"between 0 and {KEEP_MAX_SECONDS}")


class DeleteFilesRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="delete-files"):
    """Remove entries of a vfolder; missing entries are skipped."""

    paths: list[str]
    recursive: bool = False
    #: How long they can be restored (seconds); 0 and None are not at all.
    keep_seconds: float | None = None

    @property
    def lane(self) -> Lane:
        """Return `fast` for a few names without trees: they take no longer than a call."""
        few = len(self.paths) <= FAST_PATHS_MAX and not self.recursive
        return Lane.FAST if few else Lane.BULK

    def needs(self) -> list[str]:
        """Return the vfolder."""
        return [lock_key(self.volume, self.vfolder)]

    def natural_key(self) -> str:
        """Return no key: several such jobs of one vfolder may wait for each other."""
        return ""

    def validate(self) -> None:
        """Check that every path is valid and not the root, and that there are not too many."""
        VFolderId.parse(self.vfolder)
        if not 1 <= len(self.paths) <= PATHS_MAX:
            raise invalid_field("paths", f"name between 1 and {PATHS_MAX}")
        if any(VFolderPath.parse(path).is_root for path in self.paths):
            raise invalid_field("paths", "the root is not deleted here; delete the vfolder")
        if self.keep_seconds is not None and not 0 <= self.keep_seconds <= KEEP_MAX_SECONDS:
            raise invalid_field("keep_seconds", f"between 0 and {KEEP_MAX_SECONDS}")


class UsageRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="usage"):
    """Count what a vfolder holds."""

    mode: ClassVar[LockMode] = "shared"

    def needs(self) -> list[str]:
        """Return the vfolder."""
        return [lock_key(self.volume, self.vfolder)]


#: The longest pattern of a search (characters).
MATCH_MAX = 1000


class FindRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="find"):
    """Look for entries of a vfolder; None is no condition."""

    mode: ClassVar[LockMode] = "shared"
    #: The directory below which they are.
    path: str = ""
    #: A pattern of the shell, of names, or of paths where it has a slash.
    match: str = ""
    kind: Literal["file", "directory", "symlink"] | None = None
    min_bytes: int | None = None
    max_bytes: int | None = None
    newer_than: str | None = None
    older_than: str | None = None

    def needs(self) -> list[str]:
        """Return the vfolder."""
        return [lock_key(self.volume, self.vfolder)]

    def natural_key(self) -> str:
        """Return no key: several searches of one vfolder may run."""
        return ""

    def validate(self) -> None:
        """Check id, path, pattern, sizes and moments."""
        super().validate()
        VFolderPath.parse(self.path)
        if len(self.match) > MATCH_MAX:
            raise invalid_field("match", f"has at most {MATCH_MAX} characters")
        for name in ("min_bytes", "max_bytes"):
            if (getattr(self, name) or 0) < 0:
                raise invalid_field(name, "is below zero")
        for name in ("newer_than", "older_than"):
            if (text := getattr(self, name)) is not None:
                check_moment(name, text)


class ExtractRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="extract"):
    """Unpack an archive into a directory that does not exist yet; it appears complete."""

    target: str
    archive: Literal["tar", "zip"]
    #: The archive is this file of the vfolder …
    source: str = ""
    #: … or this finished upload. The job removes it at its end.
    upload: str = ""

    def needs(self) -> list[str]:
        """Return the vfolder."""
        return [lock_key(self.volume, self.vfolder)]

    def natural_key(self) -> str:
        """Return the target: there is one such job at a time per target."""
        return f"{lock_key(self.volume, self.vfolder)}/{VFolderPath.parse(self.target)}"

    def validate(self) -> None:
        """Check the names, that the target is not the root, and that there is one archive."""
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
        FindRequest,
        TransferRequest,
        UsageRequest,
        RestoreRequest,
        PurgeRequest,
        RescanRequest,
        AdoptRequest,
        SnapshotRequest,
        ImportRequest,
        DescribeRequest,
    )
}


def parse(body: dict[str, Any]) -> Request:
    """Return the validated request of a JSON object.

    Raises:
        InvalidParameters: the verb or a key is unknown, a key is missing, or a value is not valid.
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
    """Return the request as canonical JSON: equal requests give equal text."""
    try:
        return msgspec.json.encode(request, order="sorted").decode()
    except UnicodeEncodeError:  # a name that is not UTF-8
        return json.dumps(msgspec.to_builtins(request), sort_keys=True, separators=(",", ":"))
