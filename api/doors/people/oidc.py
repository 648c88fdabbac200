"""Sign-in of browsers at an issuer (OpenID Connect): to the issuer, and back with a code.

These routes need no credential: they are how a browser gets one. `core.access.oidc` has the flow.
"""

import time
from http import HTTPStatus
from typing import Any

from flask import Response, request
from msgspec import structs

from api.doors.people.entries import query
from api.doors.people.keys import parts_of_door, private, table_of_door
from api.http import RequestContext, this_request
from api.routes import PersonRequest, Resource, Route, RouteAnswer, current_door, parameters
from api.routes.people_parts import PeopleParts
from api.schemas import credentials as shapes
from core.access import ACTS, Caller
from core.access.issuers import VerifiedToken
from core.access.oidc import (
    CODE_MAX,
    FLOW_SECONDS,
    OidcClient,
    OidcFlow,
    OidcRefused,
    checked_target,
    cookie_of,
    with_failure,
)
from core.errors import (
    AccessUnavailable,
    InvalidParameters,
    NotFound,
    Throttled,
    Unauthenticated,
)
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
        ),
        open_to_all=True,
    ),
)
def begin_sign_in(issuer: str) -> Response:
    """Send a browser to an issuer; it has ten minutes to come back."""
    target = checked_target(query(("to",)).get("to", TARGET))
    parts, current = parts_of_door(), this_request()
    cookies = parts.credentials.cookies
    cookies.check_scheme(current)
    flow, url = _client(parts, issuer).begin(target)
    response = _sent_to(url)
    cookies.set_flow(response, current, flow.cookie, parts.oidc.sealed(flow), FLOW_SECONDS)
    return response


@blueprint.operation(
    "GET",
    "/v1/signin/oidc/<issuer>/callback",
    Route(
        gives={303: RouteAnswer("Signed in, or `signin_error` in the query says why not.")},
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
        response = _signed_in(parts, current, _caller(parts, client, flow, given), flow.target)
    except OidcRefused as error:
        _log.info("issuer refused a person", issuer=issuer, error=error.reason[:ERROR_MAX])
        response = _sent_to(with_failure(flow.target, DENIED))
    except tuple(_FAILURES) as error:
        response = _sent_to(with_failure(flow.target, _FAILURES[type(error)]))
    cookies.forget_flow(response, current, cookie)
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


def _sent_to(url: str) -> Response:
    """Send a browser on, by GET (RFC 9700 §4.12); no other site learns where it came from."""
    response = Response(status=HTTPStatus.SEE_OTHER, headers={"Location": url})
    response.autocorrect_location_header = False
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
