"""Routes of a user's API keys: list, make, rename, rotate, revoke. A key is shown once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Response
from msgspec import structs

from api.doors.people.entries import query
from api.http import answer, no_content
from api.routes import PeopleResource, PersonRequest, Route, RouteAnswer, current_door, needs
from api.routes.people_parts import PeopleParts
from api.schemas import credentials as shapes
from backends.volumes.access.subjects import keys_of
from core.access import Scope
from core.access.credentials import keys as api_keys
from core.access.credentials.keys import ApiKey, KeyRequest
from core.errors import AccessForbidden, Conflict, Defect, NoSpace, NotFound, QuotaExceeded
from core.names import moment_or_none
from core.settings import AccessTable

blueprint = PeopleResource("keys", __name__, description="One's API keys.")

_WRITES = (NoSpace, QuotaExceeded)


class KeyNotFound(NotFound):
    """The caller has no such key."""

    error_code = "auth_read_not-found"
    kind = "auth/key/not-found"
    title = "No such key"


@blueprint.operation(
    "GET", "/v1/keys", Route(gives={200: RouteAnswer("The keys.", shapes.KeyList)})
)
@needs("keys.read")
def list_keys(asked: PersonRequest) -> Response:
    """List one's keys, the newest first; an ended one for 90 days."""
    query(())
    record = parts_of_door().subjects.read(_user(asked))
    found = [] if record is None else keys_of(record)
    found.sort(key=lambda key: key.created_at, reverse=True)
    return private({"keys": [key_document(key) for key in found]})


@blueprint.operation(
    "POST",
    "/v1/keys",
    Route(
        takes=shapes.NewKeyBody,
        gives={201: RouteAnswer("Made.", shapes.KeyWithSecret)},
        refuses=(Conflict, *_WRITES),
    ),
)
@needs("keys.manage")
def make_key(body: shapes.NewKey, asked: PersonRequest) -> Response:
    """Make a key; `key` is shown in this answer and never again.

    It never has more scopes, networks, vfolders or time than the credential of the request.
    """
    made_by = _made_by(asked)
    table = table_of_door()
    request = KeyRequest(
        name=body.name,
        scopes=tuple(Scope(one) for one in body.scopes),
        networks=None if body.networks is None else tuple(body.networks),
        vfolders=None if body.vfolders is None else tuple(body.vfolders),
        expires_in_days=body.expires_in_days,
    )
    operator = asked.caller.subject.kind == "operator" and made_by is not None and made_by.operator
    with _refusals_noted(asked):
        key, text = api_keys.new_key(
            request, operator=operator, table=table, now=time.time(), made_by=made_by
        )
        api_keys.check_not_more(key, asked.caller.credential, made_by)
    parts_of_door().subjects.add_key(_user(asked), key, table, name=asked.caller.subject.name)
    return private({**key_document(key), "key": text}, 201)


@blueprint.operation(
    "PATCH",
    "/v1/keys/<key_id>",
    Route(
        takes=shapes.KeyChangeBody,
        gives={200: RouteAnswer("Changed.", shapes.KeyDocument)},
        refuses=(KeyNotFound, *_WRITES),
    ),
)
@needs("keys.manage")
def rename_key(body: shapes.KeyChange, asked: PersonRequest) -> Response:
    """Rename a key."""
    name = api_keys.checked_name(body.name)
    return private(key_document(_changed(asked, lambda key: structs.replace(key, name=name))))


@blueprint.operation(
    "DELETE",
    "/v1/keys/<key_id>",
    Route(gives={204: RouteAnswer("Revoked.")}, refuses=(KeyNotFound, *_WRITES)),
)
@needs("keys.manage")
def revoke_key(asked: PersonRequest) -> Response:
    """Revoke a key; every node refuses it within a second, and the sign-ins that it made."""
    query(())
    now = time.time()

    def revoked(key: ApiKey) -> ApiKey:
        return key if key.revoked_at is not None else structs.replace(key, revoked_at=now)

    _changed(asked, revoked)
    return no_content()


@blueprint.operation(
    "POST",
    "/v1/keys/<key_id>/rotate",
    Route(
        takes=shapes.KeyRotationBody,
        gives={200: RouteAnswer("Rotated.", shapes.KeyWithSecret)},
        refuses=(KeyNotFound, Conflict, *_WRITES),
    ),
)
@needs("keys.manage")
def rotate_key(body: shapes.KeyRotation, asked: PersonRequest) -> Response:
    """Give a key a new secret; the old one is valid for `overlap_seconds` more. Its end stays.

    A key rotates itself, and others of its user that have not more than it has.
    """
    made_by, now = _made_by(asked), time.time()
    overlap = body.overlap_seconds
    seconds = table_of_door().key_overlap_seconds if overlap is None else overlap
    texts: list[str] = []

    def rotated(key: ApiKey) -> ApiKey:
        with _refusals_noted(asked):
            api_keys.check_not_more(key, asked.caller.credential, made_by)
        changed, text = api_keys.rotated(key, now, seconds)
        texts[:] = [text]
        return changed

    key = _changed(asked, rotated)
    return private({**key_document(key), "key": texts[0]})


@contextmanager
def _refusals_noted(asked: PersonRequest) -> Iterator[None]:
    """Write a line of the audit log for a key that may more than its maker."""
    try:
        yield
    except AccessForbidden as error:
        asked.service.note_refusal(asked.caller, asked.rule, error)
        raise


def _changed(asked: PersonRequest, change: Any) -> ApiKey:  # noqa: ANN401 - from a key to a key
    """Change the key of the path.

    Raises:
        KeyNotFound: the caller has no such key.
    """
    key = parts_of_door().subjects.change_key(_user(asked), asked.path["key_id"], change)
    if key is None:
        raise KeyNotFound("You have no such key.")
    return key


def _made_by(asked: PersonRequest) -> ApiKey | None:
    """Return the key of the request, or the one that made its sign-in; None without a key."""
    credential, subject, parts = asked.caller.credential, asked.caller.subject, parts_of_door()
    if credential.kind == "cookie":
        sign_in = parts.sign_ins.named(subject, credential.id)
        if sign_in is None:
            raise AccessForbidden("The sign-in has ended.")
        credential = sign_in.made_by
    if credential.kind != "key":
        return None
    held = parts.subjects.held_key(credential.id)
    if held is None:
        raise AccessForbidden("The key has ended.")
    return held.key


def _user(asked: PersonRequest) -> Any:  # noqa: ANN401 - a UUID
    user = asked.caller.subject.id
    if user is None:
        raise AccessForbidden("Only users have keys.")
    return user


def parts_of_door() -> PeopleParts:
    """Return what this door has for people."""
    parts = current_door().people
    if parts is None:
        raise Defect("The door has no people.")
    return parts


def table_of_door() -> AccessTable:
    """Return the settings of people."""
    table = current_door().settings.vfolder.access
    if table is None:
        raise Defect("The door has no people.")
    return table


def key_document(key: ApiKey) -> dict[str, Any]:
    """Return a key without its secret."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "networks": None if key.networks is None else list(key.networks),
        "vfolders": None if key.vfolders is None else [str(one) for one in key.vfolders],
        "created_at": moment_or_none(key.created_at),
        "expires_at": moment_or_none(key.expires_at),
        "last_used_at": moment_or_none(key.last_used_at),
        "last_used_from": key.last_used_from,
        "revoked_at": moment_or_none(key.revoked_at),
        "former_ends_at": moment_or_none(key.former_ends_at),
    }


def private(document: dict[str, Any], status: int = 200) -> Response:
    """Return an answer that no cache keeps."""
    response = answer(document, status)
    response.headers["Cache-Control"] = "no-store"
    return response
