"""The table of what each act needs, as data.

The decorators of the routes, the OpenAPI documents, `docs/access.md` and the matrix of the tests
come from `ACTS`. A new act is a new row here.
"""

from typing import Literal

from msgspec import Struct

from core.access.permissions import Permission, Scope

#: What a need is about: a vfolder, one end of a copy, the quota scope that gets a vfolder, a job,
#: what belongs to the subject itself, or the installation.
Role = Literal["vfolder", "source", "target", "scope", "job", "self", "server"]

READ, WRITE, DELETE = Scope.FILES_READ, Scope.FILES_WRITE, Scope.FILES_DELETE
MANAGE, SHARE = Scope.VFOLDERS_MANAGE, Scope.SHARES_MANAGE
RO, RW, RWD, OWNER = Permission.RO, Permission.RW, Permission.RWD, Permission.OWNER


class Need(Struct, frozen=True, kw_only=True):
    """One condition of an act: a permission of the subject, and scopes of its credential."""

    role: Role = "vfolder"
    permission: Permission = Permission.NONE
    scopes: frozenset[Scope] = frozenset()
    #: An operator whose credential has this scope meets the need without a permission.
    operator: Scope | None = None
    #: Also met after the end of the vfolder, which makes it read-only otherwise.
    when_expired: bool = False
    #: The vfolder may be in the trash; every other need finds nothing there.
    in_trash: bool = False
    #: A person named by the record meets the need instead: the next owner, or a grantee.
    person: Literal["", "next_owner", "grantee"] = ""

    @property
    def text(self) -> str:
        """Return the need as documents write it, for example `target rw (files:write)`."""
        words = {
            "scope": "own scope or group admin",
            "self": "any credential",
            "server": "operator",
        }
        held = self.permission.word if self.permission else ""
        what = {"next_owner": "the next owner", "grantee": "the grantee"}.get(self.person, held)
        role = words.get(self.role, "" if self.role == "vfolder" else self.role)
        own = {self.operator} if self.role == "server" and self.operator else set()
        scopes = ", ".join(sorted(scope.value for scope in self.scopes | own))
        return " ".join(part for part in (role, what, f"({scopes})" if scopes else "") if part)


class AccessRule(Struct, frozen=True, kw_only=True):
    """One row: an act, and every need that must be met."""

    name: str
    #: What the act is, for the documents.
    summary: str
    needs: tuple[Need, ...]
    #: Who may come at all. The manager may come to every row of its door.
    subjects: frozenset[str] = frozenset({"user", "operator"})
    #: The manager door only.
    manager_door: bool = False

    @property
    def scopes(self) -> frozenset[Scope]:
        """Return every scope that a credential of a person must have."""
        return frozenset[Scope]().union(*(need.scopes for need in self.needs))

    @property
    def text(self) -> str:
        """Return the needs as documents write them."""
        return "; ".join(need.text for need in self.needs)


def _need(permission: Permission, *scopes: Scope, **more: object) -> Need:
    return Need(permission=permission, scopes=frozenset(scopes), **more)  # type: ignore[arg-type] # checked by the struct's users


def _own(name: str, summary: str, *scopes: Scope) -> AccessRule:
    need = Need(role="self", scopes=frozenset(scopes))
    return AccessRule(name=name, summary=summary, needs=(need,))


def _server(name: str, summary: str, scope: Scope) -> AccessRule:
    return AccessRule(
        name=name,
        summary=summary,
        needs=(Need(role="server", operator=scope),),
        subjects=frozenset({"operator"}),
    )


def _on(name: str, summary: str, *needs: Need) -> AccessRule:
    return AccessRule(name=name, summary=summary, needs=needs)


def _job(name: str, summary: str, *needs: Need) -> AccessRule:
    """Return the row of a verb; its submission needs the scope `jobs`, too."""
    asked = tuple(
        Need(
            role=n.role,
            permission=n.permission,
            scopes=n.scopes | {Scope.JOBS},
            in_trash=n.in_trash,
        )
        for n in needs
    )
    return AccessRule(name=name, summary=summary, needs=asked)


CREATE = Need(role="scope", scopes=frozenset({MANAGE}))
SOURCE = _need(RO, READ, role="source")
MOVED = _need(RWD, READ, DELETE, role="source")
_KEEP = {"when_expired": True}
_TRASHED = {"when_expired": True, "in_trash": True}

_SELF = (
    _own("me.read", "look at oneself and at the features of the server"),
    _own("signin.manage", "sign in, list and end one's sign-ins"),
    _own("keys.read", "list one's keys", Scope.KEYS),
    _own("keys.manage", "make, change, rotate and revoke one's keys", Scope.KEYS),
    _own("vfolders.list", "list one's vfolders"),
    _own("uploads.list", "list one's uploads in flight", WRITE),
    _own("links.list", "list the links that one made"),
    _own("jobs.list", "list one's jobs", Scope.JOBS),
    _own("groups.read", "list one's groups"),
    _own("subjects.read", "look for users and groups to share with", SHARE),
    _own("quotas.read", "look at one's limits and usage"),
    _own("volumes.list", "list the volumes that one uses"),
    _own("events.read", "follow events about what one may see"),
    _own("notices.read", "read one's notices and mark them as read"),
    _own("audit.own", "look at audit lines about oneself"),
)
_VFOLDERS = (
    _on("vfolders.create", "create a vfolder", CREATE),
    _on(
        "vfolders.read",
        "look at the record and the usage of a vfolder",
        _need(RO, READ, operator=Scope.ADMIN_READ, in_trash=True),
    ),
    _on(
        "vfolders.update",
        "rename a vfolder, set its end, its limit or the permission of its group",
        _need(OWNER, MANAGE, **_KEEP),
    ),
    _on("vfolders.delete", "move a vfolder to the trash", _need(OWNER, MANAGE, DELETE, **_KEEP)),
    _on("vfolders.restore", "restore a vfolder", _need(OWNER, MANAGE, DELETE, **_TRASHED)),
    _on("vfolders.purge", "remove a vfolder for good", _need(OWNER, MANAGE, DELETE, **_TRASHED)),
    _on("owner.offer", "offer a vfolder to another owner", _need(OWNER, MANAGE, **_KEEP)),
    _on(
        "owner.accept",
        "accept a vfolder that was offered",
        _need(Permission.NONE, MANAGE, person="next_owner", **_KEEP),
    ),
    _on(
        "grants.read",
        "list the grants; who does not own the vfolder sees the owner and itself",
        _need(RO, READ, operator=Scope.ADMIN_READ),
    ),
    _on("grants.manage", "share a vfolder, change or revoke a grant", _need(OWNER, SHARE, **_KEEP)),
    _on(
        "grants.leave",
        "give back one's own grant",
        _need(Permission.NONE, SHARE, person="grantee", **_KEEP),
    ),
    _on("links.manage", "make, change, list and revoke the links", _need(OWNER, SHARE, **_KEEP)),
    _on("audit.vfolder", "look at audit lines about a vfolder", _need(OWNER, MANAGE, **_KEEP)),
)
_ENTRIES = (
    _on("entries.read", "list, stat, read, download, archive and find entries", _need(RO, READ)),
    _on(
        "entries.write",
        "make directories, upload, overwrite, rename and move within the vfolder",
        _need(RW, WRITE),
    ),
    _on("entries.replace", "move an entry over another one", _need(RWD, WRITE, DELETE)),
    _on(
        "entries.remove",
        "remove entries, and restore removed ones",
        _need(RWD, DELETE),
    ),
    _on("entries.purge", "remove entries for good, from the trash too", _need(OWNER, DELETE)),
    _on("snapshots.read", "list and browse snapshots", _need(RO, READ)),
    _on("snapshots.create", "create a snapshot", _need(RW, WRITE)),
    _on(
        "snapshots.manage",
        "delete a snapshot, restore it over the vfolder",
        _need(OWNER, MANAGE, DELETE),
    ),
    _on("snapshots.copy", "restore a snapshot to a new vfolder", SOURCE, CREATE),
)
_JOBS = (
    _job("jobs.clone", "clone a vfolder", SOURCE, CREATE),
    _job("jobs.transfer", "transfer entries", SOURCE, _need(RW, WRITE, role="target")),
    _job(
        "jobs.transfer-over",
        "transfer entries over those of the target (`replace`, `newer`)",
        SOURCE,
        _need(RWD, WRITE, role="target"),
    ),
    _job(
        "jobs.transfer-mirror",
        "transfer entries and remove others (`delete_extra`)",
        SOURCE,
        _need(RWD, WRITE, DELETE, role="target"),
    ),
    _job(
        "jobs.move",
        "move entries to another vfolder",
        MOVED,
        _need(RW, WRITE, role="target"),
    ),
    _job(
        "jobs.move-over",
        "move entries over those of another vfolder (`replace`, `newer`)",
        MOVED,
        _need(RWD, WRITE, role="target"),
    ),
    _job("jobs.extract", "unpack an archive", SOURCE, _need(RW, WRITE, role="target")),
    _job("jobs.delete-files", "remove entries by a job", _need(RWD, DELETE)),
    _job("jobs.usage", "count a vfolder", _need(RO, READ)),
    _job("jobs.find", "find entries by a job", _need(RO, READ)),
    _on(
        "jobs.read",
        "look at a job, its events and its report",
        _need(RO, Scope.JOBS, role="job", operator=Scope.ADMIN_READ),
    ),
    _on(
        "jobs.steer",
        "cancel, pause, resume or retry a job, change its bandwidth",
        _need(OWNER, Scope.JOBS, role="job", operator=Scope.ADMIN_WRITE),
    ),
)
_LINKS = (
    AccessRule(
        name="link.read",
        summary="browse and download below the path of a link",
        needs=(_need(RO, READ),),
        subjects=frozenset({"link"}),
    ),
    AccessRule(
        name="link.drop",
        summary="upload by a link",
        needs=(_need(RW, WRITE),),
        subjects=frozenset({"link"}),
    ),
)
_OPERATORS = (
    _server("jobs.rescan", "compare a volume with the records of it", Scope.ADMIN_WRITE),
    _server("jobs.reindex", "build the index of a volume again", Scope.ADMIN_WRITE),
    _server("jobs.adopt", "adopt what other tools made", Scope.ADMIN_WRITE),
    _server("queue.read", "list the jobs of all requesters", Scope.ADMIN_READ),
    _server("jobs.prioritize", "change the priority of a waiting job", Scope.ADMIN_WRITE),
    _server("uploads.read", "list all uploads in flight", Scope.ADMIN_READ),
    _server("uploads.steer", "end an upload of others", Scope.ADMIN_WRITE),
    _server(
        "trash.steer", "purge what is kept in a trash, limit the rate of purges", Scope.ADMIN_WRITE
    ),
    _server("volumes.read", "look at all volumes", Scope.ADMIN_READ),
    _server("volumes.examine", "examine a volume on a node", Scope.ADMIN_READ),
    _server("volumes.steer", "pause a volume, change its bandwidth", Scope.ADMIN_WRITE),
    _server("nodes.read", "look at the nodes", Scope.ADMIN_READ),
    _server("nodes.steer", "drain a node", Scope.ADMIN_WRITE),
    _server("quotas.set", "set a limit", Scope.ADMIN_WRITE),
    _server("groups.create", "make a group whose members are kept here", Scope.ADMIN_WRITE),
    _on(
        "groups.manage",
        "change the members of a group that is kept here, turn its links off or on",
        Need(role="scope", scopes=frozenset({SHARE}), operator=Scope.ADMIN_WRITE),
    ),
    _server("users.read", "look at users and groups, and at the keys of one", Scope.ADMIN_READ),
    _server("access.explain", "explain a decision about another one", Scope.ADMIN_READ),
    _server("users.manage", "block and unblock users, revoke their keys", Scope.ADMIN_WRITE),
    _server("audit.read", "look at all audit lines", Scope.ADMIN_READ),
    _server(
        "settings.read", "look at settings, orphans, series and the overview", Scope.ADMIN_READ
    ),
    _server("diagnostics.read", "collect diagnostics", Scope.ADMIN_READ),
    _server(
        "vfolders.break-glass", "read one vfolder for 15 minutes, with a reason", Scope.ADMIN_WRITE
    ),
)
_MANAGER = tuple(
    AccessRule(
        name=name,
        summary=summary,
        needs=(Need(role="server"),),
        subjects=frozenset({"manager"}),
        manager_door=True,
    )
    for name, summary in (
        ("mount.read", "say by which path and how an agent may mount a vfolder"),
        ("access.forget", "drop cached decisions"),
        ("access.check", "explain a decision"),
        ("grants.replace", "replace the grants of the manager"),
    )
)

#: Every act of the service by its name.
ACTS: dict[str, AccessRule] = {
    rule.name: rule
    for rule in (*_SELF, *_VFOLDERS, *_ENTRIES, *_JOBS, *_LINKS, *_OPERATORS, *_MANAGER)
}
