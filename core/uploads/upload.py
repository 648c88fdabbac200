"""What an upload is, and the ways it can be refused. Its store is `core.uploads.store`."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from core.errors import Conflict, NotFound, StorageError


class UploadNotFound(NotFound):
    """No upload of that id is open: never created, finished, terminated or expired."""

    kind = "storage/tus-session-not-found"
    title = "No such upload"


class UploadExists(Conflict):
    """An upload of that id is already there."""

    kind = "storage/upload-exists"
    title = "The upload exists"


class OffsetMismatch(Conflict):
    """The sender's offset is not the upload's; a HEAD tells the right one."""

    kind = "storage/upload-offset-mismatch"
    title = "Upload offset differs"


class UploadLeaseHeld(StorageError):
    """Another request writes this upload; it was asked to end, try again shortly."""

    error_code = "storage-proxy_update_conflict"
    kind = "storage/tus-lease-held"
    title = "The upload is being written"
    status = 423
    retriable = True


class UploadLeaseLost(Conflict):
    """The lease went to another writer meanwhile; nothing of this request counts."""

    kind = "storage/tus-lease-lost"
    title = "The upload went to another writer"
    retriable = True


class Upload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one upload is, fixed at its creation but for `length`, which may come later."""

    id: str
    volume: str
    vfolder: str
    #: Where it will be published, relative to the vfolder.
    path: str
    #: The session of the ticket it was made under; only tickets of this session may touch it.
    session: str
    #: Bytes in all; None while the sender has not told.
    length: int | None = None
    #: The most it may ever hold.
    limit: int | None = None
    #: The inode of its staging file: proves after a crash that it was published.
    inode: int = 0
    #: `Upload-Metadata` as it came.
    metadata: str = ""
    #: The digest the whole must have, `<algorithm> <hex>`.
    digest: str = ""
    #: A part of a later whole: never published by itself.
    partial: bool = False
    #: Of a whole: `Upload-Concat` as it came.
    concat: str = ""
    #: When it is published, it is unpacked by a job instead (`tar` or `zip`).
    extract: str = ""
    #: The job that unpacks it.
    job: str = ""
    #: It is published; only kept for a client that lost the answer.
    finished: bool = False


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """An upload and the bytes committed of it."""

    upload: Upload
    offset: int


class LeaseRequest(StrEnum):
    """What somebody waits for a lease to do."""

    NONE = ""
    #: Only to know the offset: a writer whose bytes flow goes on.
    TO_READ = "read"
    #: To write or end the upload: the writer commits what it has and gives way.
    TO_WRITE = "write"


@dataclass(slots=True)
class UploadLease:
    """The right to write one upload, until released or lost."""

    id: str
    owner: str
    offset: int
    #: A cut request began here, and its sender has not yet been told of what was kept.
    rewind: int | None
    #: What the upload was when the lease began.
    upload: Upload
    #: It was given back already.
    over: bool = False
