"""The route that finds users and groups to share with. It lists no directory of all users."""

from flask import Response

from api.doors.people.entries import query
from api.doors.people.keys import parts_of_door, private
from api.jobs import pointer
from api.routes import PeopleResource, PersonRequest, Route, RouteAnswer, needs, parameters
from api.schemas import people as shapes

blueprint = PeopleResource("subjects", __name__, description="Users and groups to share with.")

#: The most that one answer names.
FOUND_MAX = 10
#: Longer texts name no one (characters).
TEXT_MAX = 200
_TEXT = parameters.in_query(
    "q", "A part of a name, or the beginning of an id; all near ones when absent."
)


@blueprint.operation(
    "GET",
    "/v1/subjects",
    Route(gives={200: RouteAnswer("Up to 10 of them.", shapes.FoundSubjects)}, parameters=(_TEXT,)),
)
@needs("subjects.read")
def find_subjects(asked: PersonRequest) -> Response:
    """Find users and groups to share with: the caller's groups, and the members of those kept here.

    Those of exactly the name come first.

    Others are found by their whole name or id alone.
    """
    text = query(("q",)).get("q", "")
    if len(text) > TEXT_MAX:
        raise pointer("q", f"has at most {TEXT_MAX} characters")
    found = parts_of_door().subjects.found(asked.caller.subject, text, FOUND_MAX)
    rows = [{"kind": one.kind, "id": str(one.id), "name": one.name or None} for one in found]
    return private({"subjects": rows})
