"""The words of tus 1.0.0 (https://tus.io/protocols/resumable-upload): headers, limits, refusals."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from werkzeug.datastructures import Headers

from core.errors import InvalidParameters, StorageError

VERSION = "1.0.0"
CONTENT_TYPE = "application/offset+octet-stream"
#: Largest number that a header may carry (2^63 - 1, what a file can hold).
NUMBER_MAX = 2**63 - 1
#: Longest `Upload-Metadata` taken, in characters.
METADATA_MAX = 8_000

#: The extensions that are wired, each named where it is done; `Tus-Extension` is this list.
EXTENSIONS: list[str] = []

_NUMBER = re.compile(r"\d{1,19}", re.ASCII)
_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]+")

#: What a browser may send and read; the first five are what every client relies on.
HEADERS = (
    "Tus-Resumable",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "Content-Type",
    "Upload-Defer-Length",
    "Upload-Concat",
    "Upload-Checksum",
    "Upload-Expires",
    "Upload-Job",
    "Upload-Job-State",
    "Tus-Version",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Checksum-Algorithm",
    "X-HTTP-Method-Override",
    "X-Requested-With",
    "X-Request-ID",
    "Location",
    "Retry-After",
)


Done = TypeVar("Done", bound=Callable[..., Any])


class UnknownVersion(StorageError):
    """The client speaks another version of tus."""

    error_code = "api_request_invalid-parameters"
    kind = "storage/tus-version"
    title = "Unknown tus version"
    status = HTTPStatus.PRECONDITION_FAILED


class WrongContentType(StorageError):
    """The body is not announced as upload bytes."""

    error_code = "api_parsing_bad-request"
    kind = "storage/tus-content-type"
    title = "Wrong content type"
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class TooLong(StorageError):
    """More bytes than announced, or than the ticket or this service allow."""

    error_code = "storage-proxy_request_invalid-parameters"
    kind = "storage/upload-too-long"
    title = "Too many bytes"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class ChecksumMismatch(StorageError):
    """The body does not have the checksum announced; nothing of it was kept."""

    error_code = "storage-proxy_update_mismatch"
    kind = "storage/upload-checksum-mismatch"
    title = "Checksum mismatch"
    status = 460
    retriable = True


class FinalUpload(StorageError):
    """A concatenated upload is written by its parts alone."""

    error_code = "storage-proxy_update_conflict"
    kind = "storage/upload-final"
    title = "A final upload takes no bytes"
    status = HTTPStatus.FORBIDDEN


def does(*extensions: str) -> Callable[[Done], Done]:
    """Mark the function that does an extension, which is what makes it announced."""

    def mark(function: Done) -> Done:
        EXTENSIONS.extend(extensions)
        return function

    return mark


def check_version(headers: Headers) -> bool:
    """Whether the client says that it speaks tus; one that says nothing is an older client of ours.

    Raises:
        UnknownVersion: it speaks another version.
    """
    version = headers.get("Tus-Resumable")
    if version is not None and version != VERSION:
        raise UnknownVersion(f"This service speaks tus {VERSION}.")
    return version is not None


def check_content_type(headers: Headers) -> None:
    """Refuse bytes that are announced as something else.

    Raises:
        WrongContentType: they are.
    """
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != CONTENT_TYPE:
        raise WrongContentType(f"Send upload bytes as {CONTENT_TYPE}.")


def number(headers: Headers, name: str) -> int | None:
    """A header that is a count of bytes; None when absent.

    Raises:
        InvalidParameters: it is no such count.
    """
    text = headers.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text.strip()) or int(text) > NUMBER_MAX:
        raise InvalidParameters(f"{name} is a number of bytes.", data={name: "not a number"})
    return int(text)


def offset(headers: Headers) -> int:
    """`Upload-Offset`, which a PATCH must have.

    Raises:
        InvalidParameters: absent or no number.
    """
    found = number(headers, "Upload-Offset")
    if found is None:
        raise InvalidParameters("Upload-Offset is missing.", data={"Upload-Offset": "missing"})
    return found


def length(headers: Headers) -> int | None:
    """The length a creation announces; None when it is to be told later.

    Raises:
        InvalidParameters: neither `Upload-Length` nor `Upload-Defer-Length: 1`, or both.
    """
    told, deferred = number(headers, "Upload-Length"), headers.get("Upload-Defer-Length")
    if deferred not in (None, "1") or (told is None) == (deferred is None):
        raise InvalidParameters("Send either Upload-Length or Upload-Defer-Length: 1.")
    return told


def metadata(headers: Headers) -> dict[str, str]:
    """`Upload-Metadata`: keys with base64 values; a key alone has an empty value.

    Raises:
        InvalidParameters: malformed, too long, or a key twice.
    """
    text = headers.get("Upload-Metadata", "")
    if len(text) > METADATA_MAX:
        raise InvalidParameters(f"Upload-Metadata is longer than {METADATA_MAX} characters.")
    found: dict[str, str] = {}
    for pair in filter(None, (piece.strip() for piece in text.split(","))):
        key, _, value = pair.partition(" ")
        if not _KEY.fullmatch(key) or key in found:
            raise InvalidParameters("Upload-Metadata has a key that is malformed or there twice.")
        found[key] = _decoded(value.strip()).decode("utf-8", "surrogateescape")
    return found


def checksum(headers: Headers, known: Mapping[str, object]) -> tuple[str, bytes] | None:
    """`Upload-Checksum`: the algorithm and the digest; None when absent.

    Raises:
        InvalidParameters: malformed, or an algorithm not offered.
    """
    text = headers.get("Upload-Checksum")
    if text is None:
        return None
    algorithm, _, value = text.strip().partition(" ")
    if algorithm not in known:
        raise InvalidParameters(f"Checksums are: {', '.join(sorted(known))}.")
    return algorithm, _decoded(value.strip())


def concat(headers: Headers) -> tuple[str, list[str]]:
    """`Upload-Concat`: `partial`, or `final` with the ids of its parts, or an empty word.

    Raises:
        InvalidParameters: anything else.
    """
    text = headers.get("Upload-Concat", "").strip()
    if text in ("", "partial"):
        return text, []
    word, _, urls = text.partition(";")
    ids = [url.partition("?")[0].rstrip("/").rpartition("/")[2] for url in urls.split()]
    if word != "final" or not ids or not all(ids) or len(set(ids)) != len(ids):
        raise InvalidParameters("Upload-Concat is `partial`, or `final;` and the parts' URLs.")
    return "final", ids


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameters("A value is not base64.") from None
