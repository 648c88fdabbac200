"""Links: secret URLs for visitors without a credential. Only digests of their secrets are kept.

    vfl_<27 digits in base 62>    160 random bits; the SHA-256 of the text names the link

A link never gives more than its maker has at the moment of a visit. The index of records finds the
vfolder of a link by its digest (`core.access.index`).
"""

import base64
import hashlib
import hmac
import re
import secrets

from core.access.records import Link
from core.errors import InvalidParameters

PREFIX = "vfl_"
#: 62**27 is more than 2**160.
TOKEN_DIGITS = 27
#: The shortest password of a link, and the longest (characters).
PASSWORD_MIN, PASSWORD_MAX = 8, 200
#: scrypt (RFC 7914): 16 MiB and about 50 ms for each look.
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}
_SALT_BYTES = 16
_ID_BYTES = 9
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{TOKEN_DIGITS}}}")


def new_token() -> str:
    """Return the secret of a new link; its maker gets it once."""
    return PREFIX + "".join(secrets.choice(_DIGITS) for _ in range(TOKEN_DIGITS))


def new_id() -> str:
    """Return the id of a new link, which is no secret."""
    return secrets.token_urlsafe(_ID_BYTES)


def digest_of(token: str) -> str | None:
    """Return the digest that names a link; None for a text that is no token."""
    if _TOKEN.fullmatch(token) is None:
        return None
    return hashlib.sha256(token.encode()).hexdigest()


def is_live(link: Link, now: float) -> bool:
    """Return whether a link is neither revoked nor expired."""
    return link.revoked_at is None and (link.expires_at is None or now < link.expires_at)


def hashed(password: str) -> str:
    """Return what is kept of a password.

    Raises:
        InvalidParameters: it is too short or too long.
    """
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise InvalidParameters(
            f"The password of a link has {PASSWORD_MIN} to {PASSWORD_MAX} characters."
        )
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"scrypt${_text(salt)}${_text(_derived(password, salt))}"


def is_password(password: str, kept: str) -> bool:
    """Return whether a password is the one of which this is kept; costs as `hashed`."""
    _, salt, found = kept.split("$")
    return hmac.compare_digest(_derived(password, base64.b64decode(salt)), base64.b64decode(found))


def _derived(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, **_SCRYPT)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


# -- Words of the index ----------------------------------------------------------------------------
def words_of(link: Link) -> set[str]:
    """Return the words by which the index finds the vfolder of a link; none once it is revoked."""
    if link.revoked_at is not None:
        return set()
    return {secret_word(link.digest), id_word(link.id), maker_word(link.maker)}


def secret_word(digest: str) -> str:
    """Return the word of a link by its digest."""
    return f"link:{digest}"


def id_word(link_id: str) -> str:
    """Return the word of a link by its id."""
    return f"link-id:{link_id}"


def maker_word(maker: str) -> str:
    """Return the word of all links that a user made."""
    return f"links-of:{maker}"
