"""Routes of operators about all people: who is known, and why a user may do what on a vfolder."""

import base64
import binascii
from typing import Any
from uuid import UUID

from flask import Response

from api.access import AmbiguousReference, explanation
from api.doors.people import entries, keys
from api.jobs import pointer
from api.routes import (
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    current_door,
    needs,
    parameters,
)
from api.routes.operating import no_store
from api.schemas import access as access_shapes
from api.schemas import operators as shapes
from backends.volumes.access.subject_list import ListedSubject, SubjectFilter, SubjectPlace
from core.access import Caller, CredentialFacts, Scope, Subject
from core.errors import AccessUnavailable, InvalidParameters, VFolderNotFound

blueprint = PeopleResource("people", __name__, description="All users and groups, for operators.")

PAGE_DEFAULT, PAGE_MAX = 100, 1000
#: Longer texts name no one (characters).
TEXT_MAX = 200
_KINDS = ("user", "group")
_PARAMETERS = (
    parameters.in_query("q", "A part of a name, or the beginning of an id."),
    parameters.in_query("kind", "Only users, or only groups.", type="string", enum=list(_KINDS)),
    parameters.in_query(
        "blocked", "Only blocked ones, or only others.", type="string", enum=["true", "false"]
    ),
    parameters.in_query(
        "limit",
        "The most users and groups.",
        type="integer",
        minimum=1,
        maximum=PAGE_MAX,
        default=PAGE_DEFAULT,
    ),
    parameters.in_query("cursor", "`next` of the page before."),
)


@blueprint.operation(
    "GET",
    "/v1/people",
    Route(gives={200: RouteAnswer("One page.", shapes.PeoplePage)}, parameters=_PARAMETERS),
)
@needs("users.read")
def list_people(asked: PersonRequest) -> Response:
    """List users and groups that are known here: by name, then those without a name, by id.

    Known are those with a key or a group that is kept here, and owners and grantees of vfolders.
    `complete` is false until the index of each volume was built; some may be missing then.
    """
    given = entries.query(one.name for one in _PARAMETERS)
    wanted = _filter(given)
    limit, after = entries.limit_of(given, PAGE_DEFAULT, PAGE_MAX), _decoded(given.get("cursor"))
    vfolders = asked.service.vfolders
    found = keys.parts_of_door().subjects.listed(vfolders.index.holders, wanted, after, limit + 1)
    page = found[:limit]
    counts = vfolders.index.counts([one.word for one in page])
    is_complete = vfolders.are_complete(list(current_door().access.volumes()))
    return no_store(
        {
            "people": [
                _document(one, count if is_complete else None)
                for one, count in zip(page, counts, strict=True)
            ],
            "complete": is_complete,
            "next": _encoded(page[-1].place) if len(found) > limit else None,
        }
    )


@blueprint.operation(
    "POST",
    "/v1/access/explain",
    Route(
        takes=access_shapes.CheckAccessBody,
        gives={200: RouteAnswer("The decision.", access_shapes.ExplainedDecision)},
        refuses=(VFolderNotFound, AmbiguousReference, AccessUnavailable),
    ),
)
@needs("access.explain", noted=True)
def explain_access(body: access_shapes.CheckAccess, asked: PersonRequest) -> Response:
    """Explain what a user may do on one vfolder, step by step. Nothing is done.

    Groups that are kept here count by themselves; name those in `groups` that only tokens know.
    """
    kind, _, text = body.subject.partition(":")
    if kind != "user":
        raise InvalidParameters("The subject of a decision is a user: user:<uuid>.")
    asked.note(target=body.subject, after={"act": body.act, "vfolder": body.vfolder[:TEXT_MAX]})
    subject = Subject(
        kind="user",
        id=UUID(text),
        groups=frozenset(body.groups),
        admin_of=frozenset(body.admin_of),
        on_behalf=True,
    )
    people = keys.parts_of_door()
    credential = CredentialFacts(
        kind="key", id="explained", scopes=frozenset(Scope(one) for one in body.scopes)
    )
    caller = Caller(subject=people.subjects.completed(subject), credential=credential)
    return no_store(explanation(caller, body.act, body.vfolder, people.records, people.deciders))


def _filter(given: dict[str, str]) -> SubjectFilter:
    text, kind = given.get("q", ""), given.get("kind", "")
    if len(text) > TEXT_MAX:
        raise pointer("q", f"has at most {TEXT_MAX} characters")
    if kind not in ("", *_KINDS):
        raise pointer("kind", f"is none of {', '.join(_KINDS)}")
    return SubjectFilter(text, kind, entries.flag(given, "blocked"))


def _document(one: ListedSubject, vfolders: int | None) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "id": str(one.id),
        "name": one.name or None,
        "blocked": one.blocked,
        "keys": one.keys,
        "members": one.members,
        "vfolders": vfolders,
    }


def _encoded(place: SubjectPlace) -> str:
    text = f"{place.name_key}\0{place.word}".encode("utf-8", "surrogateescape")
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _decoded(text: str | None) -> SubjectPlace | None:
    if text is None:
        return None
    try:
        padded = text + "=" * (-len(text) % 4)
        key, word = base64.b64decode(padded, b"-_", validate=True).decode().split("\0")
    except (binascii.Error, ValueError):
        raise pointer("cursor", "is not `next` of a page") from None
    return SubjectPlace(is_unnamed=not key, name_key=key, word=word)
