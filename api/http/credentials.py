"""Who sends a request to the client door: by an API key, a token, or the cookie of a sign-in.

Keys and tokens come in `Authorization: Bearer …`, which counts before a cookie. So does the text
of a sign-in that a program took over from a browser (`vfs_…`).

A refused credential is always the same 401 for its sender; the audit log has the reason. Each
refusal counts (`core.access.credentials.failures`). A caller that has to pause gets 429 before
anything is looked at, for a right credential too. A proved credential is remembered for a second,
so a change of its record is seen within that time.
"""

import hashlib
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Literal, Protocol

from msgspec import Struct, structs

from api.http.cookies import SignInCookies
from api.http.flask_app import RequestContext
from api.http.remembered import Remembered
from core.access import PERSON_SCOPES, Caller, CredentialFacts, Subject
from core.access.audit import AuditEntry, AuditLog
from core.access.credentials import keys as api_keys
from core.access.credentials.failures import FailureLimits
from core.access.credentials.issuers import CredentialRefused, Issuers, VerifiedToken
from core.access.credentials.keys import HeldKey
from core.access.credentials.signins import PREFIX as SIGN_IN_PREFIX
from core.access.credentials.signins import SignIns
from core.errors import Unauthenticated
from core.settings import AccessTable

#: A proved credential is not looked at again for so long (seconds).
REMEMBER_SECONDS = 1.0
#: Most proved credentials that a process remembers.
REMEMBERED_MAX = 10_000
_SCHEME = "bearer"
ProvedKind = Literal["key", "token", "cookie"]
Prove = Callable[[], tuple[Subject, CredentialFacts]]
Prover = Callable[[str, str], tuple[Subject, CredentialFacts]]


class People(Protocol):
    """What is known of users beside their credentials."""

    def held_key(self, key_id: str) -> HeldKey | None:
        """Return a key by its id; None when there is none."""

    def completed(self, subject: Subject) -> Subject:
        """Return a user of a token with its groups that are kept here, and whether blocked."""

    def note_use(self, held: HeldKey, now: float, address: str) -> None:
        """Write the last use of a key, where that is due; it never fails or waits."""


class Proof(Struct, frozen=True):
    """A proved credential, and whose it is."""

    subject: Subject
    credential: CredentialFacts


class Credentials:
    """The credentials of the client door, as one process of it checks them. Safe for threads."""

    def __init__(
        self,
        table: AccessTable,
        people: People,
        *,
        issuers: Issuers,
        limits: FailureLimits,
        audit: AuditLog,
        sign_ins: SignIns,
        cookies: SignInCookies,
        proxies: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Check against `people` and `issuers`; trust the addresses of so many `proxies`."""
        self._people = people
        self.issuers = issuers
        self._limits = limits
        self._audit = audit
        self._sign_ins = sign_ins
        self.cookies = cookies
        self._proxies = proxies
        self._clock = clock
        self._operators_at = table.operators_at
        self._remembered = Remembered[Proof](REMEMBER_SECONDS, REMEMBERED_MAX)
        self._provers: dict[ProvedKind, Prover] = {
            "key": self._key,
            "token": self._token,
            "cookie": self._cookie,
        }

    def caller(self, request: RequestContext) -> Caller:
        """Return who sends a request.

        Raises:
            Unauthenticated: it has no credential, or one that is not valid.
            AccessForbidden: a page of others may have sent it with the cookie.
            Throttled: its network has to pause.
            AccessUnavailable, Unavailable: what proves the credential is away.
        """
        address = caller_address(request.environ, self._proxies)
        text = _bearer(request.environ.get("HTTP_AUTHORIZATION"))
        kind: ProvedKind = "token"
        if text is None:
            kind, text = "cookie", self.cookies.text(request)
        elif text.startswith(api_keys.PREFIX):
            kind = "key"
        elif text.startswith(SIGN_IN_PREFIX):
            kind, text = "cookie", text.removeprefix(SIGN_IN_PREFIX)
        if text is None:
            raise Unauthenticated("Send an API key or a token: `Authorization: Bearer …`.")
        proof = self._proof(kind, text, address, request)
        return _caller(proof, address, request)

    def caller_by(
        self, request: RequestContext, secret: str, verified: Callable[[], VerifiedToken]
    ) -> Caller:
        """Return who signs in at an issuer: who the token is of that `verified` returns.

        `secret` is what the browser brought from there; failures are counted for it.

        Raises:
            As `caller`, and as `verified`; its CredentialRefused is counted and noted.
        """

        def prove() -> tuple[Subject, CredentialFacts]:
            return self._held_by(verified())

        return self._caller_by(request, "token", secret, prove)

    def caller_by_code(
        self, request: RequestContext, code: str, taken: Callable[[], Caller | None]
    ) -> Caller:
        """Return who a code of a browser stands for, as `taken` says; failures are counted for it.

        Raises:
            As `caller`; a code that is not good is noted.
        """

        def prove() -> tuple[Subject, CredentialFacts]:
            found = taken()
            if found is None:
                raise CredentialRefused("code")
            subject = self._people.completed(found.subject)
            if subject.blocked:
                raise CredentialRefused("blocked", found.credential.id, genuine=True)
            return subject, found.credential

        return self._caller_by(request, "cookie", code, prove)

    def _caller_by(
        self, request: RequestContext, kind: ProvedKind, secret: str, prove: Prove
    ) -> Caller:
        address = caller_address(request.environ, self._proxies)
        proof = self._proved(kind, _digest(secret), address, request, prove)
        return _caller(proof, address, request)

    def _proof(self, kind: ProvedKind, text: str, address: str, request: RequestContext) -> Proof:
        digest = _digest(text)
        place = kind, digest, address, self._where(address, request)
        if (known := self._remembered.get(place)) is not None:
            return known
        name = text[: len(api_keys.PREFIX) + api_keys.ID_DIGITS] if kind == "key" else digest

        def prove() -> tuple[Subject, CredentialFacts]:
            return self._provers[kind](text, address)

        proof = self._proved(kind, name, address, request, prove)
        self._remembered.add(place, proof)
        return proof

    def _proved(
        self,
        kind: ProvedKind,
        name: str,
        address: str,
        request: RequestContext,
        prove: Prove,
    ) -> Proof:
        """Return a proof by `prove`; failures are counted for the `name` of what is proved."""
        failed_before = self._limits.check(address, name)
        try:
            subject, facts = prove()
        except CredentialRefused as error:
            self._limits.failed(address, name, genuine=error.genuine)
            self._note_refusal(kind, error, address, request.request_id or "")
            text = "The credential is not valid; the audit log has the reason."
            raise Unauthenticated(text, invalid=True) from None
        if failed_before:
            self._limits.succeeded(address, name)
        subject = self._placed(subject, self._where(address, request))
        if subject.kind != "operator":
            facts = structs.replace(facts, scopes=facts.scopes & PERSON_SCOPES)
        return Proof(subject, facts)

    def _where(self, address: str, request: RequestContext) -> str:
        """Return the address of a caller; empty where it proves nothing about the caller."""
        return "" if is_by_unknown_proxy(request.environ, self._proxies) else address

    def _key(self, text: str, address: str) -> tuple[Subject, CredentialFacts]:
        given = api_keys.parsed(text)
        held, now = self._people.held_key(given.id), self._clock()
        key = api_keys.check_secret(given, None if held is None else held.key, now, address)
        if held is None or held.user.blocked:
            raise CredentialRefused("blocked", given.id, genuine=True)
        self._people.note_use(held, now, address)
        return _holder(held), key.facts

    def _token(self, text: str, address: str) -> tuple[Subject, CredentialFacts]:  # noqa: ARG002 - as `_key`
        return self._held_by(self.issuers.verified(text))

    def _held_by(self, found: VerifiedToken) -> tuple[Subject, CredentialFacts]:
        subject = self._people.completed(found.subject)
        if subject.blocked:
            raise CredentialRefused("blocked", found.credential.id, genuine=True)
        return subject, found.credential

    def _cookie(self, text: str, address: str) -> tuple[Subject, CredentialFacts]:
        """Prove a cookie; what made the sign-in must still be good."""
        sign_in = self._sign_ins.find(text)
        if sign_in is None:
            raise CredentialRefused("unknown")
        made_by, now = sign_in.made_by, self._clock()
        if made_by.kind == "key":
            held = self._people.held_key(made_by.id)
            if held is None or not held.key.keeps(sign_in.created_at, now) or held.user.blocked:
                raise CredentialRefused("revoked", sign_in.id, genuine=True)
            if not api_keys.is_within(address, held.key.networks):
                raise CredentialRefused("network", sign_in.id, genuine=True)
            return _holder(held), sign_in.facts
        subject = self._people.completed(sign_in.subject)
        if subject.blocked:
            raise CredentialRefused("blocked", sign_in.id, genuine=True)
        return subject, sign_in.facts

    def is_operators_place(self, request: RequestContext) -> bool:
        """Return whether operators may call from where a request comes from."""
        if is_by_unknown_proxy(request.environ, self._proxies):
            return False
        return self._is_near(caller_address(request.environ, self._proxies))

    def _placed(self, subject: Subject, address: str) -> Subject:
        """Return an operator as a mere user where operators do not call from."""
        if subject.kind != "operator" or self._is_near(address):
            return subject
        return structs.replace(subject, kind="user")

    def _is_near(self, address: str) -> bool:
        """Return whether an address is in `operator-networks`; one that is not known is not."""
        try:
            found = api_keys.plain_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._operators_at)

    def _note_refusal(
        self, kind: str, error: CredentialRefused, address: str, request_id: str
    ) -> None:
        entry = AuditEntry(
            act="sign-in",
            decision="refused",
            request_id=request_id,
            credential=f"{kind}:{error.credential}" if error.credential else kind,
            from_=address,
            reason=error.reason,
        )
        self._audit.note(entry)


def caller_address(environ: dict[str, Any], proxies: int) -> str:
    """Return the address of the caller; `proxies` in front are trusted to have added theirs.

    Each proxy adds the address that it sees to the end of `X-Forwarded-For`, so the caller's is the
    one that the outermost trusted proxy added. What stands before it, the caller has made up. A
    request that came by no proxy has the address of its connection.
    """
    peer = str(environ.get("REMOTE_ADDR", ""))
    if proxies <= 0:
        return peer
    given = [part.strip() for part in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    if len(given) < proxies:
        return peer
    found = given[-proxies]
    try:
        return str(ip_address(found))
    except ValueError:
        return peer


def is_by_unknown_proxy(environ: dict[str, Any], proxies: int) -> bool:
    """Return whether a proxy passed the request on, and the settings trust none.

    Then the address is the proxy's, often this machine's. It proves nothing about the caller.
    """
    return proxies <= 0 and "HTTP_X_FORWARDED_FOR" in environ


def _caller(proof: Proof, address: str, request: RequestContext) -> Caller:
    return Caller(
        subject=proof.subject,
        credential=proof.credential,
        address=address,
        request_id=request.request_id or "",
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _holder(held: HeldKey) -> Subject:
    return structs.replace(held.user, kind="operator") if held.key.operator else held.user


def _bearer(header: str | None) -> str | None:
    """Return the credential of the header `Authorization`; None when it has none of ours."""
    scheme, _, text = (header or "").partition(" ")
    return text.strip() if scheme.lower() == _SCHEME and text.strip() else None
