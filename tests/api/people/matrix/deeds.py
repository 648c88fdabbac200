"""Requests that change something, as data: how they are asked, and where their effect is seen.

Each is asked on a vfolder of its own, which has the files `a.txt` and `b.txt`, a grant to each
actor of the stage, one to another user, and a link.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from core.access import SubjectRecord, VFolderRecord
from core.names import VFolderId
from tests.api.people.conftest import People
from tests.api.people.matrix.actors import Actor
from tests.api.people.matrix.conftest import record_of

_SENT = {
    "Tus-Resumable": "1.0.0",
    "Upload-Length": "0",
    "Upload-Metadata": "relativePath c2VudC50eHQ=",
}


@dataclass
class Ground:
    """The vfolder of one cell."""

    people: People
    vfolder: VFolderId
    actor: Actor
    #: What the paths and bodies name.
    names: dict[str, str]

    @property
    def tree(self) -> Path:
        return self.people.path(self.vfolder)

    @property
    def record(self) -> VFolderRecord:
        return record_of(self.people, self.vfolder)

    @property
    def is_in_own_scope(self) -> bool:
        """Whether the actor owned it from the beginning."""
        return self.vfolder.scope is not None and self.vfolder.scope.id == self.actor.person.id

    def text(self, name: str) -> str:
        """The content of a file; empty where there is none."""
        path = self.tree / name
        return path.read_text() if path.exists() else ""

    def subject(self, identity: UUID) -> SubjectRecord:
        """What is known of a user or group; nothing where it has no record."""
        found = self.people.subjects.read(identity)
        return found or SubjectRecord(kind="user", id=identity)


@dataclass(frozen=True)
class Deed:
    """A change, the acts that it is, and what is so once it happened."""

    asked: str
    acts: str
    status: int
    done: Callable[[Ground], bool]
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    #: A job does it.
    later: bool = False
    #: The body that takes it back, where others rely on what it changed.
    undo: Any = None
    #: For those alone that a grant names.
    of_grantees: bool = False


_BASE = "/v1/vfolders/{vfolder}"
_NEW = "00000000-0000-4000-8000-0000000000aa"


def _granted(ground: Ground, to: str) -> bool:
    return any(one.to == to for one in ground.record.grants)


DEEDS = (
    Deed(
        f"POST {_BASE}/directories",
        "entries.write",
        201,
        lambda at: (at.tree / "made").is_dir(),
        {"paths": ["made"]},
    ),
    Deed(
        f"PATCH {_BASE}/entry?path=a.txt",
        "entries.write",
        204,
        lambda at: at.text("moved.txt") == "of a",
        {"to": "moved.txt"},
    ),
    Deed(
        f"PATCH {_BASE}/entry?path=a.txt",
        "entries.write entries.replace",
        204,
        lambda at: at.text("b.txt") == "of a",
        {"to": "b.txt", "overwrite": True},
    ),
    Deed(
        f"POST {_BASE}/uploads",
        "entries.write",
        201,
        lambda at: (at.tree / "sent.txt").exists(),
        headers=_SENT,
    ),
    Deed(
        f"POST {_BASE}/delete",
        "entries.remove",
        202,
        lambda at: not (at.tree / "a.txt").exists(),
        {"paths": ["a.txt"]},
        later=True,
    ),
    Deed(
        f"POST {_BASE}/delete",
        "entries.remove entries.purge",
        202,
        lambda at: not (at.tree / "a.txt").exists(),
        {"paths": ["a.txt"], "keep_seconds": 0},
        later=True,
    ),
    Deed(
        f"POST {_BASE}/grants",
        "grants.manage",
        201,
        lambda at: _granted(at, f"user:{_NEW}"),
        {"to": f"user:{_NEW}", "permission": "rw"},
    ),
    Deed(
        f"PATCH {_BASE}/grants/{{grant}}",
        "grants.manage",
        200,
        lambda at: any(one.note == "changed" for one in at.record.grants),
        {"note": "changed"},
    ),
    Deed(
        f"DELETE {_BASE}/grants/{{own_grant}}",
        "grants.read grants.leave",
        204,
        lambda at: not _granted(at, at.actor.person.word),
        of_grantees=True,
    ),
    Deed(
        f"POST {_BASE}/links",
        "links.manage",
        201,
        lambda at: len(at.record.links) == 2,
        {},
    ),
    Deed(
        "PATCH /v1/links/{link}",
        "links.manage",
        200,
        lambda at: at.record.links[0].note == "changed",
        {"note": "changed"},
    ),
    Deed(
        "DELETE /v1/links/{link}",
        "links.manage",
        204,
        lambda at: at.record.links[0].revoked_at is not None,
    ),
    Deed(
        f"PATCH {_BASE}",
        "vfolders.update",
        200,
        lambda at: at.record.name == "renamed",
        {"name": "renamed"},
    ),
    Deed(
        f"POST {_BASE}/owner",
        "owner.offer",
        200,
        lambda at: at.record.next_owner == f"user:{_NEW}",
        {"to": f"user:{_NEW}"},
    ),
    Deed(
        f"POST {_BASE}/owner/accept",
        "owner.accept",
        200,
        lambda at: at.record.owner.word == at.actor.person.word and not at.is_in_own_scope,
    ),
    Deed(f"DELETE {_BASE}", "vfolders.delete", 202, lambda at: not at.tree.exists(), later=True),
    Deed(
        f"POST {_BASE}/break-glass",
        "vfolders.break-glass",
        200,
        lambda at: any(one.source == "break_glass" for one in at.record.grants),
        {"reason": "a test of it"},
    ),
    Deed(
        "POST /v1/keys",
        "keys.manage",
        201,
        lambda at: _has_key(at, at.names["new"]),
        {"name": "{new}", "scopes": ["files:read"]},
    ),
    Deed(
        "POST /v1/groups/{group}/members",
        "groups.manage",
        200,
        lambda at: UUID(at.names["new"]) in _members(at),
        {"user": "{new}"},
    ),
    Deed(
        "PATCH /v1/groups/{group}",
        "groups.manage",
        200,
        lambda at: not at.subject(UUID(at.names["group"])).links_allowed,
        {"links_allowed": False},
        undo={"links_allowed": True},
    ),
    Deed(
        "POST /v1/users/{new}/block",
        "users.manage",
        200,
        lambda at: at.subject(UUID(at.names["new"])).blocked,
        {"reason": "a test of it"},
    ),
    Deed(
        "POST /v1/vfolders",
        "vfolders.create",
        201,
        lambda at: _has_vfolder(at, at.names["new"]),
        {"name": "{new}", "volume": "local"},
    ),
    Deed(
        f"POST {_BASE}/clone",
        "jobs.clone",
        202,
        lambda at: _has_vfolder(at, at.names["new"]),
        {"name": "{new}"},
        later=True,
    ),
)


def _has_key(at: Ground, name: str) -> bool:
    return any(key["name"] == name for key in at.subject(at.actor.person.id).keys)


def _members(at: Ground) -> tuple[UUID, ...]:
    return at.subject(UUID(at.names["group"])).members


def _has_vfolder(at: Ground, name: str) -> bool:
    """Whether the scope of the actor has a vfolder of a name."""
    meta = at.people.settings.directory / "local" / at.actor.person.id.hex / ".vfolder" / "meta"
    return any(f'"name":"{name}"'.encode() in one.read_bytes() for one in meta.glob("*.access"))
