"""Calls to an issuer: one deadline, a bound of bytes, no redirects, a certificate of its own."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import urllib3

#: Longest time of a call, and most bytes of its answer.
FETCH_SECONDS = 5.0
ANSWER_MAX_BYTES = 256 * 1024
_READ_BYTES = 64 * 1024
#: What a call may raise beside ValueError.
CALL_ERRORS = (OSError, ValueError, urllib3.exceptions.HTTPError)


class IssuerAnswer(NamedTuple):
    """The answer of an issuer."""

    status: int
    body: bytes


class IssuerHttp:
    """Calls one issuer. Safe for threads."""

    def __init__(self, authority: Path | None, connections: int = 1) -> None:
        """Trust the certificates of `authority` (PEM); None trusts those of the system."""
        trusted: dict[str, Any] = {} if authority is None else {"ca_certs": str(authority)}
        self._pool = urllib3.PoolManager(maxsize=connections, retries=False, **trusted)

    def call(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> IssuerAnswer:
        """Return the answer.

        Raises:
            ValueError: it is too long, or took too long.
            urllib3.exceptions.HTTPError, OSError: there is none.
        """
        end = time.monotonic() + FETCH_SECONDS
        timeout = urllib3.Timeout(connect=FETCH_SECONDS, read=FETCH_SECONDS)
        usual = {"Accept": "application/json", "Accept-Encoding": "identity"}
        response = self._pool.request(
            method,
            url,
            body=body,
            headers={**usual, **(headers or {})},
            redirect=False,
            preload_content=False,
            timeout=timeout,
        )
        try:
            text = bytearray()
            while part := response.read1(_READ_BYTES):
                text += part
                if len(text) > ANSWER_MAX_BYTES:
                    raise ValueError(f"more than {ANSWER_MAX_BYTES} bytes")
                if time.monotonic() > end:
                    raise ValueError(f"not complete after {FETCH_SECONDS:g} s")
            return IssuerAnswer(response.status, bytes(text))
        finally:
            # A connection with bytes that are still to come is of no use to the next call.
            response.close()
