"""Sign-in of `vfolder login --oidc`: a browser signs in, and the person brings its code here."""

import base64
import hashlib
import secrets
from typing import Any
from urllib.parse import urlencode

import click

from api.cli.forms import ApiRefused

#: The verifier of PKCE (RFC 7636 §4.1; bytes before base64url).
_VERIFIER_BYTES = 32
_SECONDS = 30.0


def key_of_browser(url: str, ca: str | None, issuer: str | None) -> str:
    """Return a sign-in as a key, after a browser signed in at an issuer of the service.

    The browser may be on another machine: nothing but the code goes from there to here.

    Raises:
        ApiRefused: the service has no such issuer, or refuses the code.
    """
    address = _begins_at(url, ca, issuer)
    verifier = secrets.token_urlsafe(_VERIFIER_BYTES)
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    query = urlencode({"challenge": challenge})
    click.echo(f"Open this address in a browser, and sign in:\n\n  {address}?{query}\n", err=True)
    code = click.prompt("Code", hide_input=True, err=True).strip()
    body = {"code": code, "verifier": verifier}
    found = _asked("POST", f"{url}/v1/signin/exchange", ca, body)
    return str(found["key"])


def _begins_at(url: str, ca: str | None, issuer: str | None) -> str:
    """Return where browsers begin to sign in."""
    methods = _asked("GET", f"{url}/v1/signin/methods", ca)["methods"]
    found = {one["name"]: one["url"] for one in methods if one["kind"] == "oidc"}
    if not found:
        raise ApiRefused("Browsers do not sign in at this service.", "use a key", 2)
    if issuer is None and len(found) > 1:
        raise ApiRefused("The service has several issuers.", f"--issuer {'|'.join(found)}", 2)
    if issuer is not None and issuer not in found:
        raise ApiRefused(f"There is no issuer {issuer}.", f"--issuer {'|'.join(found)}", 2)
    return str(found[issuer or next(iter(found))])


def _asked(method: str, url: str, ca: str | None, body: Any = None) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """Return the answer of a route that needs no credential."""
    import requests  # noqa: PLC0415 - loading it takes longer than to print the help of a command

    try:
        with requests.Session() as session:
            session.trust_env = False
            verify: str | bool = ca or True
            answer = session.request(
                method, url, json=body, verify=verify, timeout=_SECONDS, allow_redirects=False
            )
            document = answer.json()
    except (requests.RequestException, ValueError) as error:
        raise ApiRefused(f"{url} does not answer as a door: {type(error).__name__}.") from None
    if not isinstance(document, dict) or not answer.ok:
        detail = document.get("msg") if isinstance(document, dict) else None
        raise ApiRefused(str(detail or f"status {answer.status_code}"))
    return document
