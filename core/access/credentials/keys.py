"""API keys: `vfk_<id, 12>_<secret, 43><checksum, 6>`, digits in base 62.

    id         random; names the key in lists and logs, and finds its record
    secret     256 random bits; only their SHA-256 is kept, which is enough at this size
    checksum   CRC-32 of all before it: a typing error is refused without a look at any record

A key may be good for fewer scopes, networks and vfolders than its user, never for more.
"""

import hashlib
import hmac
import re
import secrets
import unicodedata
import zlib
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct, structs

from core.access.credentials.issuers import CredentialRefused
from core.access.permissions import PERSON_SCOPES, Scope
from core.access.records import RECORD_MAX_BYTES
from core.access.subjects import CredentialFacts, Subject
from core.errors import AccessForbidden, Conflict, InvalidParameters
from core.settings import AccessTable

PREFIX = "vfk_"
ID_DIGITS = 12
#: 62**43 is more than 2**256, and 62**6 more than 2**32.
SECRET_DIGITS = 43
CHECK_DIGITS = 6
SECRET_BYTES = 32
DAY_SECONDS = 86_400.0
#: `last_used_at` is written this often at most (seconds).
USE_SECONDS = 60.0
NAME_MAX = 200
NETWORKS_MAX = 100
VFOLDERS_MAX = 1000
#: The keys of a user take half of its record at most, so that each can still be revoked (bytes).
KEYS_MAX_BYTES = RECORD_MAX_BYTES // 2

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY = re.compile(
    rf"{PREFIX}([0-9A-Za-z]{{{ID_DIGITS}}})_([0-9A-Za-z]{{{SECRET_DIGITS}}})"
    rf"([0-9A-Za-z]{{{CHECK_DIGITS}}})"
)
#: Compared where there is no such key, so that both cases take the same steps.
_NO_DIGEST = hashlib.sha256(b"no key has this digest").hexdigest()

Address = IPv4Address | IPv6Address


class ParsedKey(NamedTuple):
    """A text that has the form of a key, and its checksum is right."""

    id: str
    #: SHA-256 of the secret, in hexadecimal digits.
    digest: str


class ApiKey(Struct, frozen=True, kw_only=True):
    """The record of a key. Moments are seconds of the epoch; lists that are None bound nothing."""

    id: str
    digest: str
    name: str = ""
    scopes: tuple[Scope, ...] = ()
    networks: tuple[str, ...] | None = None
    vfolders: tuple[UUID, ...] | None = None
    #: The holder is an operator: `vfolder access init` makes such a key, no route does.
    operator: bool = False
    created_at: float
    expires_at: float
    last_used_at: float | None = None
    last_used_from: str | None = None
    revoked_at: float | None = None
    #: After a rotation: the digest of the secret before, and when it ends.
    former_digest: str | None = None
    former_ends_at: float | None = None
    #: Sign-ins that were made before this moment ended with a secret that was replaced.
    sign_ins_from: float | None = None

    def live(self, now: float) -> bool:
        """Return whether the key is neither revoked nor expired."""
        return self.revoked_at is None and now < self.expires_at

    def keeps(self, made_at: float, now: float) -> bool:
        """Return whether a sign-in of that moment is still good: it ends with the secret before.

        One that was made with the new secret during the overlap ends with the overlap, too.
        """
        return self.live(now) and made_at >= (self._last_ended(now) or 0.0)

    def _last_ended(self, now: float) -> float | None:
        """Return when a secret before the present one last ended; None where none did."""
        former = self.former_ends_at
        return former if former is not None and former <= now else self.sign_ins_from

    @property
    def facts(self) -> CredentialFacts:
        """Return what decisions look at."""
        return CredentialFacts(
            kind="key",
            id=self.id,
            scopes=frozenset(self.scopes),
            vfolders=None if self.vfolders is None else frozenset(self.vfolders),
            expires_at=self.expires_at,
        )


class HeldKey(NamedTuple):
    """An API key and the user that holds it."""

    user: Subject
    key: ApiKey


class KeyRequest(Struct, frozen=True, kw_only=True):
    """What the maker of a key asks for; None is the default, or no bound."""

    name: str = ""
    scopes: tuple[Scope, ...]
    networks: tuple[str, ...] | None = None
    vfolders: tuple[UUID, ...] | None = None
    expires_in_days: float | None = None


def parsed(text: str) -> ParsedKey:
    """Return the id of a key and the digest of its secret.

    Raises:
        CredentialRefused: the text is no key, or has a typing error.
    """
    found = _KEY.fullmatch(text)
    if found is None:
        raise CredentialRefused("malformed")
    key_id, secret, check = found.groups()
    if not hmac.compare_digest(_checksum(text[:-CHECK_DIGITS]), check):
        raise CredentialRefused("checksum", key_id)
    return ParsedKey(key_id, _digest(secret))


def check_secret(given: ParsedKey, key: ApiKey | None, now: float, address: str) -> ApiKey:
    """Return the key that the caller proved; the steps are the same without one.

    Raises:
        CredentialRefused: there is no such key, the secret is wrong, or the key has ended, is
            revoked, or is for other networks.
    """
    same = hmac.compare_digest(given.digest, _NO_DIGEST if key is None else key.digest)
    former = _NO_DIGEST if key is None else key.former_digest or _NO_DIGEST
    same_former = hmac.compare_digest(given.digest, former)
    if key is None:
        raise CredentialRefused("unknown", given.id)
    former_counts = key.former_ends_at is not None and now < key.former_ends_at
    if not same and not (same_former and former_counts):
        raise CredentialRefused(
            "replaced" if same_former else "secret", given.id, genuine=same_former
        )
    if key.revoked_at is not None:
        raise CredentialRefused("revoked", given.id, genuine=True)
    if now >= key.expires_at:
        raise CredentialRefused("expired", given.id, genuine=True)
    if not is_within(address, key.networks):
        raise CredentialRefused("network", given.id, genuine=True)
    return key


def new_key(
    request: KeyRequest,
    *,
    operator: bool,
    table: AccessTable,
    now: float,
    made_by: ApiKey | None = None,
) -> tuple[ApiKey, str]:
    """Return a key and the text that its user gets once.

    Without `expires_in_days` it ends with the key that makes it, where that ends sooner.

    Raises:
        InvalidParameters: a value has a wrong form, or the key would live too long.
        AccessForbidden: only operators have a scope that is asked for.
    """
    days = table.key_days if request.expires_in_days is None else request.expires_in_days
    if not 0 < days <= table.key_days_max:
        raise InvalidParameters(f"A key ends after 0 to {table.key_days_max:g} days.")
    if not request.scopes:
        raise InvalidParameters("A key needs a scope.")
    beyond = set(request.scopes) - PERSON_SCOPES
    if beyond and not operator:
        raise AccessForbidden("Only operators have these scopes.", needed=sorted(beyond))
    key_id, secret = _random(ID_DIGITS), _secret()
    key = ApiKey(
        id=key_id,
        digest=_digest(secret),
        name=checked_name(request.name),
        scopes=tuple(sorted(set(request.scopes))),
        networks=_checked_networks(request.networks),
        vfolders=_checked_vfolders(request.vfolders),
        operator=operator,
        created_at=now,
        expires_at=now + days * DAY_SECONDS,
    )
    if request.expires_in_days is None and made_by is not None:
        key = structs.replace(key, expires_at=min(key.expires_at, made_by.expires_at))
    return key, _text(key_id, secret)


def check_not_more(key: ApiKey, maker: CredentialFacts, made_by: ApiKey | None) -> None:
    """Refuse a key that may more than the credential that makes it; `made_by` is that key.

    Raises:
        AccessForbidden: it may more; `needed` and `have` say of what.
    """
    beyond = set(key.scopes) - maker.scopes
    if beyond:
        have = sorted(maker.scopes)
        raise AccessForbidden(
            "A key never has more scopes than its maker.", needed=sorted(beyond), have=have
        )
    if maker.vfolders is not None and not _are_among(key.vfolders, maker.vfolders):
        raise AccessForbidden("A key is for no more vfolders than its maker; name some of them.")
    if made_by is None:
        return
    if key.expires_at > made_by.expires_at:
        raise AccessForbidden("A key does not live longer than the key that makes it.")
    if made_by.networks is not None and not _are_within(key.networks, made_by.networks):
        raise AccessForbidden("A key is for no more networks than the key that makes it.")


def check_count(keys: Iterable[ApiKey], table: AccessTable, now: float) -> None:
    """Refuse one more key for a user that has as many as allowed.

    Raises:
        Conflict: revoke one first.
    """
    if sum(key.live(now) for key in keys) >= table.keys_per_user:
        raise Conflict(f"A user has at most {table.keys_per_user} keys; revoke one first.")


def fitting(keys: Iterable[ApiKey], now: float) -> list[ApiKey]:
    """Return the keys of a record that has room for changes; those that ended first go.

    Raises:
        Conflict: the live ones alone are too long; revoke one first.
    """
    kept = list(keys)
    sizes = {key.id: len(msgspec.json.encode(key)) for key in kept}
    for key in sorted(kept, key=_ended_at):
        if sum(sizes[one.id] for one in kept) <= KEYS_MAX_BYTES:
            break
        if key.live(now):
            raise Conflict("The keys name too many vfolders and networks; revoke one first.")
        kept.remove(key)
    return kept


def _ended_at(key: ApiKey) -> float:
    return key.expires_at if key.revoked_at is None else key.revoked_at


def rotated(key: ApiKey, now: float, overlap_seconds: float) -> tuple[ApiKey, str]:
    """Return the key with a new secret, and its text. The old secret ends after the overlap.

    So do the sign-ins that were made until then: who stole the old secret may have made some.

    The end of the key stays: a key cannot prolong its own life.

    Raises:
        InvalidParameters: the overlap is negative.
        Conflict: the key is revoked or expired.
    """
    if not key.live(now):
        raise Conflict("The key has ended; make another one.")
    if overlap_seconds < 0:
        raise InvalidParameters("overlap_seconds is 0 or more.")
    secret = _secret()
    changed = structs.replace(
        key,
        digest=_digest(secret),
        former_digest=key.digest if overlap_seconds else None,
        former_ends_at=now + overlap_seconds if overlap_seconds else None,
        sign_ins_from=key._last_ended(now) if overlap_seconds else now,  # noqa: SLF001 - of this module
    )
    return changed, _text(key.id, secret)


def used(key: ApiKey, now: float, address: str) -> ApiKey | None:
    """Return the key with its last use; None while that was written less than a minute ago."""
    if key.last_used_at is not None and now - key.last_used_at < USE_SECONDS:
        return None
    return structs.replace(key, last_used_at=now, last_used_from=address)


def _text(key_id: str, secret: str) -> str:
    text = f"{PREFIX}{key_id}_{secret}"
    return text + _checksum(text)


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), CHECK_DIGITS)


def _base62(number: int, digits: int) -> str:
    text = ""
    for _ in range(digits):
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text


def _random(digits: int) -> str:
    return "".join(secrets.choice(_DIGITS) for _ in range(digits))


def _secret() -> str:
    return _base62(int.from_bytes(secrets.token_bytes(SECRET_BYTES), "big"), SECRET_DIGITS)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def checked_name(text: str) -> str:
    """Return the name of a key in its canonical form (NFC).

    Raises:
        InvalidParameters: it is too long, or has control characters.
    """
    name = unicodedata.normalize("NFC", text)
    if len(name) > NAME_MAX or any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        raise InvalidParameters(f"A key's name has {NAME_MAX} characters at most, none of control.")
    return name


def _checked_networks(given: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    if not 1 <= len(given) <= NETWORKS_MAX:
        raise InvalidParameters(f"networks has 1 to {NETWORKS_MAX} entries; leave it out for all.")
    try:
        return tuple(str(ip_network(text)) for text in given)
    except ValueError as error:
        raise InvalidParameters(f"networks: {error}.") from None


def _checked_vfolders(given: tuple[UUID, ...] | None) -> tuple[UUID, ...] | None:
    if given is not None and not 1 <= len(given) <= VFOLDERS_MAX:
        raise InvalidParameters(f"vfolders has 1 to {VFOLDERS_MAX} ids; leave it out for all.")
    return given


def _are_among(given: tuple[UUID, ...] | None, known: frozenset[UUID]) -> bool:
    return given is not None and set(given) <= known


def is_within(address: str, networks: tuple[str, ...] | None) -> bool:
    """Return whether an address is in one of the networks; None is every network."""
    if networks is None:
        return True
    try:
        found = plain_address(address)
    except ValueError:
        return False
    return any(found in ip_network(network) for network in networks)


def _are_within(inner: tuple[str, ...] | None, outer: tuple[str, ...]) -> bool:
    return inner is not None and all(
        any(_contains(around, network) for around in outer) for network in inner
    )


def _contains(outer: str, inner: str) -> bool:
    around, network = ip_network(outer), ip_network(inner)
    if around.version != network.version:
        return False
    return network.network_address in around and network.prefixlen >= around.prefixlen


def plain_address(text: str) -> Address:
    """Return an IP address; one of version 4 that a socket of version 6 shows, as version 4.

    Raises:
        ValueError: the text is no address.
    """
    found = ip_address(text.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
