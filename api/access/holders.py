"""Who holds a credential as of now: it may have ended since a request or a ticket began."""

import math
import time
from uuid import UUID

from msgspec import structs

from api.access.parts import AccessParts
from api.http import Remembered
from core.access import Caller, CredentialFacts, PersonClaims, Subject
from core.errors import Unauthenticated

#: How long a door remembers the holders of tickets (seconds), and of how many.
HOLDER_SECONDS = 1.0
HOLDERS_MAX = 10_000
#: A subject, and its key or sign-in; None for a credential that is neither.
Holder = tuple[Subject, CredentialFacts | None]


def check_not_ended(credential: CredentialFacts) -> None:
    """Refuse a credential that has ended since it was proved: 401, so that its sender renews it.

    Raises:
        Unauthenticated: it has ended.
    """
    if credential.has_ended(time.time()):
        raise Unauthenticated("The credential is not valid any more.", invalid=True)


class Holders:
    """The holders of credentials, for one process of a door."""

    def __init__(self, parts: AccessParts) -> None:
        self._parts = parts
        self._known = Remembered[Holder](HOLDER_SECONDS, HOLDERS_MAX)

    def again(self, caller: Caller) -> Caller:
        """Return a caller as of now.

        Raises:
            Unauthenticated: its credential has ended, or it is blocked.
        """
        credential = caller.credential
        check_not_ended(credential)
        subject, facts = self._held(caller.subject, credential.kind, credential.id)
        return structs.replace(caller, subject=subject, credential=facts or credential)

    def _held(self, subject: Subject, kind: str, credential: str) -> Holder:
        """Return a subject and its key as of now; None for a credential that is no key.

        Raises:
            Unauthenticated: the key has ended, or the subject is blocked.
        """
        if kind == "key":
            return self._of_key(subject, credential)
        if kind == "cookie":
            sign_in = self._parts.sign_ins.named(subject, credential)
            if sign_in is None:
                raise Unauthenticated("The credential is not valid any more.", invalid=True)
            if sign_in.made_by.kind == "key":
                made_by, made_at = sign_in.made_by.id, sign_in.created_at
                return self._of_key(subject, made_by, made_at)[0], sign_in.facts
        if kind == "secret":  # no token said its groups: those of now count, and no earlier ones
            subject = structs.replace(subject, groups=frozenset(), admin_of=frozenset())
        known = self._parts.subjects.completed(subject)
        if known.blocked:
            raise Unauthenticated("The credential is not valid any more.", invalid=True)
        return known, None

    def _of_key(
        self, subject: Subject, key_id: str, made_at: float = math.inf
    ) -> tuple[Subject, CredentialFacts]:
        """Return the user and the facts of a key that is good for what was made at that moment.

        Raises:
            Unauthenticated: it is not.
        """
        held = self._parts.subjects.held_key(key_id)
        if held is None or held.user.blocked or not held.key.keeps(made_at, time.time()):
            raise Unauthenticated("The credential is not valid any more.", invalid=True)
        facts: CredentialFacts = held.key.facts
        return structs.replace(held.user, kind=subject.kind), facts

    def of_ticket(self, claims: PersonClaims) -> Holder:
        """Return the holder of a ticket as of a moment ago.

        Raises:
            Unauthenticated: its credential has ended, or it is blocked.
        """
        place = claims.sub, claims.cid, tuple(claims.groups), tuple(claims.admin_of)
        holder = self._known.get(place)
        if holder is None:
            kind, _, identity = claims.sub.partition(":")
            subject = Subject(
                kind="operator" if kind == "operator" else "user",
                id=UUID(identity),
                groups=frozenset(claims.groups),
                admin_of=frozenset(claims.admin_of),
            )
            holder = self._held(subject, *claims.cid.split(":", 1))
            self._known.add(place, holder)
        if holder[1] is not None:
            check_not_ended(holder[1])
        return holder
