"""Routes of notices: what concerns the caller and the groups that it is an admin of."""

from typing import Any
from uuid import UUID

from flask import Response

from api.doors.people.entries import limit_of, query
from api.doors.people.keys import private
from api.http import no_content
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
from api.schemas import quotas as shapes
from core.access import Subject
from core.errors import NotFound
from core.names import moment_of_ms
from core.quota import Notice

blueprint = PeopleResource("notices", __name__, description="Notices.")

PAGE_DEFAULT, PAGE_MAX = 100, 1000
_PARAMETERS = (
    parameters.in_query(
        "limit",
        "The most notices of the page.",
        type="integer",
        minimum=1,
        maximum=PAGE_MAX,
        default=PAGE_DEFAULT,
    ),
    parameters.in_query("cursor", "`next` of the page before."),
)


class NoticeNotFound(NotFound):
    """The caller has no such notice."""

    error_code = "auth_read_not-found"
    kind = "auth/notice/not-found"
    title = "No such notice"


@blueprint.operation(
    "GET",
    "/v1/notices",
    Route(gives={200: RouteAnswer("One page.", shapes.NoticePage)}, parameters=_PARAMETERS),
)
@needs("notices.read")
def list_notices(asked: PersonRequest) -> Response:
    """List the notices of the last 90 days, the newest first; of each subject the newest 1,000."""
    given = query(("limit", "cursor"))
    limit, cursor = limit_of(given, PAGE_DEFAULT, PAGE_MAX), given.get("cursor", "")
    store = current_door().notices
    if "cursor" in given and not store.is_id(cursor):
        raise pointer("cursor", "is not `next` of a page")
    subject = asked.caller.subject
    page = store.of(_concerned(subject), limit, cursor)
    read = frozenset() if subject.id is None else store.read_by(subject.id)
    documents = [_document(subject, notice, read=notice.id in read) for notice in page]
    following = page[-1].id if len(page) == limit else None
    return private({"notices": documents, "next": following})


@blueprint.operation(
    "POST",
    "/v1/notices/<notice_id>/read",
    Route(gives={204: RouteAnswer("Read.")}, refuses=(NoticeNotFound,)),
)
@needs("notices.read")
def mark_notice_read(asked: PersonRequest) -> Response:
    """Mark a notice as read by the caller; other admins of the group still see it as new."""
    query(())
    subject, store = asked.caller.subject, current_door().notices
    notice = store.named(asked.path["notice_id"], _concerned(subject))
    if notice is None or subject.id is None:
        raise NoticeNotFound("You have no such notice.")
    store.mark_read(subject.id, notice)
    return no_content()


def _concerned(subject: Subject) -> list[UUID]:
    """Return the ids of the subjects whose notices a caller sees."""
    own = [subject.id] if subject.id is not None else []
    return [*own, *subject.admin_of]


def _document(subject: Subject, notice: Notice, *, read: bool) -> dict[str, Any]:
    """Return a notice; the caller's own id is that of a user, and any other one that of a group.

    A scope is named where it is about the scope, and a vfolder where it is about that.
    """
    vfolder, scope = notice.facts.get("vfolder"), None
    if vfolder is None:
        own = subject.id is not None and notice.subject == subject.id.hex
        scope = f"{'user' if own else 'project'}:{UUID(notice.subject)}"
    return {
        **notice.facts,
        "scope": scope,
        "vfolder": None if vfolder is None else str(UUID(vfolder)),
        "id": notice.id,
        "at": moment_of_ms(notice.at_ms),
        "read": read,
    }
