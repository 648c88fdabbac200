"""The cookie of a browser's sign-in, and what keeps pages of others from using it.

`__Host-vfolder` is Secure, HttpOnly and SameSite=Strict (RFC 6265bis §4.1.3). Where the door itself
is called by plain http on loopback, browsers take no such cookie; there it is `vfolder`.

With a cookie every change needs the header `X-VFolder: 1`, which no form can send, and an `Origin`
that is the door's own or one of `[vfolder.access] origins`.

A sign-in at an issuer has a cookie of its own until the browser comes back; it proves no caller.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Response

from api.http.flask_app import RequestContext
from core.errors import AccessForbidden, InvalidParameters
from core.settings import Settings

SECURE_NAME, PLAIN_NAME = "__Host-vfolder", "vfolder"
#: A sign-in at an issuer that has begun; the rest of the name is of that flow.
_FLOW = "-oidc-"
HEADER = "X-VFolder"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SignInCookies:
    """The cookies of one door."""

    def __init__(self, settings: Settings) -> None:
        table = settings.vfolder.access
        self._proxies = settings.vfolder.doors.trusted_proxies
        self._origins = frozenset(table.origins if table else ())
        for text in (settings.vfolder.doors.client_url, table.sign_in_url if table else ""):
            url = urlsplit(text)
            if url.netloc:
                self._origins |= {f"{url.scheme}://{url.netloc}"}

    def text(self, request: RequestContext) -> str | None:
        """Return the text of a request's cookie; None when it has none.

        Raises:
            AccessForbidden: it has one, and a page of others may have sent the request.
        """
        text = request.cookies.get(self._name(request))
        if not text:
            return None
        if request.method not in _SAFE_METHODS:
            self.check_sender(request)
        return text

    def set(self, response: Response, request: RequestContext, text: str, seconds: float) -> None:
        """Give a browser its cookie for so long; `check_scheme` comes first.

        Raises:
            InvalidParameters: the request came by plain http from elsewhere.
        """
        self.check_scheme(request)
        secure = self._scheme(request) == "https"
        response.set_cookie(
            self._name(request),
            text,
            max_age=int(seconds),
            secure=secure,
            httponly=True,
            samesite="Strict",
            path="/",
        )

    def is_secure(self, request: RequestContext) -> bool:
        """Return whether the caller came by https, as trusted proxies say."""
        return self._scheme(request) == "https"

    def check_scheme(self, request: RequestContext) -> None:
        """Refuse a sign-in by plain http, unless the browser is on this machine.

        Raises:
            InvalidParameters: the request came by plain http from elsewhere.
        """
        if self._scheme(request) != "https" and not self._is_plain(request):
            raise InvalidParameters("A sign-in needs https; others could read its cookie.")

    def forget(self, response: Response, request: RequestContext) -> None:
        """Let a browser drop its cookie."""
        secure = self._scheme(request) == "https"
        response.delete_cookie(
            self._name(request), path="/", secure=secure, httponly=True, samesite="Strict"
        )

    # -- Sign-ins at issuers that have begun -------------------------------------------------------
    def flow(self, request: RequestContext, name: str) -> str:
        """Return the text of the flow of this name; empty when the browser has none."""
        return request.cookies.get(self._name(request) + _FLOW + name, "")

    def set_flow(
        self, response: Response, request: RequestContext, name: str, text: str, seconds: float
    ) -> None:
        """Give a browser a flow, which it sends when it comes back from the issuer.

        SameSite=Strict would keep it back there: the way to us begins at another site.
        """
        response.set_cookie(
            self._name(request) + _FLOW + name,
            text,
            max_age=int(seconds),
            secure=self._scheme(request) == "https",
            httponly=True,
            samesite="Lax",
            path="/",
        )

    def forget_flow(self, response: Response, request: RequestContext, name: str) -> None:
        """Let a browser drop a flow."""
        response.delete_cookie(
            self._name(request) + _FLOW + name,
            path="/",
            secure=self._scheme(request) == "https",
            httponly=True,
            samesite="Lax",
        )

    # -- Origins and schemes -----------------------------------------------------------------------
    def check_sender(self, request: RequestContext) -> None:
        """Refuse a request that a page of others may have sent.

        Raises:
            AccessForbidden: it lacks the header, or an `Origin` of this service.
        """
        if request.headers.get(HEADER) != "1":
            raise AccessForbidden(f"With a cookie, a change needs the header {HEADER}: 1.")
        origin = request.headers.get("Origin", "")
        if origin not in self._origins and origin != self._own_origin(request):
            raise AccessForbidden("With a cookie, a change needs an Origin of this service.")

    def _own_origin(self, request: RequestContext) -> str:
        return f"{self._scheme(request)}://{request.headers.get('Host', '')}"

    def _scheme(self, request: RequestContext) -> str:
        """Return the scheme that the caller used; trusted proxies say it (RFC 7239 §5.4)."""
        given = request.headers.get("X-Forwarded-Proto", "") if self._proxies > 0 else ""
        return given.rsplit(",", 1)[-1].strip().lower() or request.scheme

    def _name(self, request: RequestContext) -> str:
        return PLAIN_NAME if self._is_plain(request) else SECURE_NAME

    def _is_plain(self, request: RequestContext) -> bool:
        """Return whether a browser of this machine calls the door itself, by plain http."""
        forwarded = self._proxies > 0 or "X-Forwarded-For" in request.headers
        if forwarded or request.scheme == "https":
            return False
        try:
            return ip_address(str(request.environ.get("REMOTE_ADDR", ""))).is_loopback
        except ValueError:
            return False
