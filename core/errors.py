"""All errors of this service, as one tree.

    StorageError
    ├── InvalidParameters          400  the request is wrong: one of its fields or parameters
    │   ├── InvalidName            400  an id or a path has a form that is not allowed
    │   ├── PathEscape             400  a path leaves its vfolder
    │   ├── EntryRefused           400  the path is wrong: `errno` and `paths` say how
    │   ├── MalformedRequest       400  the body or its form is not what the route takes
    │   ├── UnknownVolume          400  no such volume (the wire wants 400)
    │   ├── StorageKindWrong       400  the artifact storage is of another kind
    │   ├── StoragePathRefused     400  a path is not allowed in an artifact storage
    │   └── Unsupported            400  the volume's backend cannot do this operation
    │       └── NoCommonNode       400  no node can copy between the two volumes
    ├── Unauthenticated            401  the request has no credential, or one that is not valid
    ├── Forbidden                  403  the secret is missing or wrong
    │   ├── PermissionDenied       403  the file system gives no right to the entry
    │   ├── AccessForbidden        403  the caller has not the permission or scope
    │   └── JobNotPermitted        403  who requested a job lost the permission before it ran
    ├── Throttled                  429  too many credentials of the caller were refused
    ├── NotFound                   404
    │   ├── VFolderNotFound        404
    │   ├── QuotaScopeNotFound     404
    │   ├── EntryNotFound          404
    │   ├── ArtifactNotFound       404  a storage or a registry has no such object or model
    │   │   ├── StorageNotFound    404  no artifact storage has this name
    │   │   ├── StoredPathNotFound 404  the artifact storage has nothing of this name
    │   │   ├── RegistryNotFound   404  no registry has this name
    │   │   └── ModelNotFound      404  the registry has no such model or revision
    │   └── JobNotFound            404
    ├── Conflict                   409
    │   ├── VFolderExists          409
    │   ├── QuotaScopeExists       409
    │   ├── QuotaScopeNotEmpty     409
    │   ├── EntryExists            409
    │   ├── EntryBusy              409  the system uses the entry; the same call may work later
    │   ├── ReadOnly               409  the volume is mounted read-only
    │   ├── Locked                 409  another job holds the vfolder; `job_id` names it
    │   ├── EndNotPublished        409  the end of the job is being published
    │   └── NotCancellable         409  the job has ended or cannot be undone any more
    ├── KeyReused                  422  an idempotency key was used before with another body
    ├── QuotaExceeded              422  the quota scope has not enough free space
    ├── NoSpace                    507  the volume has not enough free space
    ├── Unavailable                503  Redis or a node does not answer; try again later
    │   ├── NodeAway               503  no node that serves the source of a copy answers
    │   ├── StorageUnavailable     503  the storage fails now (EIO, ESTALE)
    │   │   └── VolumeUnavailable  503  what is mounted here now is not the volume
    │   ├── AccessUnavailable      503  what decides or records is away, so nothing is permitted
    │   ├── RegistryUnavailable    503  a registry does not answer, or fails for now
    │   ├── StoreUnavailable       503  Redis is away, or refuses for now (full, read-only)
    │   └── HelperDied             503  a helper process was killed; the work can continue
    ├── DeadlineExceeded           504  the storage did not answer in time
    ├── RegistryRefused            502  a registry refuses, or answers what cannot be used
    ├── BackendFailed              500  the storage system failed
    │   ├── AccessRefused          502  the storage system refuses the credentials of this service
    │   ├── RequestRefused         502  the storage system refuses what it was asked
    │   └── CopyDiffers            500  the source may have changed while it was copied
    └── Defect                     500  a defect of this service

Codes have the form `domain_operation_detail`. Each part is a word that existing clients know.
"""

from typing import Any, ClassVar

#: Begins `type` of a problem (RFC 9457 §3.1.1): a path at the door that answers, so that each door
#: explains its own errors, without another network. The rest is the `kind`.
PROBLEM_TYPE_BASE = "/problems/"


class StorageError(Exception):
    """Base class: what a problem document needs, and nothing else."""

    error_code: ClassVar[str] = "storage-proxy_generic_internal-error"
    kind: ClassVar[str] = "storage/generic"
    title: ClassVar[str] = "Storage failure"
    status: ClassVar[int] = 500
    retriable: ClassVar[bool] = False

    def __init__(self, detail: str, **facts: Any) -> None:  # noqa: ANN401 - a problem member is any JSON value
        super().__init__(detail)
        self.detail = detail
        self.facts = facts

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.detail, self.facts))

    def members(self) -> dict[str, Any]:
        """Return the members of a problem document that say what it is (RFC 9457 §3.1).

        A job that failed by it has them in `error`.
        """
        return {
            "type": PROBLEM_TYPE_BASE + self.kind,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "error_code": self.error_code,
            "retriable": self.retriable,
        }


def _rebuild(kind: type[StorageError], detail: str, facts: dict[str, Any]) -> StorageError:
    return kind(detail, **facts)


class InvalidParameters(StorageError):
    """A parameter of the request is wrong; `errors` names each field by its JSON pointer."""

    error_code = "storage-proxy_request_invalid-parameters"
    kind = "storage/invalid-api-params"
    title = "Invalid parameters"
    status = 400


class MalformedRequest(InvalidParameters):
    """The body of the request, or its form, is not what the route takes."""

    error_code = "api_parsing_bad-request"
    kind = "storage/malformed-request"
    title = "Malformed request"


class InvalidName(InvalidParameters):
    """An id or a path has a form that is not allowed."""

    error_code = "vfolder_access_invalid-parameters"
    title = "Invalid name"


class PathEscape(InvalidParameters):
    """A path leaves its vfolder."""

    error_code = "vfolder_access_invalid-parameters"
    kind = "storage/subpath/invalid"
    title = "Path leaves the vfolder"


class EntryRefused(InvalidParameters):
    """The file system refuses the path; `errno` and `paths` say how and which."""

    error_code = "vfolder_access_bad-request"
    kind = "storage/entry/refused"
    title = "The file system refused"


class UnknownVolume(InvalidParameters):
    """No volume has this name."""

    error_code = "storage_access_invalid-parameters"
    kind = "storage/volume/invalid"
    title = "Unknown volume"


class StorageKindWrong(InvalidParameters):
    """The artifact storage is of another kind than the route is for."""

    error_code = "storage_access_invalid-parameters"
    kind = "storage/object-type-invalid"
    title = "Another kind of storage"


class StoragePathRefused(InvalidParameters):
    """A path is not allowed in an artifact storage: empty, outside, or the directory itself."""

    error_code = "storage-proxy_access_invalid-parameters"
    kind = "storage/path-refused"
    title = "Path refused"


class Unsupported(InvalidParameters):
    """The volume's backend cannot do this operation."""

    error_code = "storage-proxy_request_not-implemented"
    kind = "storage/unsupported-operation"
    title = "Unsupported operation"


class NoCommonNode(Unsupported):
    """No node serves both volumes of a copy, so none can copy between them."""

    kind = "storage/copy/no-common-node"
    title = "No node serves both volumes"


class Forbidden(StorageError):
    """The secret is missing or wrong."""

    error_code = "auth_auth_unauthorized"
    kind = "storage/forbidden"
    title = "Forbidden"
    status = 403


class PermissionDenied(Forbidden):
    """The file system gives this service no right to the entry (EACCES, EPERM)."""

    error_code = "vfolder_access_unauthorized"
    kind = "storage/entry/forbidden"
    title = "Permission denied"


class AccessForbidden(Forbidden):
    """The caller is known and has not the permission; `needed` and `have` say which."""

    kind = "auth/forbidden"


class JobNotPermitted(Forbidden):
    """Who requested the job lost the permission before its run began; it had no effect."""

    error_code = "auth_execute_unauthorized"
    kind = "auth/job-not-permitted"
    title = "Not permitted any more"


class Unauthenticated(StorageError):
    """The request has no credential, or one that is not valid; why is not said to the caller.

    `invalid` is true where a credential was sent (RFC 6750 §3.1).
    """

    error_code = "auth_access_unauthorized"
    kind = "auth/unauthenticated"
    title = "Not signed in"
    status = 401

    def __init__(self, detail: str, *, invalid: bool = False, **facts: Any) -> None:  # noqa: ANN401 - a problem member is any JSON value
        super().__init__(detail, **facts)
        self.invalid = invalid

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.detail, self.facts))


class Throttled(StorageError):
    """Too many credentials of this network were refused; `retry_after` says the wait (s)."""

    error_code = "auth_access_unavailable"
    kind = "auth/throttled"
    title = "Too many failures"
    status = 429
    retriable = True


class NotFound(StorageError):
    """The requested thing does not exist."""

    error_code = "storage-proxy_read_not-found"
    kind = "storage/not-found"
    title = "Not found"
    status = 404


class VFolderNotFound(NotFound):
    """The vfolder does not exist."""

    error_code = "vfolder_read_not-found"
    kind = "storage/vfolder/not-found"
    title = "No such vfolder"


class TrashNotFound(NotFound):
    """The vfolder cannot be restored: it was never deleted, or its purge has begun or ended."""

    error_code = "vfolder_read_not-found"
    kind = "storage/trash/not-found"
    title = "Not in the trash"


class QuotaScopeNotFound(NotFound):
    """The quota scope does not exist; on this code the manager uses the limit of its policy."""

    error_code = "quota-scope_read_not-found"
    kind = "storage/quota/scope/not-found"
    title = "No such quota scope"


class EntryNotFound(NotFound):
    """The vfolder has no entry at this path."""

    error_code = "vfolder_read_not-found"
    kind = "storage/file-not-found"
    title = "No such entry"


class JobNotFound(NotFound):
    """No job has this id; an unknown id is never reported as pending."""

    error_code = "bgtask_read_not-found"
    kind = "storage/job/not-found"
    title = "No such job"


class ArtifactNotFound(NotFound):
    """A storage or a registry of artifacts has no such object or model."""


class StorageNotFound(ArtifactNotFound):
    """No artifact storage has this name."""

    error_code = "storage_read_not-found"
    kind = "storage/object-not-found"
    title = "No such artifact storage"


class StoredPathNotFound(ArtifactNotFound):
    """The artifact storage has nothing of this name."""

    error_code = "object-storage_read_not-found"
    kind = "storage/path-not-found"
    title = "No such path"


class RegistryNotFound(ArtifactNotFound):
    """No registry has this name."""

    error_code = "artifact-registry_read_not-found"
    kind = "registries/registry-not-found"
    title = "No such registry"


class ModelNotFound(ArtifactNotFound):
    """The registry has no such model, or the model has no such revision or file."""

    error_code = "artifact_read_not-found"
    kind = "registries/model-not-found"
    title = "No such model"


class Conflict(StorageError):
    """The present state forbids the operation."""

    error_code = "storage-proxy_update_conflict"
    kind = "storage/conflict"
    title = "Conflict"
    status = 409


class VFolderExists(Conflict):
    """A vfolder with this id exists already."""

    error_code = "vfolder_create_already-exists"
    kind = "storage/vfolder/already-exists"
    title = "The vfolder exists"


class QuotaScopeExists(Conflict):
    """The quota scope exists already."""

    error_code = "quota-scope_create_already-exists"
    kind = "storage/quota/scope/already-exists"
    title = "The quota scope exists"


class QuotaScopeNotEmpty(Conflict):
    """The quota scope cannot be deleted: it still has vfolders."""

    error_code = "quota-scope_purge_conflict"
    kind = "storage/quota-directory-not-empty"
    title = "The quota scope is not empty"


class EntryExists(Conflict):
    """An entry with this name exists already."""

    error_code = "vfolder_create_already-exists"
    kind = "storage/entry/already-exists"
    title = "The entry exists"


class EntryBusy(Conflict):
    """The system uses the entry (EBUSY, ETXTBSY); the same call may work later."""

    error_code = "vfolder_access_conflict"
    kind = "storage/entry/busy"
    title = "The entry is in use"
    retriable = True


class ReadOnly(Conflict):
    """The volume is mounted read-only (EROFS); no change works until that is mended."""

    error_code = "vfolder_update_conflict"
    kind = "storage/volume/read-only"
    title = "The volume is read-only"


class Locked(Conflict):
    """Another job holds the vfolder; `job_id` names it."""

    error_code = "vfolder_access_conflict"
    kind = "storage/vfolder/locked"
    title = "The vfolder is in use"
    retriable = True


class EndNotPublished(Conflict):
    """The end of the job is not published to the manager yet; that takes a moment."""

    retriable = True


class NotCancellable(Conflict):
    """The job has ended, or its effect cannot be undone any more."""

    error_code = "bgtask_update_conflict"
    kind = "storage/job/not-cancellable"
    title = "Not cancellable"


class KeyReused(StorageError):
    """The idempotency key was used before with another body."""

    error_code = "bgtask_create_conflict"
    kind = "storage/job/idempotency-key-reused"
    title = "Idempotency key reused"
    status = 422


class QuotaExceeded(StorageError):
    """The quota scope has not enough free space."""

    error_code = "quota-scope_update_conflict"
    kind = "storage/quota/exceeded"
    title = "Quota exceeded"
    status = 422


class NoSpace(StorageError):
    """The volume has not enough free space."""

    error_code = "storage_create_unavailable"
    kind = "storage/volume/no-space"
    title = "No space left on the volume"
    status = 507


class Unavailable(StorageError):
    """Redis or a node does not answer; the same call may work later."""

    error_code = "storage-proxy_request_unavailable"
    kind = "storage/unavailable"
    title = "Temporarily unavailable"
    status = 503
    retriable = True


class NodeAway(Unavailable):
    """No node that serves the source of a copy answers; the copy waits for one."""

    kind = "storage/node/away"
    title = "The source's node is away"


class StorageUnavailable(Unavailable):
    """The storage system fails now (EIO, ESTALE …); the same call may work later."""

    error_code = "storage-proxy_request_unreachable"
    kind = "storage/external/unavailable"
    title = "The storage system fails now"


class VolumeUnavailable(StorageUnavailable):
    """Nothing is mounted at the volume's path, or another file system is; nothing was done."""

    error_code = "storage_access_unavailable"
    kind = "storage/volume/unavailable"
    title = "The volume is not available"


class AccessUnavailable(Unavailable):
    """What decides about access, or records it, does not answer; so nothing is permitted."""

    error_code = "auth_access_unavailable"
    kind = "auth/unavailable"
    title = "Access cannot be decided"


class RegistryUnavailable(Unavailable):
    """A registry of artifacts does not answer, or fails for now."""

    error_code = "artifact-registry_request_unreachable"
    kind = "registries/unavailable"
    title = "The registry does not answer"


class StoreUnavailable(Unavailable):
    """Redis does not answer, or refuses for now: full, read-only, starting."""


class HelperDied(Unavailable):
    """A helper process died (killed, or out of memory); the same work can be tried again.

    A job does not fail by it: its attempt counts as lost, as if the process of the run had died.
    """

    title = "A helper process died"


class DeadlineExceeded(StorageError):
    """The storage did not answer within the deadline."""

    error_code = "storage_access_unreachable"
    kind = "storage/deadline-exceeded"
    title = "The storage did not answer in time"
    status = 504
    retriable = True


class RegistryRefused(StorageError):
    """A registry of artifacts refuses the request, or its answer cannot be used."""

    error_code = "artifact-registry_request_unreachable"
    kind = "registries/api-error"
    title = "The registry refuses"
    status = 502


class BackendFailed(StorageError):
    """The storage system failed; the detail has its own message, shortened."""

    error_code = "storage-proxy_request_unreachable"
    kind = "storage/external/failed"
    title = "The storage system failed"


class AccessRefused(BackendFailed):
    """The storage system refuses the credentials of this service, or gives them no right for this.

    The request was right, and only an operator can mend it.
    """

    kind = "storage/external/refused"
    title = "The storage system refuses this service"
    status = 502


class RequestRefused(BackendFailed):
    """The storage system answered, and refuses what it was asked; the detail has its own words.

    The same request is refused again until the storage system or the request is another.
    """

    kind = "storage/external/request-refused"
    title = "The storage system refuses the request"
    status = 502


class CopyDiffers(BackendFailed):
    """A copy differs from its source, which may have changed while it was read; a new one helps."""

    retriable = True


class Defect(StorageError):
    """A defect of this service; the log has the details under the request id or job id."""

    title = "Internal error"


class ConfigurationError(StorageError):
    """A setting stops the start; the sentence names the key and the remedy."""

    error_code = "storage-proxy_setup_invalid-parameters"
    kind = "storage/config/invalid-source"
    title = "Configuration error"


class NotYetThere(ConfigurationError):
    """What the configuration names is not there now; it may come, and a later start succeed."""

    status = 503
    retriable = True


def reported(problem: dict[str, Any], **facts: Any) -> StorageError:  # noqa: ANN401 - a problem member is any JSON value
    """Return an error that another process reported by its `members`, with facts beside them.

    What is missing (jobs that were lost too often have no status) is that of a failed backend.
    """
    known = Unavailable if problem.get("retriable") else BackendFailed
    class_members = {
        "kind": problem.get("type", known.kind).removeprefix(PROBLEM_TYPE_BASE),
        **{
            name: problem.get(name, getattr(known, name))
            for name in ("title", "status", "error_code", "retriable")
        },
    }
    kind: type[StorageError] = type("Reported", (StorageError,), class_members)
    return kind(problem["detail"], **facts)
