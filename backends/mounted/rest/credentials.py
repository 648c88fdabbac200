"""User and password in each request (RFC 7617), checked once before the first request uses them.

Some arrays lock an account after a few wrong passwords. Without the check, every thread presents
the wrong password in requests of its own. Here one thread presents it, and the refusal rests
(`sessions`).
"""

from base64 import b64encode
from collections.abc import Callable, Mapping

from backends.mounted.rest.answers import ArrayRefused, Expired, Reason
from backends.mounted.rest.client import ArrayRequest, Client


def basic_token(user: str, password: str) -> str:
    """Return user and password as a request carries them; as secret as the password."""
    return b64encode(f"{user}:{password}".encode()).decode()


def basic_login(token: str, check: str) -> Callable[[Client], Mapping[str, str]]:
    """Return a login that checks the credentials by one GET of the path `check`.

    The login raises:
        ArrayRefused: the array does not accept the credentials.
    """
    headers = {"Authorization": f"Basic {token}"}

    def sign_in(client: Client) -> Mapping[str, str]:
        try:
            client.exchange(ArrayRequest("GET", check, headers=headers))
        except Expired:
            raise ArrayRefused(
                "The array does not accept the user or the password.", Reason.DENIED
            ) from None
        return headers

    return sign_in
