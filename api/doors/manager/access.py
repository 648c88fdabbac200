"""Routes of the manager about people's access; they exist only with `[vfolder.access]`."""

from secrets import token_hex
from typing import Any
from uuid import UUID

from flask import Response, request
from msgspec import structs

from api.access import (
    NO_VFOLDER,
    AmbiguousReference,
    RevisionChanged,
    check_unchanged,
    etag_of,
    explanation,
    the_one,
)
from api.http import answer, no_content, this_request
from api.routes import Resource, Route, RouteAnswer, current_door, parameters, people_parts
from api.schemas import access as shapes
from backends.entries import RecordChanged
from backends.volumes import operations
from backends.volumes.access import KnownVFolder
from core.access import (
    ACTS,
    AccessChange,
    Caller,
    CredentialFacts,
    Grant,
    Permission,
    Scope,
    Subject,
    VFolderRecord,
    VFolderResource,
)
from core.errors import (
    AccessUnavailable,
    Defect,
    InvalidParameters,
    NoSpace,
    QuotaExceeded,
    VFolderNotFound,
)
from core.names import moment_or_none

blueprint = Resource("access", __name__, description="Who may do what, for the manager.")

#: Random bytes of the id of a grant.
_ID_BYTES = 10
#: What a request for a mount may want.
_WANTS = ("ro", "rw")


@blueprint.operation(
    "POST",
    "/v1/access/forget",
    Route(takes=shapes.ForgetAccessBody, gives={204: RouteAnswer("All processes drop it.")}),
)
def forget_access(body: shapes.ForgetAccess) -> Response:
    """Drop what caches know of users, groups and vfolders, on every node, within a second.

    Call it after a membership or a policy changed elsewhere. Without the store it takes 5 seconds.
    """
    door = current_door()
    _people().cache.changed(
        AccessChange(
            users=tuple(body.users),
            groups=tuple(body.groups),
            vfolders=tuple(body.vfolders),
            volumes=tuple(sorted(door.settings.volume)),
            everything=body.all,
        )
    )
    return no_content()


@blueprint.operation(
    "POST",
    "/v1/access/check",
    Route(
        takes=shapes.CheckAccessBody,
        gives={200: RouteAnswer("The decision.", shapes.ExplainedDecision)},
        refuses=(VFolderNotFound, AmbiguousReference, AccessUnavailable),
    ),
)
def check_access(body: shapes.CheckAccess) -> Response:
    """Explain a decision about one vfolder, step by step. Nothing is done."""
    kind, _, text = body.subject.partition(":")
    if kind != "user":
        raise InvalidParameters("The subject of a decision is a user: user:<uuid>.")
    user = UUID(text)
    caller = _caller(
        user, groups=body.groups, admin_of=body.admin_of, scopes=map(Scope, body.scopes)
    )
    people = _people()
    return answer(explanation(caller, body.act, body.vfolder, people.records, people.deciders))


@blueprint.operation(
    "PUT",
    "/v1/vfolders/<vfolder_id>/grants",
    Route(
        takes=shapes.ReplaceGrantsBody,
        gives={200: RouteAnswer("Replaced.", shapes.ManagedGrants, headers=("ETag",))},
        parameters=(parameters.IF_MATCH,),
        refuses=(
            *(VFolderNotFound, AmbiguousReference, RecordChanged, RevisionChanged),
            *(NoSpace, QuotaExceeded, AccessUnavailable),
        ),
    ),
)
def replace_grants(body: shapes.ReplaceGrants, vfolder_id: str) -> Response:
    """Replace all grants of the manager on a vfolder; those that people made stay.

    People cannot change or give back a grant of the manager.
    """
    known = _to_change(vfolder_id)
    check_unchanged(known.record)
    granted = [one.to for one in body.grants]
    if len(set(granted)) != len(granted):
        raise InvalidParameters("A user or group has two grants; name each once.")

    def changed(record: VFolderRecord) -> VFolderRecord:
        kept = tuple(grant for grant in record.grants if grant.source != "manager")
        old = {grant.to: grant.id for grant in record.grants if grant.source == "manager"}
        managed = tuple(_grant(one, old.get(one.to)) for one in body.grants)
        return structs.replace(record, grants=(*kept, *managed))

    _note_change(known, changed(known.record))
    record = _people().records.change(known, changed).record
    response = answer(
        {"grants": [_grant_document(grant) for grant in record.grants], "revision": record.revision}
    )
    response.headers["ETag"] = etag_of(record)
    return response


@blueprint.operation(
    "GET",
    "/v1/vfolders/<vfolder_id>/mount",
    Route(
        gives={200: RouteAnswer("How to mount it.", shapes.MountInformation)},
        parameters=(
            parameters.in_query("for", "The user: `user:<uuid>`."),
            parameters.in_query("want", "`ro` or `rw`.", type="string", enum=list(_WANTS)),
        ),
        refuses=(VFolderNotFound, AmbiguousReference, AccessUnavailable),
    ),
)
def get_mount_information(vfolder_id: str) -> Response:
    """Tell how an agent mounts a vfolder for a user; 404 where the user may not see it.

    `read_only` is true unless the user may write and `want` is `rw`. A mount cannot hinder that
    a user with `rw` removes entries: only the API tells `rw` and `rwd` apart.
    """
    user, want = _mount_query()
    known = _found(vfolder_id, user)
    caller = _caller(user)
    rule = ACTS["entries.read"]
    door = current_door()
    decision = _people().deciders.decide_rule(
        caller, rule, {"vfolder": VFolderResource(record=known.record)}
    )
    if not decision.allowed:
        raise VFolderNotFound(NO_VFOLDER)
    writes = decision.permission >= Permission.RW and want == "rw"
    path = door.volume_access.on_volume(known.volume, operations.mount_path, known.vfolder)
    document = {
        "path": path,
        "read_only": not writes,
        "options": [] if writes else ["ro"],
        "permission": decision.permission.word,
        "expires_at": moment_or_none(decision.expires_at),
    }
    return answer(document)


def _people() -> people_parts.PeopleParts:
    people = current_door().people
    if people is None:
        raise Defect("The door has no table [vfolder.access].")
    return people


def _mount_query() -> tuple[UUID, str]:
    unknown = set(request.args) - {"for", "want"}
    if unknown:
        raise InvalidParameters(f"Unknown parameters: {', '.join(sorted(unknown))}.")
    kind, _, text = shapes.canonical(request.args.get("for", "")).partition(":")
    want = request.args.get("want", "ro")
    if kind != "user" or want not in _WANTS:
        raise InvalidParameters("`for` is user:<uuid>, and `want` is ro or rw.")
    return UUID(text), want


def _found(reference: str, user: UUID | None = None, *, fresh: bool = False) -> KnownVFolder:
    return the_one(_people().records.find(reference, user, fresh=fresh))


def _to_change(reference: str) -> KnownVFolder:
    """Return what a path names, from its file; the first record says whose scope it is in."""
    known = _found(reference, fresh=True)
    scope = known.vfolder.scope
    if known.record.revision or scope is None:
        return known
    subject = _people().subjects.read(scope.id)
    is_user = subject is not None and subject.kind == "user"
    return _found(reference, scope.id, fresh=True) if is_user else known


def _note_change(known: KnownVFolder, changed: VFolderRecord) -> None:
    """Write the line of the audit log before the change.

    Raises:
        AccessUnavailable: it cannot be written; then nothing changes.
    """
    from core.access.audit import entry_of  # noqa: PLC0415 - most doors do not need it

    caller = Caller(
        subject=Subject(kind="manager"),
        credential=CredentialFacts(kind="secret", id="manager", scopes=frozenset(Scope)),
        request_id=this_request().request_id or "",
    )
    before, after = (_managed(record) for record in (known.record, changed))
    entry = entry_of(
        caller,
        "grants.replace",
        "allowed",
        vfolder=f"{known.volume}:{known.vfolder.id}",
        before=before,
        after=after,
    )
    _people().audit.write(entry)


def _managed(record: VFolderRecord) -> dict[str, str]:
    """Return the permissions that the manager gives, by user or group."""
    return {grant.to: grant.permission for grant in record.grants if grant.source == "manager"}


def _caller(user: UUID, **more: Any) -> Caller:  # noqa: ANN401 - groups and scopes
    subject = Subject(
        kind="user",
        id=user,
        groups=frozenset(more.get("groups", ())),
        admin_of=frozenset(more.get("admin_of", ())),
        on_behalf=True,
    )
    subject = _people().subjects.completed(subject)
    scopes = frozenset(more.get("scopes", Scope))
    return Caller(
        subject=subject, credential=CredentialFacts(kind="secret", id="manager", scopes=scopes)
    )


def _grant(one: shapes.ManagedGrant, known_id: str | None) -> Grant:
    permission = Permission.parse(one.permission).word
    return Grant(
        id=known_id or token_hex(_ID_BYTES),
        to=one.to,
        permission=permission,  # type: ignore[arg-type] # the schema knows the words
        source="manager",
        expires_at=one.expires_at,
        note=one.note,
    )


def _grant_document(grant: Grant) -> dict[str, Any]:
    return {
        "id": grant.id,
        "to": grant.to,
        "permission": grant.permission,
        "source": grant.source,
        "expires_at": moment_or_none(grant.expires_at),
        "note": grant.note,
    }
