"""Sign-in of browsers at an issuer (OpenID Connect): to the issuer, and back with a code.

These routes need no credential: they are how a browser gets one. `core.access.credentials.oidc` has
the flow.
"""

import re
import time
from html import escape
from http import HTTPStatus
from typing import Any

from flask import Response, request
from msgspec import structs

from api.doors.people.entries import query
from api.doors.people.keys import parts_of_door, private, table_of_door
from api.http import RequestContext, no_content, this_request
from api.jobs import pointer
from api.routes import PersonRequest, Resource, Route, RouteAnswer, current_door, parameters
from api.routes.people_parts import PeopleParts
from api.schemas import credentials as shapes
from core.access import ACTS, Caller
from core.access.credentials.issuers import VerifiedToken
from core.access.credentials.oidc import (
    CODE_MAX,
    FLOW_SECONDS,
    OidcClient,
    OidcFlow,
    OidcRefused,
    checked_target,
    cookie_of,
    with_failure,
)
from core.access.credentials.signins import PREFIX as SIGN_IN_PREFIX
from core.errors import (
    AccessForbidden,
    AccessUnavailable,
    InvalidParameters,
    NotFound,
    Throttled,
    Unauthenticated,
)
from core.names import moment
from core.telemetry import logger

_log = logger(__name__)
blueprint = Resource("oidc", __name__, description="Sign-in of browsers at an issuer.")
#: Where a browser goes that names no other path.
TARGET = "/console"
#: What the page reads in `signin_error` when the issuer refuses the person.
DENIED = "denied"
_FAILURES: dict[type[Exception], str] = {
    Unauthenticated: "refused",
    Throttled: "throttled",
    AccessUnavailable: "unavailable",
}
#: The longest word of an issuer that the log has (characters).
ERROR_MAX = 100
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_ISSUER_SENDS = ("code", "state", "iss", "error")


class IssuerNotFound(NotFound):
    """Browsers do not sign in at an issuer of this name."""

    error_code = "auth_read_not-found"
    kind = "auth/issuer/not-found"
    title = "No such issuer"


@blueprint.operation(
    "GET",
    "/v1/signin/methods",
    Route(gives={200: RouteAnswer("The ways.", shapes.SignInMethods)}, open_to_all=True),
)
def list_sign_in_methods() -> Response:
    """List the ways to sign in that this server takes."""
    query(())
    found: list[dict[str, Any]] = [{"kind": "key"}]
    if table_of_door().issuer:
        found.append({"kind": "token"})
    oidc = parts_of_door().oidc
    for client in oidc.clients:
        name, label = client.table.name, client.table.label or client.table.name
        url = oidc.url_of(client)
        found.append({"kind": "oidc", "name": name, "label": label, "url": url})
    return private({"methods": found})


@blueprint.operation(
    "GET",
    "/v1/signin/oidc/<issuer>",
    Route(
        gives={303: RouteAnswer("To the issuer.")},
        refuses=(InvalidParameters, IssuerNotFound, AccessUnavailable),
        parameters=(
            parameters.in_query("to", f"The path to come back to; `{TARGET}` without it."),
            parameters.in_query(
                "challenge",
                "For a program: the SHA-256 of its verifier (RFC 7636 §4.2). The browser then "
                "shows a code for `POST /v1/signin/exchange`.",
            ),
        ),
        open_to_all=True,
    ),
)
def begin_sign_in(issuer: str) -> Response:
    """Send a browser to an issuer; it has ten minutes to come back."""
    given = query(("to", "challenge"))
    target, challenge = checked_target(given.get("to", TARGET)), given.get("challenge", "")
    if "challenge" in given and not _CHALLENGE.fullmatch(challenge):
        raise pointer("challenge", "is not the base64url of a SHA-256")
    parts, current = parts_of_door(), this_request()
    cookies = parts.credentials.cookies
    cookies.check_scheme(current)
    flow, url = _client(parts, issuer).begin(target, challenge)
    response = _sent_to(url)
    cookies.set_flow(response, current, flow.cookie, parts.oidc.sealed(flow), FLOW_SECONDS)
    return response


@blueprint.operation(
    "GET",
    "/v1/signin/oidc/<issuer>/callback",
    Route(
        gives={
            200: RouteAnswer("The code for a program.", content_type="text/html"),
            303: RouteAnswer("Signed in, or `signin_error` in the query says why not."),
        },
        refuses=(InvalidParameters, IssuerNotFound),
        parameters=(
            parameters.in_query("state", "As the issuer got it."),
            parameters.in_query("code", "What is exchanged for an ID token."),
            parameters.in_query("iss", "The issuer that sends the browser."),
            parameters.in_query("error", "Why the issuer refuses the person."),
        ),
        open_to_all=True,
    ),
)
def end_sign_in_at_issuer(issuer: str) -> Response:
    """Exchange the code of the issuer for a sign-in; other parameters of it are ignored.

    `signin_error` is `denied` (by the issuer), `refused` (the audit log has the reason),
    `unavailable` or `throttled`.
    """
    parts, current = parts_of_door(), this_request()
    cookies = parts.credentials.cookies
    client, given = _client(parts, issuer), _given()
    state = given.get("state", "")
    cookie = cookie_of(state)
    flow = parts.oidc.opened(cookies.flow(current, cookie), issuer, state) if state else None
    if flow is None:
        detail = "This browser has not begun to sign in here within the last ten minutes."
        raise InvalidParameters(f"{detail} Begin again.")
    try:
        caller = _caller(parts, client, flow, given)
        if flow.challenge:
            response = _shown(parts.sign_ins.hand_over(caller, flow.challenge))
        else:
            response = _signed_in(parts, current, caller, flow.target)
    except OidcRefused as error:
        _log.info("issuer refused a person", issuer=issuer, error=error.reason[:ERROR_MAX])
        response = _failed(flow, DENIED)
    except tuple(_FAILURES) as error:
        response = _failed(flow, _FAILURES[type(error)])
    cookies.forget_flow(response, current, cookie)
    return response


@blueprint.operation(
    "POST",
    "/v1/signin/exchange",
    Route(
        takes=shapes.SignInCodeBody,
        gives={200: RouteAnswer("The sign-in.", shapes.SignInKey)},
        refuses=(Unauthenticated, Throttled, AccessUnavailable),
        open_to_all=True,
    ),
)
def exchange_code(body: shapes.SignInCode) -> Response:
    """Exchange a code that a browser shows for a sign-in of a program.

    `key` is sent as a key. A code is valid once, for two minutes, with the verifier of the program.
    """
    parts, current = parts_of_door(), this_request()

    def taken() -> Caller | None:
        return parts.sign_ins.taken(body.code, body.verifier)

    caller = parts.credentials.caller_by_code(current, body.code, taken)
    PersonRequest(current_door().access, caller, ACTS["signin.manage"], {}).decide()
    made, text = parts.sign_ins.begin(caller, current.headers.get("User-Agent", ""))
    return private({"key": f"{SIGN_IN_PREFIX}{text}", "expires_at": moment(made.ends_at)})


@blueprint.operation(
    "POST",
    "/v1/signin/code",
    Route(
        takes=shapes.SignInCodeBody,
        gives={204: RouteAnswer("Signed in.", headers=("Set-Cookie",))},
        refuses=(
            *(Unauthenticated, Throttled, AccessUnavailable),
            *(AccessForbidden, InvalidParameters),
        ),
        parameters=(parameters.header("X-VFolder", "`1`: a page of this service sends it."),),
        open_to_all=True,
    ),
)
def sign_in_by_code(body: shapes.SignInCode) -> Response:
    """Exchange the code of a one-time link for the cookie of a browser.

    A code is valid once, for two minutes. Only a page of this service may send it: no other page
    can sign a person in as someone else.
    """
    parts, current = parts_of_door(), this_request()
    cookies = parts.credentials.cookies
    cookies.check_sender(current)
    cookies.check_scheme(current)

    def taken() -> Caller | None:
        return parts.sign_ins.taken(body.code, body.verifier)

    caller = parts.credentials.caller_by_code(current, body.code, taken)
    PersonRequest(current_door().access, caller, ACTS["signin.manage"], {}).decide()
    made, text = parts.sign_ins.begin(caller, current.headers.get("User-Agent", ""))
    response = no_content()
    cookies.set(response, current, text, made.ends_at - time.time())
    response.headers["Cache-Control"] = "no-store"
    return response


def _client(parts: PeopleParts, issuer: str) -> OidcClient:
    client = parts.oidc.named(issuer)
    if client is None:
        raise IssuerNotFound("Browsers do not sign in at an issuer of this name.")
    return client


def _given() -> dict[str, str]:
    """Return the parameters that count; RFC 6749 §3.1 lets each be there once.

    Raises:
        InvalidParameters: one is given twice, or is too long.
    """
    for name in _ISSUER_SENDS:
        values = request.args.getlist(name)
        if len(values) > 1 or any(len(one) > CODE_MAX for one in values):
            raise InvalidParameters(f"{name} is given more than once, or is too long.")
    return {name: request.args[name] for name in _ISSUER_SENDS if name in request.args}


def _caller(
    parts: PeopleParts, client: OidcClient, flow: OidcFlow, given: dict[str, str]
) -> Caller:
    """Return who signs in; its credential ends with the sign-in."""
    table = client.table

    def verified() -> VerifiedToken:
        token = client.id_token(flow, given)
        return parts.credentials.issuers.verified_id_token(table.issuer, token, flow.nonce)

    caller = parts.credentials.caller_by(this_request(), given.get("code", flow.state), verified)
    if table.sign_in_seconds is None:
        return caller
    ends_at = time.time() + table.sign_in_seconds
    credential = structs.replace(caller.credential, expires_at=ends_at)
    return structs.replace(caller, credential=credential)


def _signed_in(
    parts: PeopleParts, current: RequestContext, caller: Caller, target: str
) -> Response:
    """Return the answer with the cookie of a new sign-in, which the audit log has then."""
    cookies = parts.credentials.cookies
    cookies.check_scheme(current)
    PersonRequest(current_door().access, caller, ACTS["signin.manage"], {}).decide()
    made, text = parts.sign_ins.begin(caller, current.headers.get("User-Agent", ""))
    response = _sent_to(target)
    cookies.set(response, current, text, made.ends_at - time.time())
    return response


def _failed(flow: OidcFlow, word: str) -> Response:
    """Send a browser back with the word of a failure; of a program's sign-in it is a page."""
    if flow.challenge:
        return _page("Not signed in", f"The sign-in failed: {word}. Begin again in the terminal.")
    return _sent_to(with_failure(flow.target, word))


def _shown(code: str) -> Response:
    """Show a code to the person, who takes it to the program."""
    text = (
        "Paste this code into the terminal where you ran vfolder login. It is valid for two "
        "minutes. Give it to no other person: it signs them in as you."
    )
    return _page("Signed in", text, code)


def _page(title: str, text: str, code: str = "") -> Response:
    """Return a page without scripts, which no other page can frame."""
    shown = f"<pre>{escape(code)}</pre>" if code else ""
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>vfolder: {escape(title)}'
        f"</title><h1>{escape(title)}</h1><p>{escape(text)}</p>{shown}</html>"
    )
    response = Response(page, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response


def _sent_to(url: str) -> Response:
    """Send a browser on, by GET (RFC 9700 §4.12); no other site learns where it came from."""
    response = Response(status=HTTPStatus.SEE_OTHER, headers={"Location": url})
    response.autocorrect_location_header = False
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
