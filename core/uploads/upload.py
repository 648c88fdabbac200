"""The record of an upload, its lease, and its errors."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from core.errors import Conflict, NotFound, StorageError


class UploadNotFound(NotFound):
    """No upload with this id is open: it was never created, or is finished, ended or expired."""

    kind = "storage/tus-session-not-found"
    title = "No such upload"


class UploadExists(Conflict):
    """An upload with this id exists already."""

    kind = "storage/upload-exists"
    title = "The upload exists"


class OffsetMismatch(Conflict):
    """The sender's offset is not the upload's; a HEAD request returns the right one."""

    kind = "storage/upload-offset-mismatch"
    title = "Upload offset differs"


class UploadLeaseHeld(StorageError):
    """Another request writes this upload and was asked to end; try again shortly."""

    error_code = "storage-proxy_update_conflict"
    kind = "storage/tus-lease-held"
    title = "The upload is being written"
    status = 423
    retriable = True


class UploadLeaseLost(Conflict):
    """The lease went to another writer meanwhile; nothing of this request was committed."""

    kind = "storage/tus-lease-lost"
    title = "The upload went to another writer"
    retriable = True


class Upload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The facts of one upload, fixed at its creation except for `length`, which may come later."""

    id: str
    volume: str
    vfolder: str
    #: The path of the finished file, relative to the vfolder.
    path: str
    #: The session of its first ticket; only tickets of this session may use the upload.
    session: str
    #: Total bytes; None while the sender has not named them.
    length: int | None = None
    #: Most bytes that it may hold.
    limit: int | None = None
    #: The inode of its staging file: after a crash it proves that the file was published.
    inode: int = 0
    #: The header `Upload-Metadata`, unchanged.
    metadata: str = ""
    #: The digest that the complete file must have: `<algorithm> <hex>`.
    digest: str = ""
    #: It is a part of a later upload, and is never published by itself.
    partial: bool = False
    #: The header `Upload-Concat` of an upload that joins parts, unchanged.
    concat: str = ""
    #: A job unpacks the finished archive (`tar` or `zip`) in place of publishing it; empty: none.
    extract: str = ""
    #: The job that unpacks it.
    job: str = ""
    #: It is published; the record is kept for a client that did not receive the answer.
    finished: bool = False


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """An upload and its committed bytes."""

    upload: Upload
    offset: int


class LeaseRequest(StrEnum):
    """The purpose of a process that waits for a lease."""

    NONE = ""
    #: To read the offset: a writer that still receives bytes continues.
    TO_READ = "read"
    #: To write or end the upload: the writer commits its bytes and releases the lease.
    TO_WRITE = "write"


@dataclass(slots=True)
class UploadLease:
    """The right to write one upload, until it is released or lost."""

    id: str
    owner: str
    offset: int
    #: The start of a request that was cut off; its sender does not know the committed offset yet.
    rewind: int | None
    #: The record when the lease began.
    upload: Upload
    #: The lease was released already.
    released: bool = False
