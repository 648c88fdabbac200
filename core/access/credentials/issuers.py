"""Tokens of issuers (JWT, RFC 7519), checked as RFC 8725 wants.

The issuer is chosen by the claim `iss`, and its table alone says which algorithm and which key may
have signed. What a token says of keys (`jku`, `x5u`, `jwk`) or of unknown rules (`crit`) refuses
it. A user or group that is no UUID gets UUID version 5 of the issuer and the text (RFC 9562 §5.5).
"""

import base64
import binascii
import hashlib
import hmac
import re
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import jwt
import msgspec
from msgspec import Struct

from core.access.credentials.jwks import JWKSet, PublicKey
from core.access.permissions import PERSON_SCOPES, Scope
from core.access.subjects import CredentialFacts, Subject
from core.settings import TICKET_AUDIENCE, AccessTable, IssuerTable

#: Longer tokens are refused before they are read (bytes); the header is a part of it.
TOKEN_MAX_BYTES = 16 * 1024
HEADER_MAX_BYTES = 1024
#: More groups or roles than a person has.
NAMES_MAX = 1000
#: A `jti` of this form names the token in logs.
_NAMED = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
#: Parameters of the header that say where a key is, or that the reader must know more.
_REFUSED_PARAMETERS = ("jku", "x5u", "jwk", "crit", "b64")
_REQUIRED = ["iss", "aud", "exp", "iat"]
_NAME_MAX = 200
_PARTS = 3


class CredentialRefused(Exception):
    """A credential is not valid. `reason` is one word or more for the audit log.

    `credential` is what is known of its name, never its secret. `genuine` is true for one that was
    good once, so it was not guessed.
    """

    def __init__(self, reason: str, credential: str = "", *, genuine: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.credential = credential
        self.genuine = genuine


class VerifiedToken(Struct, frozen=True):
    """What a valid token says: the subject, and the facts of the credential."""

    subject: Subject
    credential: CredentialFacts


class Issuers:
    """The issuers of a configuration, with their keys as this process knows them."""

    def __init__(self, table: AccessTable, directory: Path) -> None:
        self._issuers = {one.issuer: TokenIssuer(one, directory) for one in table.issuer}

    def verified(self, token: str) -> VerifiedToken:
        """Return what a valid token says.

        Raises:
            CredentialRefused: the token is not valid.
            AccessUnavailable: the keys of its issuer cannot be had now.
        """
        header, claims = _unproved(token)
        name = claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise CredentialRefused("issuer")
        return issuer.verified(token, header)

    def verified_id_token(self, issuer: str, token: str, nonce: str) -> VerifiedToken:
        """Return what an ID token says that this service asked its issuer for.

        It is for the client at the issuer, and has the nonce of the browser (OpenID Connect Core
        1.0 §3.1.3.7).

        Raises:
            CredentialRefused: the token is not valid, or was made for another sign-in.
            AccessUnavailable: the keys of its issuer cannot be had now.
        """
        header, _ = _unproved(token)
        return self._issuers[issuer].verified_id_token(token, header, nonce)


class TokenIssuer:
    """One issuer: its table and its keys."""

    def __init__(self, table: IssuerTable, directory: Path) -> None:
        self._table = table
        self._keys = None if table.secret else JWKSet(table, directory)

    def verified(self, token: str, header: dict[str, Any]) -> VerifiedToken:
        """Return what a token of this issuer says; `header` is that of the token."""
        return self._meaning(token, self._checked(token, header, self._table.audience))

    def verified_id_token(self, token: str, header: dict[str, Any], nonce: str) -> VerifiedToken:
        """Return what an ID token says; see `Issuers`."""
        client = self._table.client_id
        claims = self._checked(token, header, client)
        if claims.get("azp", client) != client or (
            isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and "azp" not in claims
        ):
            raise CredentialRefused("audience")
        given = claims.get("nonce")
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
            raise CredentialRefused("nonce")
        return self._meaning(token, claims)

    def _checked(self, token: str, header: dict[str, Any], audience: str) -> dict[str, Any]:
        """Return the claims of a token that is signed, live, and for this audience."""
        algorithm = header.get("alg")
        if algorithm not in self._table.algorithms:
            raise CredentialRefused("algorithm")
        if any(name in header for name in _REFUSED_PARAMETERS):
            raise CredentialRefused("header")
        key = self._key(header, str(algorithm))
        claims = self._claims(token, str(algorithm), key, audience)
        if claims["exp"] - claims["iat"] > self._table.max_lifetime:
            raise CredentialRefused("lifetime")
        return claims

    def _key(self, header: dict[str, Any], algorithm: str) -> PublicKey | str:
        if self._keys is None:
            return self._table.secret or ""
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise CredentialRefused("header")
        key = self._keys.key(kid, algorithm)
        if key is None:
            raise CredentialRefused("key")
        return key

    def _claims(
        self, token: str, algorithm: str, key: PublicKey | str, audience: str
    ) -> dict[str, Any]:
        """Return the claims after signature, times, issuer and audience were checked."""
        table = self._table
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=audience,
                issuer=table.issuer,
                leeway=table.leeway,
                options={"require": _REQUIRED},
            )
        except jwt.ExpiredSignatureError:  # PyJWT looks at the signature first
            raise CredentialRefused("expired", genuine=True) from None
        except jwt.PyJWTError as error:
            raise CredentialRefused(_REASONS.get(type(error), "malformed")) from None
        except (ArithmeticError, ValueError, TypeError, RecursionError):
            raise CredentialRefused("malformed") from None
        if not all(type(claims[name]) in (int, float) for name in ("exp", "iat")):
            raise CredentialRefused("claims")
        given = claims["aud"]
        if TICKET_AUDIENCE in (given if isinstance(given, list) else [given]):
            raise CredentialRefused("audience")
        return claims

    def _meaning(self, token: str, claims: dict[str, Any]) -> VerifiedToken:
        table = self._table
        user = _claim(claims, table.user_claim)
        if not isinstance(user, str) or not user:
            raise CredentialRefused("claims")
        admin_of = self._ids(claims, table.group_admin_claim)
        name = _claim(claims, table.name_claim)
        roles = _names(claims, table.roles_claim)
        operator = bool(table.operator_role) and table.operator_role in roles
        subject = Subject(
            kind="operator" if operator else "user",
            id=self._id(user),
            groups=self._ids(claims, table.groups_claim) | admin_of,
            admin_of=admin_of,
            name=name[:_NAME_MAX] if isinstance(name, str) else "",
        )
        given = claims.get("jti")
        named = isinstance(given, str) and _NAMED.fullmatch(given)
        facts = CredentialFacts(
            kind="token",
            id=str(given) if named else hashlib.sha256(token.encode()).hexdigest()[:16],
            scopes=frozenset(Scope) if operator else PERSON_SCOPES,
            expires_at=float(claims["exp"]),
            leeway=table.leeway,
        )
        return VerifiedToken(subject, facts)

    def _ids(self, claims: dict[str, Any], path: str) -> frozenset[UUID]:
        return frozenset(self._id(name) for name in _names(claims, path))

    def _id(self, text: str) -> UUID:
        """Return the id of a user or group as the issuer names it."""
        if _UUID.fullmatch(text):
            return UUID(text)
        return uuid5(uuid5(NAMESPACE_URL, self._table.issuer), text)


#: What the audit log says of each error of the library.
_REASONS: dict[type[Exception], str] = {
    jwt.ImmatureSignatureError: "too_early",
    jwt.InvalidSignatureError: "signature",
    jwt.InvalidAudienceError: "audience",
    jwt.InvalidIssuerError: "issuer",
    jwt.MissingRequiredClaimError: "claims",
    jwt.InvalidAlgorithmError: "algorithm",
    jwt.InvalidIssuedAtError: "claims",
}


def _unproved(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a token, which nothing has proved yet."""
    if len(token) > TOKEN_MAX_BYTES or not token.isascii():
        raise CredentialRefused("malformed")
    parts = token.split(".")
    if len(parts) != _PARTS or len(parts[0]) > HEADER_MAX_BYTES:
        raise CredentialRefused("malformed")
    return _object(parts[0]), _object(parts[1])


def _object(part: str) -> dict[str, Any]:
    """Return the JSON object of one part of a token, which nothing has proved yet."""
    try:
        text = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        found = msgspec.json.decode(text)
    except (binascii.Error, ValueError, RecursionError):
        raise CredentialRefused("malformed") from None
    if not isinstance(found, dict):
        raise CredentialRefused("malformed")
    return found


def _claim(claims: dict[str, Any], path: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return a claim by its name; else by a path, where each dot descends into an object."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _names(claims: dict[str, Any], path: str) -> list[str]:
    """Return the texts of a claim that is a list; no claim is an empty list."""
    found = _claim(claims, path) if path else None
    if found is None:
        return []
    if not isinstance(found, list) or len(found) > NAMES_MAX:
        raise CredentialRefused("claims")
    if not all(isinstance(name, str) and name for name in found):
        raise CredentialRefused("claims")
    return found
