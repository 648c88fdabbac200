"""Sign-ins of browsers: what a cookie stands for. They are in the store alone.

    vfolder:access:signin:<SHA-256 of the cookie>   the sign-in; ends when it was idle for too long
    vfolder:access:signins:<user>                   a hash: id of a sign-in -> that SHA-256
    vfolder:access:handover:<SHA-256 of the code>   who may take a sign-in to a program; two minutes

In database 0 of the `live` role. When the store loses them, browsers sign in again. A sign-in never
outlives the key or token that made it, and never may more.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import cast
from uuid import UUID

import msgspec
import redis
from msgspec import Struct, structs

from core.access.subjects import Caller, CredentialFacts, Subject
from core.errors import AccessUnavailable
from core.settings import AccessTable

_PREFIX = "vfolder:access:"
SECRET_BYTES = 32
_ID_BYTES = 9
#: A user's oldest sign-in ends when there are more.
SIGN_INS_MAX = 100
#: The last use is written this often at most (seconds), or twice in the time that may be idle.
USE_SECONDS = 60.0
AGENT_MAX = 200
#: Begins the text of a sign-in where it is sent as a key: programs have no cookies.
PREFIX = "vfs_"
#: A person carries a code from a browser to a program within this (seconds).
HANDOVER_SECONDS = 120
_CODE_BYTES = 15


class SignIn(Struct, frozen=True, kw_only=True):
    """One sign-in. Moments are seconds of the epoch."""

    id: str
    subject: Subject
    #: The key or token that made it.
    made_by: CredentialFacts
    created_at: float
    ends_at: float
    last_used_at: float
    #: Where it was made, and by which browser as that says.
    address: str = ""
    agent: str = ""

    @property
    def facts(self) -> CredentialFacts:
        """Return what decisions look at."""
        return structs.replace(
            self.made_by, kind="cookie", id=self.id, expires_at=self.ends_at, leeway=0.0
        )


class Handover(Struct, frozen=True):
    """A sign-in that a browser made for a program; the program knows what `challenge` is of."""

    caller: Caller
    challenge: str


class SignIns:
    """The sign-ins of the cluster. Safe for threads."""

    def __init__(
        self, table: AccessTable, client: "redis.Redis", clock: Callable[[], float] = time.time
    ) -> None:
        self._table = table
        self._client = client
        self._clock = clock

    def begin(self, caller: Caller, agent: str = "") -> tuple[SignIn, str]:
        """Return a sign-in of a caller that has proved a key or token, and the cookie's text.

        Raises:
            AccessUnavailable: the store is away.
        """
        now = self._clock()
        ends = now + self._table.sign_in_seconds
        credential = caller.credential
        if credential.expires_at is not None:
            ends = min(ends, credential.expires_at)
        text = secrets.token_urlsafe(SECRET_BYTES)
        sign_in = SignIn(
            id=secrets.token_urlsafe(_ID_BYTES),
            subject=caller.subject,
            made_by=credential,
            created_at=now,
            ends_at=ends,
            last_used_at=now,
            address=caller.address,
            agent=agent[:AGENT_MAX],
        )
        digest, index = _digest(text), _index_key(caller.subject)
        try:
            self._client.set(_key(digest), _encoded(sign_in), px=self._left(sign_in, now))
            self._client.hset(index, sign_in.id, digest)
            self._client.expire(index, int(self._table.sign_in_seconds) + 1)
        except redis.RedisError:
            raise _away() from None
        self._bound(caller.subject)
        return sign_in, text

    def hand_over(self, caller: Caller, challenge: str) -> str:
        """Return a code with which the program that made the challenge takes a sign-in, once.

        Raises:
            AccessUnavailable: the store is away.
        """
        code = secrets.token_urlsafe(_CODE_BYTES)
        text = msgspec.json.encode(Handover(caller, challenge))
        try:
            self._client.set(_handover_key(code), text, ex=HANDOVER_SECONDS)
        except redis.RedisError:
            raise _away() from None
        return code

    def taken(self, code: str, verifier: str) -> Caller | None:
        """Return who a code stands for, and end the code; None for another verifier or no code.

        Raises:
            AccessUnavailable: the store is away.
        """
        try:
            text = cast("str | None", self._client.getdel(_handover_key(code)))
        except redis.RedisError:
            raise _away() from None
        if text is None:
            return None
        found = msgspec.json.decode(text, type=Handover)
        same = hmac.compare_digest(found.challenge, challenge_of(verifier))
        return found.caller if same else None

    def find(self, text: str) -> SignIn | None:
        """Return the sign-in of a cookie; None when there is none, or it has ended.

        Raises:
            AccessUnavailable: the store is away.
        """
        key, now = _key(_digest(text)), self._clock()
        try:
            sign_in = _decoded(cast("str | None", self._client.get(key)))
            if sign_in is None or now >= sign_in.ends_at:
                return None
            if now - sign_in.last_used_at >= min(USE_SECONDS, self._table.sign_in_idle_seconds / 2):
                sign_in = structs.replace(sign_in, last_used_at=now)
                self._client.set(key, _encoded(sign_in), px=self._left(sign_in, now), xx=True)
        except redis.RedisError:
            raise _away() from None
        return sign_in

    def named(self, subject: Subject, sign_in_id: str) -> SignIn | None:
        """Return a sign-in of a user by its id; None when it has ended.

        Raises:
            AccessUnavailable: the store is away.
        """
        try:
            digest = cast("str | None", self._client.hget(_index_key(subject), sign_in_id))
            text = None if digest is None else cast("str | None", self._client.get(_key(digest)))
        except redis.RedisError:
            raise _away() from None
        found = _decoded(text)
        return found if found is not None and self._clock() < found.ends_at else None

    def of(self, subject: Subject) -> list[SignIn]:
        """Return the sign-ins of a user, the newest first.

        Raises:
            AccessUnavailable: the store is away.
        """
        index = _index_key(subject)
        try:
            digests = cast("dict[str, str]", self._client.hgetall(index))
            if not digests:
                return []
            texts = cast("list[str | None]", self._client.mget(map(_key, digests.values())))
            ended = [name for name, text in zip(digests, texts, strict=True) if text is None]
            if ended:
                self._client.hdel(index, *ended)
        except redis.RedisError:
            raise _away() from None
        found = [one for one in map(_decoded, texts) if one is not None]
        return sorted(found, key=lambda one: one.created_at, reverse=True)

    def end(self, subject: Subject, sign_in_id: str) -> bool:
        """End a sign-in of a user; return whether there was one.

        Raises:
            AccessUnavailable: the store is away, so it may not have ended.
        """
        index = _index_key(subject)
        try:
            digest = cast("str | None", self._client.hget(index, sign_in_id))
            if digest is None:
                return False
            ended = self._client.delete(_key(digest))
            self._client.hdel(index, sign_in_id)
        except redis.RedisError:
            raise _away() from None
        return bool(ended)

    def _bound(self, subject: Subject) -> None:
        for sign_in in self.of(subject)[SIGN_INS_MAX:]:
            self.end(subject, sign_in.id)

    def _left(self, sign_in: SignIn, now: float) -> int:
        """Return how long the store keeps a sign-in without another use (milliseconds)."""
        idle = min(self._table.sign_in_idle_seconds, sign_in.ends_at - now)
        return max(1, round(idle * 1000))


def _key(digest: str) -> str:
    return f"{_PREFIX}signin:{digest}"


def _index_key(subject: Subject) -> str:
    return f"{_PREFIX}signins:{(subject.id or UUID(int=0)).hex}"


def _handover_key(code: str) -> str:
    return f"{_PREFIX}handover:{_digest(code)}"


def challenge_of(verifier: str) -> str:
    """Return the challenge of a verifier of PKCE (RFC 7636 §4.2)."""
    digest = hashlib.sha256(verifier.encode("utf-8", "surrogateescape")).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _encoded(sign_in: SignIn) -> bytes:
    return msgspec.json.encode(sign_in)


def _decoded(text: str | None) -> SignIn | None:
    """Return a sign-in; None for none, and for one that another release wrote."""
    try:
        return None if text is None else msgspec.json.decode(text, type=SignIn)
    except msgspec.DecodeError:
        return None


def _away() -> AccessUnavailable:
    return AccessUnavailable("The store of sign-ins cannot be reached. Try again shortly.")
