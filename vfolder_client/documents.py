"""What the doors answer, with types, and how they take names, moments and addresses.

Unknown values are None; `document` has every member.
"""

import ipaddress
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote_from_bytes, urlsplit


def moment(text: str | None) -> datetime | None:
    """Return a moment of an answer (RFC 3339); None is unknown, or no end."""
    return None if text is None else datetime.fromisoformat(text)


def moment_text(value: datetime | str | None) -> str | None:
    """Return a moment as the doors take it.

    Raises:
        ValueError: it has no offset, so it could mean any of many moments.
    """
    if value is None or isinstance(value, str):
        return value
    if value.tzinfo is None:
        raise ValueError("The moment needs a time zone.")
    return value.isoformat()


def in_query(**values: Any) -> str:  # noqa: ANN401 - texts, numbers, flags
    """Return a query; None is left out. A name of any bytes is percent-encoded as these bytes."""
    given = {name: value for name, value in values.items() if value is not None}
    texts = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in given.items()
    }
    pairs = (f"{name}={quote_from_bytes(_bytes(text), '/')}" for name, text in texts.items())
    return "&".join(pairs)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def name_bytes(path: str) -> bytes:
    """Return a path as the bytes that the volume has; undecodable ones came as lone surrogates."""
    return _bytes(path)


def joined(directory: str, name: str) -> str:
    """Return the path of a name in a directory; the root is empty."""
    return f"{directory}/{name}" if directory else name


def normal_path(path: str) -> str:
    """Return a path below a vfolder without empty parts; `..` stays for the door to refuse."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def is_safe_name(name: str) -> bool:
    """Return whether a name of the door can become the name of a local entry."""
    return name not in ("", os.curdir, os.pardir) and not {"/", "\0", os.sep} & set(name)


def is_private(url: str) -> bool:
    """Return whether no one on the way can read what goes to a URL: https, or this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, directory or symlink of a vfolder."""

    #: Below the vfolder; empty is its root.
    path: str
    kind: str
    size_bytes: int | None
    mode: int | None
    modified_at: datetime | None
    changed_at: datetime | None
    symlink_target: str | None
    #: Of a file that was looked at by `stat`: changes with its content.
    etag: str | None = None
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def is_file(self) -> bool:
        """Whether it has content."""
        return self.kind == "file"

    @property
    def is_directory(self) -> bool:
        """Whether it has entries."""
        return self.kind == "directory"

    @classmethod
    def of(cls, document: Mapping[str, Any], path: str) -> "Entry":
        """Return the entry of a row of a list, or of a look at it."""
        return cls(
            path=path,
            kind=document["kind"],
            size_bytes=document.get("size_bytes"),
            mode=document.get("mode"),
            modified_at=moment(document.get("modified_at")),
            changed_at=moment(document.get("changed_at")),
            symlink_target=document.get("symlink_target"),
            document=dict(document),
        )

    def with_etag(self, etag: str | None) -> "Entry":
        """Return the entry with the tag of its content."""
        return replace(self, etag=etag)


#: What a directory without a row of its own looks like: the root of a vfolder.
ROOT = Entry("", "directory", None, None, None, None, None)


@dataclass(frozen=True, slots=True)
class VFolderInfo:
    """What the caller may know of a vfolder."""

    id: str
    volume: str
    name: str | None
    owner: str
    owner_name: str
    permission: str
    permission_via: str
    group_permission: str
    trashed: bool
    revision: int
    expires_at: datetime | None
    used_bytes: int | None
    limit_bytes: int | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def reference(self) -> str:
        """The name that is never ambiguous: `VOLUME:ID`."""
        return f"{self.volume}:{self.id}"

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "VFolderInfo":
        """Return the vfolder of an answer."""
        owner, usage = document["owner"], document.get("usage") or {}
        return cls(
            id=document["id"],
            volume=document["volume"],
            name=document.get("name"),
            owner=f"{owner['kind']}:{owner['id']}",
            owner_name=owner.get("name", ""),
            permission=document["permission"],
            permission_via=document.get("permission_via", ""),
            group_permission=document.get("group_permission", "none"),
            trashed=bool(document.get("trashed")),
            revision=document["revision"],
            expires_at=moment(document.get("expires_at")),
            used_bytes=usage.get("used_bytes"),
            limit_bytes=usage.get("limit_bytes"),
            document=dict(document),
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """A permission of a user or group on a vfolder."""

    id: str
    to: str
    permission: str
    source: str
    expires_at: datetime | None
    note: str
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Grant":
        """Return the grant of an answer."""
        return cls(
            id=document["id"],
            to=document["to"],
            permission=document["permission"],
            source=document.get("source", "local"),
            expires_at=moment(document.get("expires_at")),
            note=document.get("note", ""),
            document=dict(document),
        )


@dataclass(frozen=True, slots=True)
class Ticket:
    """A URL for one act, for a browser or a tool that sends no header."""

    url: str = field(repr=False)
    expires_at: datetime | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Ticket":
        """Return the ticket of an answer."""
        return cls(document["url"], moment(document.get("expires_at")), dict(document))


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the caller. `key` is its text, known only when it is made or rotated."""

    id: str
    name: str
    scopes: tuple[str, ...]
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    key: str | None = field(repr=False)
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "ApiKey":
        """Return the key of an answer."""
        return cls(
            id=document["id"],
            name=document.get("name", ""),
            scopes=tuple(document.get("scopes") or ()),
            expires_at=moment(document.get("expires_at")),
            last_used_at=moment(document.get("last_used_at")),
            revoked_at=moment(document.get("revoked_at")),
            key=document.get("key"),
            document=dict(document),
        )


@dataclass(frozen=True, slots=True)
class Quota:
    """What a scope holds on a volume, or over all (`volume` is None), and may hold."""

    view: str
    scope: str
    volume: str | None
    limit_bytes: int | None
    used_bytes: int | None
    left_bytes: int | None
    as_of: datetime | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Quota":
        """Return the quota of an answer."""
        names = ("view", "scope", "volume", "limit_bytes", "used_bytes", "left_bytes")
        values = {name: document[name] for name in names}
        return cls(**values, as_of=moment(document["as_of"]), document=dict(document))


@dataclass(frozen=True, slots=True)
class Notice:
    """What concerns the caller; `document` has the members of its `kind`."""

    id: str
    kind: str
    at: datetime | None
    read: bool
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Notice":
        """Return the notice of an answer."""
        at = moment(document["at"])
        return cls(document["id"], document["kind"], at, document["read"], dict(document))


@dataclass(frozen=True, slots=True)
class KnownSubject:
    """A user or group to share with; the name is None where it is not known."""

    kind: str
    id: str
    name: str | None

    @property
    def word(self) -> str:
        """Return what a grant names it by: `user:UUID` or `group:UUID`."""
        return f"{self.kind}:{self.id}"


@dataclass(frozen=True, slots=True)
class DirectoryResult:
    """What became of one directory that was to be made; `problem` is None where it is there."""

    path: str
    problem: Mapping[str, Any] | None
