"""Routes of a browser's sign-in: a key or token is exchanged for a cookie, which can be ended."""

import time
from typing import Any

from flask import Response

from api.doors.people.entries import query
from api.doors.people.keys import parts_of_door, private
from api.http import no_content, this_request
from api.routes import PeopleResource, PersonRequest, Route, RouteAnswer, needs
from api.schemas import credentials as shapes
from core.access.credentials.signins import SignIn
from core.errors import AccessForbidden, NotFound
from core.names import moment_or_none

blueprint = PeopleResource("signins", __name__, description="One's sign-ins.")

_SET = {204: RouteAnswer("Signed in.", headers=("Set-Cookie",))}
_ENDED = {204: RouteAnswer("Ended.")}


class SignInNotFound(NotFound):
    """The caller has no such sign-in."""

    error_code = "auth_read_not-found"
    kind = "auth/sign-in/not-found"
    title = "No such sign-in"


@blueprint.operation("POST", "/v1/signin", Route(gives=_SET))
@needs("signin.manage")
def sign_in(asked: PersonRequest) -> Response:
    """Exchange a key or token for a cookie that ends with it, after 12 hours, or an hour idle.

    With the cookie, a change needs the header `X-VFolder: 1` and an `Origin` of this service.
    """
    query(())
    if asked.caller.credential.kind not in ("key", "token"):
        raise AccessForbidden("A sign-in takes a key or a token in the header Authorization.")
    parts, request = parts_of_door(), this_request()
    cookies = parts.credentials.cookies
    cookies.check_scheme(request)
    made, text = parts.sign_ins.begin(asked.caller, request.headers.get("User-Agent", ""))
    response = no_content()
    cookies.set(response, request, text, made.ends_at - time.time())
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.operation(
    "GET",
    "/v1/signin",
    Route(
        gives={200: RouteAnswer("The sign-in.", shapes.SignInDocument)}, refuses=(SignInNotFound,)
    ),
)
@needs("signin.manage")
def get_sign_in(asked: PersonRequest) -> Response:
    """Return the sign-in by which this request came."""
    query(())
    credential = asked.caller.credential
    found = parts_of_door().sign_ins.named(asked.caller.subject, credential.id)
    if credential.kind != "cookie" or found is None:
        raise SignInNotFound("This request came by no sign-in.")
    return private(_document(asked, found))


@blueprint.operation("DELETE", "/v1/signin", Route(gives=_ENDED, refuses=(SignInNotFound,)))
@needs("signin.manage")
def sign_out(asked: PersonRequest) -> Response:
    """End the sign-in by which this request came, and drop its cookie."""
    query(())
    if asked.caller.credential.kind != "cookie":
        raise SignInNotFound("This request came by no sign-in.")
    parts = parts_of_door()
    parts.sign_ins.end(asked.caller.subject, asked.caller.credential.id)
    response = no_content()
    parts.credentials.cookies.forget(response, this_request())
    return response


@blueprint.operation(
    "GET", "/v1/signins", Route(gives={200: RouteAnswer("The sign-ins.", shapes.SignInList)})
)
@needs("signin.manage")
def list_sign_ins(asked: PersonRequest) -> Response:
    """List one's sign-ins, the newest first."""
    query(())
    found = parts_of_door().sign_ins.of(asked.caller.subject)
    return private({"sign_ins": [_document(asked, one) for one in found]})


@blueprint.operation(
    "DELETE", "/v1/signins/<sign_in_id>", Route(gives=_ENDED, refuses=(SignInNotFound,))
)
@needs("signin.manage")
def end_sign_in(asked: PersonRequest) -> Response:
    """End one of one's sign-ins."""
    query(())
    if not parts_of_door().sign_ins.end(asked.caller.subject, asked.path["sign_in_id"]):
        raise SignInNotFound("You have no such sign-in.")
    return no_content()


def _is_current(asked: PersonRequest, one: SignIn) -> bool:
    credential = asked.caller.credential
    return credential.kind == "cookie" and credential.id == one.id


def _document(asked: PersonRequest, one: SignIn) -> dict[str, Any]:
    return {
        "id": one.id,
        "current": _is_current(asked, one),
        "made_by": one.made_by.kind,
        "created_at": moment_or_none(one.created_at),
        "last_used_at": moment_or_none(one.last_used_at),
        "expires_at": moment_or_none(one.ends_at),
        "address": one.address,
        "agent": one.agent,
    }
