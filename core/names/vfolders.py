"""Names of quota scopes, of vfolders and of the paths inside them.

Text from a caller is not trusted. It is parsed once, where it enters, into values that are valid by
construction.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Self
from uuid import UUID

from core.errors import InvalidName, PathEscape

#: POSIX NAME_MAX: the longest entry name in bytes.
NAME_MAX_BYTES = 255
#: Longest path inside a vfolder that a request may name, in bytes (Linux PATH_MAX).
PATH_MAX_BYTES = 4096

#: Requests name the same vfolders many times: this many are parsed and printed only once.
_VFOLDERS_KNOWN = 1024

_DASHED = "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_ID = f"(?:[0-9a-fA-F]{{32}}|{_DASHED})"
#: The text forms as regular expressions (the common subset of Python, ECMA 262 and RE2).
SCOPE_PATTERN = f"^(?:[uU][sS][eE][rR]|[pP][rR][oO][jJ][eE][cC][tT]):{_ID}$"
VFOLDER_PATTERN = f"^(?:(?:[uU][sS][eE][rR]|[pP][rR][oO][jJ][eE][cC][tT]):{_ID}/)?{_ID}$"
_SCOPE_TEXT = re.compile(r"[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*:[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*")
_UUID_TEXT = re.compile(_ID)


def _parse_uuid(text: str, what: str) -> UUID:
    if not _UUID_TEXT.fullmatch(text):
        raise InvalidName(f"{what} is not a UUID of 32 hexadecimal digits, with or without dashes.")
    return UUID(text)


class ScopeKind(StrEnum):
    """The kind of owner of a quota scope."""

    USER = "user"
    PROJECT = "project"


@dataclass(frozen=True, slots=True, order=True)
class QuotaScope:
    """The owner that a limit applies to; prints as `user:<dashed uuid>`."""

    kind: ScopeKind
    id: UUID

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `user:<uuid>` or `project:<uuid>`; the kind may be in upper case.

        Raises:
            InvalidName: the text has another form.
        """
        if not _SCOPE_TEXT.fullmatch(text):
            raise InvalidName("A quota scope is written user:<uuid> or project:<uuid>.")
        kind, _, rest = text.partition(":")
        if kind.lower() not in list(ScopeKind):
            raise InvalidName("The kind of a quota scope is user or project.")
        return cls(ScopeKind(kind.lower()), _parse_uuid(rest, "The id of the quota scope"))

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.id}"

    @property
    def directory(self) -> str:
        """Return the name of its directory below the volume: 32 hexadecimal digits, no kind."""
        return self.id.hex


@dataclass(frozen=True, slots=True, order=True)
class VFolderId:
    """A virtual folder; prints as `<scope>/<32 hex>`, a legacy one without scope as `<32 hex>`."""

    scope: QuotaScope | None
    id: UUID

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `<scope>/<uuid>`; a bare `<uuid>` is a legacy id without scope.

        Raises:
            InvalidName: the text has another form.
        """
        return cls(*_vfolder_parts(text))

    def __str__(self) -> str:
        return f"{self.scope}/{self.id.hex}" if self.scope else self.id.hex

    @property
    def directory(self) -> PurePosixPath:
        """Return its path below the volume: `<scope>/<2>/<2>/<28>`. Agents mount this path."""
        return _directory_of(self.scope, self.id)


@lru_cache(_VFOLDERS_KNOWN)
def _vfolder_parts(text: str) -> tuple[QuotaScope | None, UUID]:
    head, slash, tail = text.partition("/")
    scope = QuotaScope.parse(head) if slash else None
    return scope, _parse_uuid(tail if slash else head, "The vfolder id")


@lru_cache(_VFOLDERS_KNOWN)
def _directory_of(scope: QuotaScope | None, vfolder: UUID) -> PurePosixPath:
    digits = vfolder.hex
    below = PurePosixPath(digits[0:2], digits[2:4], digits[4:])
    return scope.directory / below if scope else below


@dataclass(frozen=True, slots=True)
class VFolderPath:
    """A path relative to a vfolder: no `..`, no NUL, not absolute. No parts means the root."""

    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a path as clients write it: `""`, `"."`, `"./a"` and `"a//b/"` are all valid.

        A `..` removes the part before it, whatever that part is on the volume: `"a/../b"` is `b`.
        A name that is not UTF-8 travels as lone surrogates (PEP 383) and keeps its bytes.

        Raises:
            InvalidName: the path has a NUL byte, a name over 255 bytes, over 4096 bytes in all, or
                text that cannot be encoded.
            PathEscape: the path is absolute, or leaves the vfolder by a `..`.
        """
        if "\0" in text:
            raise InvalidName("A path may not contain a NUL byte.")
        if text.startswith("/"):
            raise PathEscape("A path is relative to the vfolder; this one is absolute.")
        parts = _normalised(text)
        sizes = [_encoded_size(part) for part in parts]
        if any(size > NAME_MAX_BYTES for size in sizes):
            raise InvalidName(f"A name is longer than {NAME_MAX_BYTES} bytes.")
        if sum(sizes) + len(sizes) > PATH_MAX_BYTES:
            raise InvalidName(f"A path is longer than {PATH_MAX_BYTES} bytes.")
        return cls(parts)

    def __str__(self) -> str:
        return "/".join(self.parts) or "."

    def __truediv__(self, other: "VFolderPath") -> "VFolderPath":
        return VFolderPath(self.parts + other.parts)

    @property
    def name(self) -> str:
        """Return the last part; empty for the root."""
        return self.parts[-1] if self.parts else ""

    @property
    def parent(self) -> "VFolderPath":
        """Return the path without its last part; the root is its own parent."""
        return VFolderPath(self.parts[:-1])

    @property
    def is_root(self) -> bool:
        """Return whether it names the vfolder itself."""
        return not self.parts


def _normalised(text: str) -> tuple[str, ...]:
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            if not parts:
                raise PathEscape("A path may not leave the vfolder by '..'.")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return tuple(parts)


def _encoded_size(name: str) -> int:
    try:
        return len(name.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise InvalidName("A name has a character that no file system can store.") from error
