"""One class per kind of problem."""

from vfolder_client.errors.meanings import (
    Absent,
    BadRequest,
    LimitReached,
    NotPermitted,
    Refused,
    ServerFailed,
    TryLater,
)


class InvalidParameters(BadRequest):
    """A parameter or field is wrong; `fields` names each."""

    kind = "storage/invalid-api-params"


class MalformedRequest(BadRequest):
    """The body is not what the route takes."""

    kind = "storage/malformed-request"


class InvalidDocument(BadRequest):
    """The JSON body is not what the route takes; `fields` names what is wrong."""

    kind = "generic-bad-request"


class PathEscape(BadRequest):
    """The path leaves its vfolder."""

    kind = "storage/subpath/invalid"


class EntryRefused(BadRequest):
    """The file system refuses the path."""

    kind = "storage/entry/refused"


class UnknownVolume(BadRequest):
    """No volume has this name."""

    kind = "storage/volume/invalid"


class Unsupported(BadRequest):
    """The storage of the volume cannot do this."""

    kind = "storage/unsupported-operation"


class NoCommonNode(BadRequest):
    """No node can copy between the two volumes."""

    kind = "storage/copy/no-common-node"


class MetadataTooLarge(BadRequest):
    """The metadata is larger than the service keeps."""

    kind = "storage/volume/metadata-too-large"


class TooManyBytes(BadRequest):
    """The upload is larger than announced or allowed."""

    kind = "storage/upload-too-long"


class WrongTusVersion(BadRequest):
    """The door speaks another version of tus."""

    kind = "storage/tus-version"


class WrongUploadType(BadRequest):
    """The body of an upload has a wrong content type."""

    kind = "storage/tus-content-type"


class KeyReused(BadRequest):
    """The Idempotency-Key was used before, with another request."""

    kind = "storage/job/idempotency-key-reused"


class UnsupportedEntry(BadRequest):
    """No archive can have a fifo, a socket or a device."""

    kind = "storage/unsupported-file-type"


class ArchiveRefused(BadRequest):
    """The archive is broken, or has an entry that must not be unpacked."""

    kind = "storage/archive-refused"


class DigestMismatch(BadRequest):
    """The bytes of the upload differ from those that were announced."""

    kind = "storage/upload-digest-mismatch"


class ObjectRefused(BadRequest):
    """The object storage does not take the request."""

    kind = "storage/object/refused"


class Forbidden(NotPermitted):
    """The secret of a door is missing or wrong."""

    kind = "storage/forbidden"


class EntryForbidden(NotPermitted):
    """The file system gives no right to the entry."""

    kind = "storage/entry/forbidden"


class AccessForbidden(NotPermitted):
    """The caller has not the permission or scope that the act needs."""

    kind = "auth/forbidden"


class JobNotPermitted(NotPermitted):
    """The caller may not do any more what the job was to do."""

    kind = "auth/job-not-permitted"


class LinkPasswordNeeded(NotPermitted):
    """The link has a password, and another one was given."""

    kind = "auth/link/password"


class UploadIsFinal(NotPermitted):
    """Only its parts write a concatenated upload."""

    kind = "storage/upload-final"


class VFolderNotFound(Absent):
    """No such vfolder, or the caller may not see it."""

    kind = "storage/vfolder/not-found"


class TrashNotFound(Absent):
    """The trash has no such vfolder."""

    kind = "storage/trash/not-found"


class QuotaScopeNotFound(Absent):
    """No such quota scope."""

    kind = "storage/quota/scope/not-found"


class EntryNotFound(Absent):
    """No entry has this path."""

    kind = "storage/file-not-found"


class JobNotFound(Absent):
    """No such job, or the caller may not see it."""

    kind = "storage/job/not-found"


class UploadNotFound(Absent):
    """No such upload: it was never made, has ended, or is another subject's."""

    kind = "storage/tus-session-not-found"


class GrantNotFound(Absent):
    """The vfolder has no such grant."""

    kind = "storage/grant/not-found"


class LinkNotFound(Absent):
    """No such link, or it has ended."""

    kind = "auth/link/not-found"


class NoticeNotFound(Absent):
    """The caller has no such notice."""

    kind = "auth/notice/not-found"


class IssuerNotFound(Absent):
    """Browsers do not sign in at an issuer of this name."""

    kind = "auth/issuer/not-found"


class GroupNotFound(Absent):
    """No group that is kept here has this id, or the caller may not see it."""

    kind = "auth/group/not-found"


class MemberNotFound(Absent):
    """The user is no member of the group."""

    kind = "auth/group/member-not-found"


class UserNotFound(Absent):
    """No user with this id is known."""

    kind = "auth/user/not-found"


class KeyNotFound(Absent):
    """The caller has no such key."""

    kind = "auth/key/not-found"


class SignInNotFound(Absent):
    """The caller has no such sign-in."""

    kind = "auth/sign-in/not-found"


class ObjectNotFound(Absent):
    """The bucket has no such object."""

    kind = "storage/object-not-found"


class BucketNotFound(Absent):
    """The object storage has no such bucket."""

    kind = "storage/bucket/object-not-found"


class MultipartNotFound(Absent):
    """The object storage has ended the upload."""

    kind = "storage/object/upload-not-found"


class VFolderExists(Refused):
    """The owner has a vfolder of this name or id."""

    kind = "storage/vfolder/already-exists"


class QuotaScopeExists(Refused):
    """The quota scope exists."""

    kind = "storage/quota/scope/already-exists"


class QuotaScopeNotEmpty(Refused):
    """The quota scope has vfolders."""

    kind = "storage/quota-directory-not-empty"


class EntryExists(Refused):
    """An entry of this name exists."""

    kind = "storage/entry/already-exists"


class EntryBusy(Refused):
    """The system uses the entry."""

    kind = "storage/entry/busy"


class ReadOnly(Refused):
    """The volume is mounted read-only."""

    kind = "storage/volume/read-only"


class Locked(Refused):
    """A job holds the vfolder; `job_id` of `members` names it."""

    kind = "storage/vfolder/locked"


class NotCancellable(Refused):
    """The job has ended, or cannot be undone any more."""

    kind = "storage/job/not-cancellable"


class AmbiguousReference(Refused):
    """The id is on several volumes; `choices` has those that the caller may see."""

    kind = "storage/vfolder/ambiguous-reference"

    @property
    def references(self) -> list[str]:
        """The references that the caller may see, as `VOLUME:ID`."""
        return [str(one) for one in self.members.get("choices") or []]


class RevisionChanged(Refused):
    """The record has another revision than `If-Match` names."""

    kind = "storage/vfolder/revision-changed"


class RecordChanged(Refused):
    """Another request changed the record meanwhile."""

    kind = "storage/vfolder/record-changed"


class PreconditionFailed(Refused):
    """A condition of the request does not hold: the entry changed, or is there already."""

    kind = "storage/http/412"


class ObjectChanged(Refused):
    """The object is another one now."""

    kind = "storage/object/changed"


class UploadExists(Refused):
    """An upload with this id exists."""

    kind = "storage/upload-exists"


class OffsetMismatch(Refused):
    """The offset is not the upload's."""

    kind = "storage/upload-offset-mismatch"


class UploadTaken(Refused):
    """The upload went to another writer meanwhile."""

    kind = "storage/tus-lease-lost"


class QuotaExceeded(LimitReached):
    """The limit of a vfolder or quota scope is reached."""

    kind = "storage/quota/exceeded"


class NoSpace(LimitReached):
    """The volume has not enough free space."""

    kind = "storage/volume/no-space"


class Throttled(TryLater):
    """Too many credentials were refused, or too many requests came."""

    kind = "auth/throttled"


class TooManyUploads(TryLater):
    """As many uploads are open as may be."""

    kind = "storage/upload/too-many"


class UploadBusy(TryLater):
    """Another request writes this upload."""

    kind = "storage/tus-lease-held"


class BodyCut(TryLater):
    """The connection ended before the body did; the bytes before it are kept."""

    kind = "storage/upload-cut"


class RequestCut(TryLater):
    """The connection ended before the body did."""

    kind = "storage/request-cut"


class RequestSlow(TryLater):
    """The body did not arrive in time."""

    kind = "storage/request-slow"


class SenderSilent(TryLater):
    """No byte of the body came for too long; the bytes before it are kept."""

    kind = "storage/upload-silent"


class ChecksumMismatch(TryLater):
    """The body was spoiled on its way."""

    kind = "storage/upload-checksum-mismatch"


class NodeAway(TryLater):
    """No node that serves the volume answers."""

    kind = "storage/node/away"


class Misdirected(TryLater):
    """The node does not serve the volume now."""

    kind = "storage/node/misdirected"


class StorageUnavailable(TryLater):
    """The storage fails now."""

    kind = "storage/external/unavailable"


class VolumeUnavailable(TryLater):
    """What is mounted is not the volume."""

    kind = "storage/volume/unavailable"


class ObjectStorageUnavailable(TryLater):
    """The object storage does not answer, or is overloaded."""

    kind = "storage/object-storage/unavailable"


class AccessUnavailable(TryLater):
    """What decides about access does not answer, so nothing is permitted."""

    kind = "auth/unavailable"


class DeadlineExceeded(TryLater):
    """The storage did not answer in time."""

    kind = "storage/deadline-exceeded"


class StorageFailed(ServerFailed):
    """The storage system failed."""

    kind = "storage/external/failed"


class ObjectStorageFailed(ServerFailed):
    """The object storage lacks a function, or its answer cannot be used."""

    kind = "storage/object-storage/failed"


class StorageRefusedRequest(ServerFailed):
    """The storage system refuses what it was asked."""

    kind = "storage/external/request-refused"


class StorageRefused(ServerFailed):
    """The storage system refuses the credentials of the service."""

    kind = "storage/external/refused"
