"""Errors of object storage: what an answer of S3, or none, means. No text has a secret.

Texts name the operation and the code of the answer. They leave out its message, which may repeat
what was sent: keys, signatures, the text that was signed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
)
from botocore.exceptions import (
    ConnectionError as NoConnection,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from core.errors import (
    AccessRefused,
    BackendFailed,
    Conflict,
    InvalidParameters,
    NoSpace,
    NotFound,
    QuotaExceeded,
    StorageError,
    StorageUnavailable,
)


class ObjectNotFound(NotFound):
    """The bucket has no object of this key."""

    error_code = "object-storage_read_not-found"
    kind = "storage/object-not-found"
    title = "No such object"


class BucketNotFound(NotFound):
    """The endpoint has no bucket of this name."""

    error_code = "object-storage_read_not-found"
    kind = "storage/bucket/object-not-found"
    title = "No such bucket"


class MultipartNotFound(NotFound):
    """The multipart upload was completed or aborted."""

    error_code = "object-storage_read_not-found"
    kind = "storage/object/upload-not-found"
    title = "No such multipart upload"


class ObjectChanged(Conflict):
    """A precondition failed: the object is another one now, or one is there already."""

    error_code = "object-storage_update_conflict"
    kind = "storage/object/changed"
    title = "The object is another one"


class ObjectRefused(InvalidParameters):
    """The storage does not take the request: a key, a size or a range of it."""

    error_code = "object-storage_access_invalid-parameters"
    kind = "storage/object/refused"
    title = "The object storage refused"


class ObjectStorageFailed(BackendFailed):
    """The storage lacks a function, or answers nonsense."""

    error_code = "object-storage_request_internal-error"
    kind = "storage/object-storage/failed"
    title = "The object storage failed"


class ObjectStorageDenied(AccessRefused, ObjectStorageFailed):
    """The storage refuses the credentials, or there are none, or they lack a right."""


class ObjectStorageUnavailable(StorageUnavailable):
    """The storage does not answer, or is overloaded; the same call may work later."""

    error_code = "object-storage_request_unavailable"
    kind = "storage/object-storage/unavailable"
    title = "The object storage does not answer"


_OVERLOADED = "The object storage cannot do {operation} now ({code})."
_DENIED = "The object storage refuses {operation} ({code})."
_CREDENTIALS = "The object storage refuses {operation} with these credentials or region ({code})."
#: What a code of an answer means: those of Amazon S3, then those of MinIO and Ceph.
_KNOWN: dict[str, tuple[type[StorageError], str]] = {
    "NoSuchKey": (ObjectNotFound, "The bucket has no such object."),
    "NoSuchVersion": (ObjectNotFound, "The bucket has no such version of the object."),
    "NoSuchBucket": (BucketNotFound, "The endpoint has no such bucket."),
    "NoSuchUpload": (MultipartNotFound, "The multipart upload was completed or aborted."),
    "RequestTimeTooSkewed": (
        ObjectStorageFailed,
        "The clocks of this node and of the object storage differ by more than 15 minutes.",
    ),
    **dict.fromkeys(
        ("XMinioStorageFull", "InsufficientCapacity"), (NoSpace, "The object storage is full.")
    ),
    **dict.fromkeys(
        ("QuotaExceeded", "XMinioAdminBucketQuotaExceeded"),
        (QuotaExceeded, "The bucket is at its limit."),
    ),
    **dict.fromkeys(
        ("PreconditionFailed", "ConditionalRequestConflict", "NotModified"),
        (ObjectChanged, "The object is another one now, or exists already."),
    ),
    **dict.fromkeys(
        (
            *("AccessDenied", "AccountProblem", "AllAccessDisabled", "InvalidAccessKeyId"),
            *("SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "InvalidSecurity"),
            *("AuthorizationHeaderMalformed", "UnauthorizedAccess", "Forbidden"),
        ),
        (ObjectStorageDenied, _CREDENTIALS),
    ),
    **dict.fromkeys(
        (
            *("SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "Throttling"),
            *("ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded"),
            *("RequestTimeout", "InternalError", "OperationAborted", "XMinioServerNotInitialized"),
        ),
        (ObjectStorageUnavailable, _OVERLOADED),
    ),
    **dict.fromkeys(
        (
            *("EntityTooLarge", "EntityTooSmall", "InvalidPart", "InvalidPartOrder"),
            *("InvalidRange", "KeyTooLongError", "InvalidArgument", "InvalidRequest", "BadDigest"),
            *("InvalidURI", "InvalidDigest", "InvalidObjectName", "MetadataTooLarge"),
            *("InvalidObjectState", "XMinioInvalidObjectName", "XMinioParentIsObject"),
            "ExistingObjectIsDirectory",
        ),
        (ObjectRefused, _DENIED),
    ),
}
#: The codes of answers to HEAD, which have no body: the status is all there is.
_BY_STATUS = {
    HTTPStatus.NOT_FOUND: "NoSuchKey",
    HTTPStatus.FORBIDDEN: "AccessDenied",
    HTTPStatus.UNAUTHORIZED: "AccessDenied",
    HTTPStatus.BAD_REQUEST: "InvalidRequest",
    HTTPStatus.PRECONDITION_FAILED: "PreconditionFailed",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "InvalidRange",
    HTTPStatus.TOO_MANY_REQUESTS: "SlowDown",
    HTTPStatus.CONFLICT: "OperationAborted",
    HTTPStatus.INSUFFICIENT_STORAGE: "XMinioStorageFull",
}
#: What botocore raises when there is no usable answer, and what a body raises that is cut short.
NO_ANSWER = (HTTPClientError, NoConnection, HTTPError, OSError)


def code_of(error: ClientError) -> str:
    """Return the code of an answer; that of its status where the answer has no body."""
    code = error.response.get("Error", {}).get("Code") or ""
    if code and not code.isdigit():
        return code
    status = status_of(error)
    return _BY_STATUS.get(HTTPStatus(status), code) if status in set(HTTPStatus) else code


def status_of(error: ClientError) -> int:
    """Return the HTTP status of an answer; 0 when it is unknown."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)


def failure(error: Exception, operation: str) -> StorageError:
    """Return the error of ours that an exception of botocore means."""
    if isinstance(error, ClientError):
        return _answered(code_of(error), status_of(error), operation)
    name = type(error).__name__
    if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return ObjectStorageFailed(
            "The certificate of the object storage is not trusted; name the authority that signed "
            "it in the settings."
        )
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return ObjectStorageDenied(
            f"There are no usable credentials for the object storage ({name})."
        )
    if isinstance(error, ProfileNotFound):
        return ObjectStorageDenied("The files of AWS have no such profile of credentials.")
    if isinstance(error, NO_ANSWER):
        return ObjectStorageUnavailable(f"The object storage did not answer {operation} ({name}).")
    return ObjectStorageFailed(f"The request {operation} to the object storage failed ({name}).")


def _answered(code: str, status: int, operation: str) -> StorageError:
    """Return the error that a code means; without a known code, the status decides."""
    if known := _KNOWN.get(code):
        kind, sentence = known
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
        kind, sentence = ObjectStorageUnavailable, _OVERLOADED
    else:
        kind, sentence = ObjectStorageFailed, _DENIED
    words = sentence.format(operation=operation, code=code or status)
    return kind(words, s3_code=code, s3_operation=operation)


def check_later(code: str, operation: str) -> None:
    """Raise for the code of a part of an answer that asks for the same call later.

    Raises:
        ObjectStorageUnavailable: the storage is overloaded.
    """
    if _KNOWN.get(code, (None, ""))[0] is ObjectStorageUnavailable:
        raise _answered(code, 0, operation)


@contextmanager
def storage_errors(operation: str) -> Iterator[None]:
    """Raise the error of ours for what botocore raises in the block.

    Raises:
        ObjectNotFound, BucketNotFound, MultipartNotFound: it does not exist.
        ObjectChanged: a precondition failed.
        ObjectRefused: a key, size or range of the request is not possible.
        NoSpace, QuotaExceeded: the storage or the bucket is full.
        ObjectStorageUnavailable: there was no answer, or the storage is overloaded.
        ObjectStorageDenied: the credentials are refused, missing, or without a right.
        ObjectStorageFailed: anything else.
    """
    try:
        yield
    except (ClientError, BotoCoreError, ResponseParserError, HTTPError, OSError) as error:
        raise failure(error, operation) from None
