"""The ways to log in that several vendors share.

* User and password in each request (RFC 7617), checked once before the first request uses them.
  Some arrays lock an account after a few wrong passwords. Without the check, every thread presents
  the wrong password in requests of its own. Here one thread presents it, and the refusal rests
  (`sessions`).
* An access token that lives for minutes, and a refresh token that renews it.
* A session that is ended with the process: an array keeps a limited number of sessions.
"""

import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from backends.mounted.rest import deadline
from backends.mounted.rest.answers import ArrayRefused, Expired
from backends.mounted.rest.client import ArrayRequest, Client
from core.errors import StorageError

#: At the end of the process the session is ended, within this time (seconds).
_LOGOUT_SECONDS = 5.0


def basic_token(user: str, password: str) -> str:
    """Return user and password as a request carries them; as secret as the password."""
    return b64encode(f"{user}:{password}".encode()).decode()


def basic_login(token: str, check: str) -> Callable[[Client], Mapping[str, str]]:
    """Return a login that checks user and password by one GET of the path `check`.

    The login raises:
        ArrayRefused: the array does not accept the credentials.
    """
    refused = "The array does not accept the user or the password."
    return checked_login({"Authorization": f"Basic {token}"}, check, refused)


def checked_login(
    headers: Mapping[str, str], check: str, refused: str
) -> Callable[[Client], Mapping[str, str]]:
    """Return a login by these headers, or by the client's certificate, checked by one GET.

    The login raises:
        ArrayRefused: the array does not accept the credentials; the text is `refused`.
    """

    def sign_in(client: Client) -> Mapping[str, str]:
        client.present(ArrayRequest("GET", check, headers=headers), refused)
        return headers

    return sign_in


class Tokens(NamedTuple):
    """What a login gives; an empty refresh token leaves the one before in use."""

    access: str
    refresh: str = ""


class TokenLogin:
    """A login whose token is renewed by another one; a child never uses its parent's login."""

    def __init__(
        self,
        log_in: Callable[[Client], Tokens],
        renew: Callable[[Client, str], Tokens],
    ) -> None:
        """Take the vendor's two requests; `renew` gets the refresh token."""
        self._log_in = log_in
        self._renew = renew
        self._kept: tuple[int, str] | None = None

    def __call__(self, client: Client) -> Mapping[str, str]:
        """Renew the login of this process, or log in; return the headers.

        Raises:
            ArrayRefused: the array does not accept the credentials.
        """
        tokens: Tokens | None = None
        if self._kept and self._kept[0] == os.getpid():
            with suppress(Expired, ArrayRefused):
                tokens = self._renew(client, self._kept[1])
        if tokens is None:
            self._kept = None
            tokens = self._log_in(client)
        if tokens.refresh:
            self._kept = (os.getpid(), tokens.refresh)
        return {"Authorization": f"Bearer {tokens.access}"}


def end_session(client: Client, method: str, path: str) -> None:
    """Close a client and end its session at the array, by one request that needs no login."""
    login = client.close()
    if login is None:
        return
    with suppress(StorageError, Expired), deadline.within(_LOGOUT_SECONDS):
        client.exchange(ArrayRequest(method, path, headers=login.headers))
    client.close()
