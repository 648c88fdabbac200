"""What this library raises: one class per kind of problem, below what it means for the caller.

The doors answer errors as problem documents (RFC 9457). The end of their `type` is the kind.

    ClientError
    ├── ContextError          no context, or its file is not safe
    ├── NotConnected          the door does not answer; may be repeated
    ├── NotADoor              what answers is no door of this service
    ├── TransferBroken        an upload or download cannot continue
    ├── JobFailed             a job ended in another way than success
    └── Problem               the door refused: `status`, `detail`, `error_code`, `kind` …
        ├── BadRequest        400, 413, 415, 422: the request is wrong
        ├── NotAuthenticated  401: there is no credential, or it is not valid
        ├── NotPermitted      403
        ├── Absent            404, 410: not there, or the caller may not see it
        ├── Refused           409, 412: the state of things does not permit it
        ├── LimitReached      422, 507: a limit is reached
        ├── TryLater          408, 423, 429, 503, 504: the same request may succeed later
        └── ServerFailed      500, 502
"""

from collections.abc import Mapping
from typing import Any

from vfolder_client.errors.meanings import (
    PASSING,
    Absent,
    BadRequest,
    ClientError,
    ContextError,
    JobFailed,
    LimitReached,
    NotADoor,
    NotAuthenticated,
    NotConnected,
    NotPermitted,
    Problem,
    Refused,
    ServerFailed,
    TransferBroken,
    TryLater,
)
from vfolder_client.errors.problems import (
    AccessForbidden,
    AccessUnavailable,
    AmbiguousReference,
    ArchiveRefused,
    BodyCut,
    BucketNotFound,
    ChecksumMismatch,
    DeadlineExceeded,
    DigestMismatch,
    EntryBusy,
    EntryExists,
    EntryForbidden,
    EntryNotFound,
    EntryRefused,
    Forbidden,
    GrantNotFound,
    GroupNotFound,
    InvalidDocument,
    InvalidParameters,
    IssuerNotFound,
    JobNotFound,
    JobNotPermitted,
    KeyNotFound,
    KeyReused,
    LinkNotFound,
    LinkPasswordNeeded,
    Locked,
    MalformedRequest,
    MemberNotFound,
    MetadataTooLarge,
    Misdirected,
    MultipartNotFound,
    NoCommonNode,
    NodeAway,
    NoSpace,
    NotCancellable,
    NoticeNotFound,
    ObjectChanged,
    ObjectNotFound,
    ObjectRefused,
    ObjectStorageFailed,
    ObjectStorageUnavailable,
    OffsetMismatch,
    PathEscape,
    PreconditionFailed,
    QuotaExceeded,
    QuotaScopeExists,
    QuotaScopeNotEmpty,
    QuotaScopeNotFound,
    ReadOnly,
    RecordChanged,
    RequestCut,
    RequestSlow,
    RevisionChanged,
    SenderSilent,
    SignInNotFound,
    StorageFailed,
    StorageRefused,
    StorageRefusedRequest,
    StorageUnavailable,
    Throttled,
    TooManyBytes,
    TooManyUploads,
    TrashNotFound,
    UnknownVolume,
    Unsupported,
    UnsupportedEntry,
    UploadBusy,
    UploadExists,
    UploadIsFinal,
    UploadNotFound,
    UploadTaken,
    UserNotFound,
    VFolderExists,
    VFolderNotFound,
    VolumeUnavailable,
    WrongTusVersion,
    WrongUploadType,
)

__all__ = [
    "Absent",
    "AccessForbidden",
    "AccessUnavailable",
    "AmbiguousReference",
    "ArchiveRefused",
    "BadRequest",
    "BodyCut",
    "BucketNotFound",
    "ChecksumMismatch",
    "ClientError",
    "ContextError",
    "DeadlineExceeded",
    "DigestMismatch",
    "EntryBusy",
    "EntryExists",
    "EntryForbidden",
    "EntryNotFound",
    "EntryRefused",
    "Forbidden",
    "GrantNotFound",
    "GroupNotFound",
    "InvalidDocument",
    "InvalidParameters",
    "IssuerNotFound",
    "JobFailed",
    "JobNotFound",
    "JobNotPermitted",
    "KeyNotFound",
    "KeyReused",
    "LimitReached",
    "LinkNotFound",
    "LinkPasswordNeeded",
    "Locked",
    "MalformedRequest",
    "MemberNotFound",
    "MetadataTooLarge",
    "Misdirected",
    "MultipartNotFound",
    "NoCommonNode",
    "NoSpace",
    "NodeAway",
    "NotADoor",
    "NotAuthenticated",
    "NotCancellable",
    "NotConnected",
    "NotPermitted",
    "NoticeNotFound",
    "ObjectChanged",
    "ObjectNotFound",
    "ObjectRefused",
    "ObjectStorageFailed",
    "ObjectStorageUnavailable",
    "OffsetMismatch",
    "PathEscape",
    "PreconditionFailed",
    "Problem",
    "QuotaExceeded",
    "QuotaScopeExists",
    "QuotaScopeNotEmpty",
    "QuotaScopeNotFound",
    "ReadOnly",
    "RecordChanged",
    "Refused",
    "RequestCut",
    "RequestSlow",
    "RevisionChanged",
    "SenderSilent",
    "ServerFailed",
    "SignInNotFound",
    "StorageFailed",
    "StorageRefused",
    "StorageRefusedRequest",
    "StorageUnavailable",
    "Throttled",
    "TooManyBytes",
    "TooManyUploads",
    "TransferBroken",
    "TrashNotFound",
    "TryLater",
    "UnknownVolume",
    "Unsupported",
    "UnsupportedEntry",
    "UploadBusy",
    "UploadExists",
    "UploadIsFinal",
    "UploadNotFound",
    "UploadTaken",
    "UserNotFound",
    "VFolderExists",
    "VFolderNotFound",
    "VolumeUnavailable",
    "WrongTusVersion",
    "WrongUploadType",
    "kinds",
    "problem_of",
]

#: Begins `type` of each problem; the rest is the kind.
_TYPE_BASE = "/problems/"
_BY_STATUS: dict[int, type[Problem]] = {
    401: NotAuthenticated,
    403: NotPermitted,
    404: Absent,
    409: Refused,
    410: Absent,
    412: PreconditionFailed,
    507: LimitReached,
    **dict.fromkeys(PASSING, TryLater),
}
_SERVER_FAILED = 500


def kinds() -> frozenset[str]:
    """Return all kinds of problems that have a class of their own."""
    return frozenset(Problem._kinds)  # noqa: SLF001 - the registry of the classes above


def problem_of(
    status: int, members: Mapping[str, Any], retry_after: float | None = None
) -> Problem:
    """Return the exception for a problem document.

    A kind that this version does not know is the class of what its status means.
    """
    kind = str(members.get("type", "")).partition(_TYPE_BASE)[2]
    by_status = _BY_STATUS.get(status, ServerFailed if status >= _SERVER_FAILED else BadRequest)
    chosen = Problem._kinds.get(kind, by_status)  # noqa: SLF001 - as above
    return chosen(status, members, retry_after)
