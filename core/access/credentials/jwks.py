"""The public keys of an issuer: a JWK Set (RFC 7517 §5) at a URL or in a file.

    younger than 300 s           used without a question
    older                        asked for again; while the issuer is away, used for 24 h
    a `kid` that is not there    asked for again, once a minute at most

One thread of a process asks at a time, with a deadline, a bound of bytes and no redirects. The
others use what is there. An answer with a wrong form counts as no answer.
"""

import os
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from core.access.credentials.issuer_http import (
    ANSWER_MAX_BYTES,
    CALL_ERRORS,
    FETCH_SECONDS,
    IssuerHttp,
)
from core.errors import AccessUnavailable
from core.settings import IssuerTable
from core.telemetry import logger

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

#: Keys of this age (seconds) are asked for again, and used without an answer for so long.
FRESH_SECONDS = 300.0
STALE_SECONDS = 86_400.0
#: After an attempt for an unknown `kid`, and after one that failed, the next waits (seconds).
UNKNOWN_PAUSE_SECONDS = 60.0
FAILED_PAUSE_SECONDS = 10.0
#: More keys than any issuer has; the rest is ignored.
KEYS_MAX = 100
#: Shorter RSA keys are ignored (NIST SP 800-131A; bits).
RSA_MIN_BITS = 2048
#: What a key must say of itself to fit an algorithm: `kty` and `crv` (RFC 7518 §6, RFC 8037 §2).
_FITTING = {"RS256": ("RSA", None), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}
_log = logger(__name__)

Keys = dict[tuple[str, str], PublicKey]


class JWKSet:
    """The keys of one issuer, as one process knows them. Safe for threads."""

    def __init__(
        self, table: IssuerTable, directory: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._table = table
        self._clock = clock
        self._source = _Url(table, directory) if table.jwks_url else _File(table, directory)
        self._asking = threading.Lock()
        self._keys: Keys = {}
        #: On the monotonic clock; None: never.
        self._found_at: float | None = None
        self._asked_at: float | None = None
        self._failed = False

    def key(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """Return the key that a token names; None when the issuer has no such key.

        Without `kid` it is the only key that fits the algorithm.

        Raises:
            AccessUnavailable: the issuer does not answer, and its keys are not known.
        """
        if self._age() >= FRESH_SECONDS or self._source.changed():
            self._ask_again()
        found = self._found(kid, algorithm)
        if found is None and self._may_ask(UNKNOWN_PAUSE_SECONDS):
            self._ask_again(UNKNOWN_PAUSE_SECONDS)
            found = self._found(kid, algorithm)
        if self._age() >= STALE_SECONDS:
            raise AccessUnavailable("The issuer of this token does not answer. Try again shortly.")
        return found

    def _age(self) -> float:
        return float("inf") if self._found_at is None else self._clock() - self._found_at

    def _may_ask(self, pause: float) -> bool:
        return self._asked_at is None or self._clock() - self._asked_at >= pause

    def _found(self, kid: str | None, algorithm: str) -> PublicKey | None:
        keys = self._keys
        if kid is not None:
            return keys.get((kid, algorithm))
        fitting = [key for (_, name), key in keys.items() if name == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    def _ask_again(self, pause: float = 0.0) -> None:
        """Ask the source, unless it was asked within `pause` or another thread is asking."""
        seen, wait = self._asked_at, FETCH_SECONDS * 2 if self._found_at is None else 0.0
        if not self._asking.acquire(timeout=wait):
            return
        try:
            pause = max(pause, FAILED_PAUSE_SECONDS if self._failed else 0.0)
            if self._asked_at != seen or not self._may_ask(pause):
                return
            self._asked_at = self._clock()
            self._keys = _keys_of(self._source.read(), self._table.algorithms)
            self._found_at, self._failed = self._clock(), False
        except CALL_ERRORS as error:
            self._failed = True
            _log.warning("keys of issuer not read", issuer=self._table.issuer, reason=str(error))
        finally:
            self._asking.release()


class _Url:
    """A JWK Set at a URL."""

    def __init__(self, table: IssuerTable, directory: Path) -> None:
        self._url = table.jwks_url or ""
        self._http = IssuerHttp(directory / table.jwks_ca if table.jwks_ca else None)

    def changed(self) -> bool:
        return False

    def read(self) -> bytes:
        """Return the answer.

        Raises:
            ValueError: it is too long, has another status, or took too long.
            urllib3.exceptions.HTTPError, OSError: there is none.
        """
        status, body = self._http.call("GET", self._url)
        if status != HTTPStatus.OK:
            raise ValueError(f"status {status}")
        return body


class _File:
    """A JWK Set in a file; read again when it changes."""

    def __init__(self, table: IssuerTable, directory: Path) -> None:
        self._path = directory / (table.jwks_file or "")
        self._read: tuple[int, int, int] | None = None

    def changed(self) -> bool:
        try:
            return self._state() != self._read
        except OSError:
            return False  # the age of what was read decides

    def read(self) -> bytes:
        """Return the content.

        Raises:
            ValueError: it is too long.
            OSError: it cannot be read.
        """
        state = self._state()
        if state[1] > ANSWER_MAX_BYTES:
            raise ValueError(f"more than {ANSWER_MAX_BYTES} bytes")
        text = self._path.read_bytes()
        self._read = state
        return text

    def _state(self) -> tuple[int, int, int]:
        found = os.stat(self._path)
        return found.st_ino, found.st_size, found.st_mtime_ns


def _keys_of(text: bytes, algorithms: list[str]) -> Keys:
    """Return the keys of a JWK Set that fit, by `kid` and algorithm.

    Raises:
        ValueError: it is no JWK Set.
    """
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no JWK Set")  # noqa: TRY004 - one kind for every wrong answer
    keys: Keys = {}
    for entry in entries[:KEYS_MAX]:
        for algorithm in algorithms:
            key = _key_of(entry, algorithm)
            if key is not None:
                keys.setdefault((_kid_of(entry), algorithm), key)
    return keys


def _kid_of(entry: dict[str, Any]) -> str:
    kid = entry.get("kid")
    return kid if isinstance(kid, str) else ""


def _key_of(entry: Any, algorithm: str) -> PublicKey | None:  # noqa: ANN401 - any JSON value
    """Return the key of an entry; None when it is for another use, or cannot be used."""
    if not isinstance(entry, dict) or "d" in entry:  # a private key is no secret any more
        return None
    kty, crv = _FITTING[algorithm]
    operations = entry.get("key_ops")
    if (
        entry.get("kty") != kty
        or (crv and entry.get("crv") != crv)
        or entry.get("use", "sig") != "sig"
        or entry.get("alg", algorithm) != algorithm
        or (isinstance(operations, list) and "verify" not in operations)
    ):
        return None
    try:
        key = PyJWK(entry, algorithm).key
    except (PyJWTError, ArithmeticError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAPublicKey):
        return key if key.key_size >= RSA_MIN_BITS else None
    return key if isinstance(key, EllipticCurvePublicKey | Ed25519PublicKey) else None
