"""Objects as answers of S3 show them, and the keys that they can have.

The marker of a directory has the attributes of the directory as metadata, and again as parameters
of its content type (RFC 9110 §8.3.1): SeaweedFS keeps no metadata of markers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backends.systems.s3.errors import ObjectRefused
from backends.systems.s3.multipart import bare

KEY_BYTES_MAX = 1024
DEFAULT_CONTENT_TYPE = "application/octet-stream"
#: The content type of a marker, as s3fs writes it.
DIRECTORY_TYPE = "application/x-directory"
#: What a parameter of a content type is without quotes (RFC 9110 §5.6.2).
_TOKEN = re.compile(r"[0-9A-Za-z!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing shows it; the ETag has no quotes."""

    key: str
    size: int
    etag: str
    modified: datetime | None


@dataclass(frozen=True, slots=True)
class ObjectHead(StoredObject):
    """An object with what belongs to it; the names in `metadata` are in lower case."""

    content_type: str = DEFAULT_CONTENT_TYPE
    metadata: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """A page of a listing. It may have prefixes only. No cursor: there is no next page."""

    objects: tuple[StoredObject, ...]
    prefixes: tuple[str, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class NotDeleted:
    """An object that is still there, and the storage's code for the reason."""

    key: str
    code: str
    version: str | None = None


def check_key(key: str) -> None:
    """Check that an object can have a key.

    Raises:
        ObjectRefused: it is empty, over 1,024 bytes, or no text in UTF-8.
    """
    length = key_length(key)
    if not 0 < length <= KEY_BYTES_MAX:
        raise ObjectRefused(f"A key has 1 to {KEY_BYTES_MAX} bytes; this one has {length}.")


def key_length(key: str) -> int:
    """Return the bytes of a key.

    Raises:
        ObjectRefused: it is no text in UTF-8.
    """
    try:
        return len(key.encode())
    except UnicodeEncodeError:
        raise ObjectRefused("A key is text in UTF-8.") from None


def directory_type(metadata: Mapping[str, str]) -> str:
    """Return the content type of the marker of a directory with this metadata."""
    tokens = [f"{name}={text}" for name, text in metadata.items() if _TOKEN.fullmatch(text)]
    return "; ".join([DIRECTORY_TYPE, *tokens])


def directory_metadata(marker: ObjectHead) -> Mapping[str, str]:
    """Return the metadata of a marker; where it has none, what its content type says."""
    kind, *parameters = marker.content_type.split(";")
    if marker.metadata or kind.strip() != DIRECTORY_TYPE:
        return marker.metadata
    pairs = (one.strip().partition("=") for one in parameters)
    return {name.lower(): text for name, is_pair, text in pairs if is_pair}


def given(**arguments: str | None) -> dict[str, str]:
    """Return the arguments that have a value; boto3 takes no None."""
    return {name: value for name, value in arguments.items() if value is not None}


def stored(one: Mapping[str, Any]) -> StoredObject:
    """Return an object of a page of a listing."""
    return StoredObject(one["Key"], one["Size"], bare(one.get("ETag", "")), one.get("LastModified"))
