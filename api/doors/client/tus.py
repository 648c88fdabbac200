"""tus 1.0.0 (https://tus.io/protocols/resumable-upload): its headers, their limits, its errors."""

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
#: Largest number of bytes that a header may carry (2^63 - 1, the limit of a file).
NUMBER_MAX = 2**63 - 1
#: Longest `Upload-Metadata`, in characters: each record in the store may hold as much.
METADATA_MAX = 4_096

#: The implemented extensions; `Tus-Extension` is this list. Each function that implements one adds
#: its name with `implements`.
EXTENSIONS: list[str] = []

#: Keys of `Upload-Metadata` with the path of the file below a directory ticket, best first.
_PATH_KEYS = ("relativePath", "filename", "name")
#: What clients send for a name that they do not have: `String(null)` of JavaScript, and nothing.
_NO_NAMES = frozenset({"", "null", "undefined"})
_DRIVE = re.compile(r"[A-Za-z]:/")
_NUMBER = re.compile(r"\d{1,19}", re.ASCII)
_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]+")

#: Headers that a browser may send and read; every client relies on the first five.
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
    "If-None-Match",
    "If-Match",
    "X-Requested-With",
    "X-Request-ID",
    "Location",
    "Retry-After",
)


Function = TypeVar("Function", bound=Callable[..., Any])


class UnknownVersion(StorageError):
    """The client speaks another version of tus."""

    error_code = "api_request_invalid-parameters"
    kind = "storage/tus-version"
    title = "Unknown tus version"
    status = HTTPStatus.PRECONDITION_FAILED


class WrongContentType(StorageError):
    """The content type of the body is not that of upload bytes."""

    error_code = "api_parsing_bad-request"
    kind = "storage/tus-content-type"
    title = "Wrong content type"
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class TooLong(StorageError):
    """The upload has more bytes than announced, or than the ticket or this service allows."""

    error_code = "storage-proxy_request_invalid-parameters"
    kind = "storage/upload-too-long"
    title = "Too many bytes"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class ChecksumMismatch(StorageError):
    """The body does not have the announced checksum; no byte of it was kept."""

    error_code = "storage-proxy_update_mismatch"
    kind = "storage/upload-checksum-mismatch"
    title = "Checksum mismatch"
    status = 460
    retriable = True


class FinalUpload(StorageError):
    """Only its parts write a concatenated upload."""

    error_code = "storage-proxy_update_conflict"
    kind = "storage/upload-final"
    title = "A final upload takes no bytes"
    status = HTTPStatus.FORBIDDEN


def implements(*extensions: str) -> Callable[[Function], Function]:
    """Mark a function that implements an extension; the extension is then announced."""

    def mark(function: Function) -> Function:
        EXTENSIONS.extend(extensions)
        return function

    return mark


def check_version(headers: Headers) -> bool:
    """Return whether the client says that it speaks tus; older clients of ours do not say it.

    Raises:
        UnknownVersion: the client speaks another version.
    """
    version = headers.get("Tus-Resumable")
    if version is not None and version != VERSION:
        raise UnknownVersion(f"This service speaks tus {VERSION}.")
    return version is not None


def check_content_type(headers: Headers) -> None:
    """Check that the body is announced as upload bytes.

    Raises:
        WrongContentType: it is announced as something else.
    """
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != CONTENT_TYPE:
        raise WrongContentType(f"Send upload bytes as {CONTENT_TYPE}.")


def number(headers: Headers, name: str) -> int | None:
    """Return a header that is a number of bytes; None when it is absent.

    Raises:
        InvalidParameters: the header is no number of bytes.
    """
    text = headers.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text.strip()) or int(text) > NUMBER_MAX:
        raise InvalidParameters(f"{name} is a number of bytes.", data={name: "not a number"})
    return int(text)


def offset(headers: Headers) -> int:
    """Return `Upload-Offset`, which a PATCH must have.

    Raises:
        InvalidParameters: the header is absent or no number.
    """
    upload_offset = number(headers, "Upload-Offset")
    if upload_offset is None:
        raise InvalidParameters("Upload-Offset is missing.", data={"Upload-Offset": "missing"})
    return upload_offset


def length(headers: Headers) -> int | None:
    """Return the length that a creation announces; None when a later request announces it.

    Raises:
        InvalidParameters: neither `Upload-Length` nor `Upload-Defer-Length: 1` is there, or both.
    """
    announced, deferred = number(headers, "Upload-Length"), headers.get("Upload-Defer-Length")
    if deferred not in (None, "1") or (announced is None) == (deferred is None):
        raise InvalidParameters("Send either Upload-Length or Upload-Defer-Length: 1.")
    return announced


def metadata(headers: Headers) -> dict[str, str]:
    """Return `Upload-Metadata`: keys with base64 values; a key alone has an empty value.

    Raises:
        InvalidParameters: it is malformed, too long, or has a key twice.
    """
    text = headers.get("Upload-Metadata", "")
    if len(text) > METADATA_MAX:
        raise InvalidParameters(f"Upload-Metadata is longer than {METADATA_MAX} characters.")
    values: dict[str, str] = {}
    for pair in filter(None, (piece.strip() for piece in text.split(","))):
        key, _, value = pair.partition(" ")
        if not _KEY.fullmatch(key) or key in values:
            raise InvalidParameters("Upload-Metadata has a malformed key, or a key twice.")
        values[key] = _decoded(value.strip()).decode("utf-8", "surrogateescape")
    return values


def file_path(metadata: Mapping[str, str]) -> str:
    """Return the path of the file that the metadata names, below the directory of a ticket.

    Raises:
        InvalidParameters: no key has a name; or it is a path of Windows, which would become the
            name of a file here.
    """
    given = {key: metadata[key] for key in _PATH_KEYS if metadata.get(key, "") not in _NO_NAMES}
    if not given:
        raise InvalidParameters(
            f"Name the file in Upload-Metadata: {', '.join(_PATH_KEYS)}.",
            data={"Upload-Metadata": "has no name of the file"},
        )
    key, path = next(iter(given.items()))
    if "\\" in path or _DRIVE.match(path):
        raise InvalidParameters(
            f"{key} in Upload-Metadata is a path of Windows; write it relative, with '/'.",
            data={"Upload-Metadata": f"{key} has a backslash or a drive"},
        )
    return path


def checksum(headers: Headers, known: Mapping[str, object]) -> tuple[str, bytes] | None:
    """Return `Upload-Checksum`: the algorithm and the digest; None when it is absent.

    Raises:
        InvalidParameters: it is malformed, or the algorithm is not offered.
    """
    text = headers.get("Upload-Checksum")
    if text is None:
        return None
    algorithm, _, value = text.strip().partition(" ")
    if algorithm not in known:
        raise InvalidParameters(f"Checksums are: {', '.join(sorted(known))}.")
    return algorithm, _decoded(value.strip())


def concat(headers: Headers) -> tuple[str, list[str]]:
    """Return `Upload-Concat`: `partial`, or `final` with the ids of its parts, or an empty word.

    Raises:
        InvalidParameters: the header is something else.
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
