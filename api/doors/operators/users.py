"""Routes of operators about users and their content: block and unblock, and break glass."""

import time
from secrets import token_hex
from uuid import UUID

from flask import Response
from msgspec import structs

from api.doors.people import keys
from api.http import no_content
from api.routes import PeopleResource, PersonRequest, Route, RouteAnswer, current_door, needs
from api.routes.operating import no_query, no_store
from api.schemas import operators as shapes
from backends.volumes.access.subjects import SubjectStore, keys_of
from core.access import Grant, SubjectRecord, VFolderRecord
from core.access.credentials.keys import ApiKey
from core.errors import Conflict, Defect, NoSpace, NotFound, QuotaExceeded
from core.names import moment

blueprint = PeopleResource("users", __name__, description="Users, for operators.")

#: How long an operator may read a vfolder after the glass was broken (seconds).
BREAK_GLASS_SECONDS = 900
#: The length of the id of a grant (bytes).
_ID_BYTES = 8
_WRITES = (NoSpace, QuotaExceeded)
_USER = {200: RouteAnswer("The user.", shapes.UserDocument)}


class UserNotFound(NotFound):
    """The text is no id of a user."""

    error_code = "auth_read_not-found"
    kind = "auth/user/not-found"
    title = "No such user"


@blueprint.operation("GET", "/v1/users/<user_id>", Route(gives=_USER, refuses=(UserNotFound,)))
@needs("users.read")
def get_user(asked: PersonRequest) -> Response:
    """Return what is known here of a user: name, keys, blocked or not. Any id may be a user's."""
    no_query()
    user = _id_of(asked)
    return _answer(_subjects().read(user) or SubjectRecord(kind="user", id=user))


@blueprint.operation(
    "POST",
    "/v1/users/<user_id>/block",
    Route(takes=shapes.ReasonBody, gives=_USER, refuses=(UserNotFound, Conflict, *_WRITES)),
)
@needs("users.manage", noted=True)
def block_user(body: shapes.GivenReason, asked: PersonRequest) -> Response:
    """Block a user: its keys, tokens, sign-ins and links count no more, within a second.

    Jobs of the user that wait fail when they begin; those that run go on.
    """
    user = _id_of(asked)
    if user == asked.caller.subject.id:
        raise Conflict("Operators do not block themselves.")
    asked.note(target=f"user:{user}", reason=body.reason, after="blocked")
    return _answer(_changed(user, blocked=True))


@blueprint.operation(
    "POST",
    "/v1/users/<user_id>/unblock",
    Route(takes=shapes.MaybeReasonBody, gives=_USER, refuses=(UserNotFound, *_WRITES)),
)
@needs("users.manage", noted=True)
def unblock_user(body: shapes.GivenReason, asked: PersonRequest) -> Response:
    """Unblock a user; what has not ended meanwhile counts again."""
    user = _id_of(asked)
    asked.note(target=f"user:{user}", reason=body.reason or None, after="unblocked")
    return _answer(_changed(user, blocked=False))


@blueprint.operation(
    "POST",
    "/v1/users/<user_id>/keys/<key_id>/revoke",
    Route(
        takes=shapes.ReasonBody,
        gives={204: RouteAnswer("Revoked.")},
        refuses=(UserNotFound, keys.KeyNotFound, *_WRITES),
    ),
)
@needs("users.manage", noted=True)
def revoke_key_of_user(body: shapes.GivenReason, asked: PersonRequest) -> Response:
    """Revoke a key of a user, with the sign-ins that it made. It cannot be taken back."""
    user, key_id, now = _id_of(asked), asked.path["key_id"], time.time()
    asked.note(target=f"user:{user}", reason=body.reason, after={"revoked_key": key_id})

    def revoked(key: ApiKey) -> ApiKey:
        return key if key.revoked_at is not None else structs.replace(key, revoked_at=now)

    if _subjects().change_key(user, key_id, revoked) is None:
        raise keys.KeyNotFound("The user has no such key.")
    return no_content()


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/break-glass",
    Route(
        takes=shapes.ReasonBody,
        gives={200: RouteAnswer("The operator may read now.", shapes.BrokenGlass)},
        refuses=_WRITES,
    ),
)
@needs("vfolders.break-glass", noted=True)
def break_glass(body: shapes.GivenReason, asked: PersonRequest) -> Response:
    """Let the operator read a vfolder for 15 minutes. Its owner gets a notice with the reason."""
    found, subject = asked.vfolder, asked.caller.subject
    now = time.time()
    grant = Grant(
        id=token_hex(_ID_BYTES),
        to=f"operator:{subject.id}",
        permission="ro",
        source="break_glass",
        expires_at=now + BREAK_GLASS_SECONDS,
        note=body.reason,
        created_at=now,
        created_by=subject.word,
    )

    def opened(record: VFolderRecord) -> VFolderRecord:
        kept = (one for one in record.grants if one.source != "break_glass" or one.live(now))
        return structs.replace(record, grants=(*kept, grant))

    asked.note(target=found.reference, reason=body.reason, after="ro")
    ends = moment(now + BREAK_GLASS_SECONDS)
    facts = {"name": found.record.name, "by": subject.word, "reason": body.reason}
    place = {"volume": found.volume, "vfolder": str(found.record.id)}
    owner = found.record.owner.id.hex
    current_door().notices.add(owner, {"kind": "break-glass", **place, **facts, "expires_at": ends})
    asked.service.changed(found, opened)
    return no_store({"permission": "ro", "expires_at": ends})


def _subjects() -> SubjectStore:
    parts = current_door().people
    if parts is None:
        raise Defect("The door has no people.")
    return parts.subjects


def _changed(user: UUID, *, blocked: bool) -> SubjectRecord:
    def change(record: SubjectRecord) -> SubjectRecord:
        return structs.replace(record, blocked=blocked)

    return _subjects().change("user", user, change)


def _answer(record: SubjectRecord) -> Response:
    held = sorted(keys_of(record), key=lambda key: key.created_at, reverse=True)
    return no_store(
        {
            "id": str(record.id),
            "name": record.name or None,
            "blocked": record.blocked,
            "keys": [keys.key_document(key) for key in held],
        }
    )


def _id_of(asked: PersonRequest) -> UUID:
    try:
        return UUID(asked.path["user_id"])
    except ValueError:
        raise UserNotFound("A user has a UUID.") from None
