"""Where a new vfolder of a person goes: its owner, its quota scope, its id, and a free name."""

from uuid import UUID, uuid4, uuid5

from api.jobs import pointer
from api.routes import PersonRequest, job_answers
from core.access import RecordOwner, records
from core.errors import VFolderExists
from core.names import QuotaScope, ScopeKind, VFolderId

#: Names the ids that come from an Idempotency-Key.
_KEYS = UUID("3f7d2f0c-5a36-4a4e-9a55-6a0d1a0f2d11")


def owner_of(asked: PersonRequest, text: str | None) -> RecordOwner:
    """Return the owner that a request names, or the caller.

    Raises:
        InvalidParameters: the text is no owner, or the caller is no user.
    """
    subject = asked.caller.subject
    if text is None:
        if subject.id is None:
            raise pointer("owner", "is missing; the caller is no user")
        return RecordOwner(kind="user", id=subject.id, name=subject.name)
    kind, _, identity = text.partition(":")
    try:
        known = UUID(identity)
    except ValueError:
        raise pointer("owner", "is user:<uuid> or group:<uuid>") from None
    if kind == "user":
        return RecordOwner(kind="user", id=known, name=subject.name if known == subject.id else "")
    return RecordOwner(kind="group", id=known)


def scope_of(owner: RecordOwner) -> QuotaScope:
    """Return the quota scope of an owner."""
    return QuotaScope(ScopeKind.USER if owner.kind == "user" else ScopeKind.PROJECT, owner.id)


def new_id(asked: PersonRequest, scope: QuotaScope, volume: str) -> VFolderId:
    """Return the id of a new vfolder: a random one, or that of the request's Idempotency-Key."""
    key = job_answers.idempotency_key()
    return VFolderId(scope, id_of_key(asked.caller.subject.word, scope, volume, key))


def id_of_key(requester: str, scope: QuotaScope, volume: str, key: str) -> UUID:
    """Return the id of a new vfolder: the same for a repeated request, a random one without a key.

    Another owner or volume gives another id: in two scopes of a volume one id would be ambiguous.
    """
    return uuid5(_KEYS, "\0".join((requester, str(scope), volume, key))) if key else uuid4()


def check_name(
    asked: PersonRequest, owner: RecordOwner, volume: str, vfolder: VFolderId, name: str
) -> None:
    """Refuse a name that another live vfolder of an owner has.

    Raises:
        VFolderExists: it has this name, in some case of its letters.
    """
    wanted = records.name_key(name)
    for other in asked.service.vfolders.owned(owner, volume):
        taken = other.record.name is not None and records.name_key(other.record.name) == wanted
        if taken and other.vfolder.id != vfolder.id:
            raise VFolderExists("The owner has a vfolder of this name; choose another one.")
