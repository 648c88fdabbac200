"""The record of an upload, its lease, and its errors."""

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

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


class TooManyUploads(StorageError):
    """As many uploads are open as may be; `bound` says whose: a ticket, a scope or a node."""

    error_code = "storage-proxy_create_unavailable"
    kind = "storage/upload/too-many"
    title = "Too many open uploads"
    status = HTTPStatus.TOO_MANY_REQUESTS
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
    #: Its ticket permits many uploads below a directory.
    tree: bool = False
    #: The node that opened it, whose bound counts it.
    node: str = ""
    #: It never replaces a file: where one has its name in the end, it is refused.
    new_only: bool = False
    #: The entity tag of the file that it replaces; where another one is there in the end, it is
    #: refused. Empty: it replaces any.
    replaces: str = ""

    @property
    def is_counted(self) -> bool:
        """Whether it has a place among the open uploads: a byte of it may still come."""
        return not self.finished and (self.length != 0 or self.partial)

    @property
    def is_ticketed(self) -> bool:
        """Whether the holder of a ticket opened it, and not the manager with the ticket."""
        return self.id != self.session


@dataclass(frozen=True, slots=True)
class UploadBounds:
    """How many uploads may be open at a time; 0 is no bound. See `[vfolder.uploads]`."""

    per_ticket: int = 1_000
    #: What the open uploads of a ticket may announce together, in sizes of the ticket.
    sizes_per_ticket: int = 4
    sizes_per_tree_ticket: int = 64
    per_scope: int = 200_000
    per_node: int = 500_000

    def ticket_bytes(self, upload: Upload) -> int:
        """Return the bytes that the open uploads of its ticket may announce; 0 is no bound."""
        sizes = self.sizes_per_tree_ticket if upload.tree else self.sizes_per_ticket
        return sizes * (upload.limit or 0)


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
