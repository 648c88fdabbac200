"""Permissions on a vfolder, in their order, and the scopes that bound a credential."""

from enum import IntEnum, StrEnum
from typing import Self

from core.errors import InvalidParameters

#: What the manager calls `rwd`.
_MANAGER_WORD = "wd"


class Permission(IntEnum):
    """What a subject may do with one vfolder; each includes those before it.

    `RO` reads. `RW` also makes and changes entries. `RWD` also removes entries. `OWNER` also
    deletes, shares and renames the vfolder itself; no grant can give it.
    """

    NONE = 0
    RO = 1
    RW = 2
    RWD = 3
    OWNER = 4

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the permission of a word; `wd`, the word of the manager, is `rwd`.

        Raises:
            InvalidParameters: the word is no permission.
        """
        word = "rwd" if text == _MANAGER_WORD else text
        if word not in _WORDS:
            raise InvalidParameters(f"A permission is one of {', '.join(_WORDS)}.")
        return cls(_WORDS.index(word))

    @property
    def word(self) -> str:
        """Return the permission as requests and answers write it."""
        return _WORDS[self]


_WORDS = [member.name.lower() for member in Permission]


class Scope(StrEnum):
    """What a credential is for. The lesser of the credential and its subject counts."""

    FILES_READ = "files:read"
    FILES_WRITE = "files:write"
    FILES_DELETE = "files:delete"
    VFOLDERS_MANAGE = "vfolders:manage"
    SHARES_MANAGE = "shares:manage"
    JOBS = "jobs"
    KEYS = "keys"
    ADMIN_READ = "admin:read"
    ADMIN_WRITE = "admin:write"


#: What a credential of a person may have at most; the rest is for operators.
PERSON_SCOPES = frozenset(Scope) - {Scope.ADMIN_READ, Scope.ADMIN_WRITE}
