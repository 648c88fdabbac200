"""`[vfolder.notices]`: where notices are posted to, beside `GET /v1/notices`."""

import binascii
from base64 import b64decode
from collections.abc import Iterable
from pathlib import Path

from core.settings.access import SECRET_MIN_BYTES, check_url
from core.settings.reference import Table

#: Longest time that the receiver may take (seconds).
TIMEOUT_SECONDS_MAX = 30.0
#: A secret in the form of Standard Webhooks: its rest is base64.
_ENCODED = "whsec_"
_NAME = "[vfolder.notices]"


class NoticesTable(Table, frozen=True):
    """The webhook of notices; `secret-file` names a file that has the value of `secret`."""

    #: Empty: notices are posted nowhere.
    url: str = ""
    #: The shared secret of signatures.
    secret: str | None = None
    #: The authority of the receiver's certificate; None trusts those of the system.
    ca: str | None = None
    #: The certificate of this service (PEM), where the receiver wants one.
    client_cert: str | None = None
    client_key: str | None = None
    #: Longest time of one post.
    timeout: float = 10.0
    #: A notice that the receiver does not take is given up after this long.
    give_up_seconds: float = 86_400.0

    @property
    def key(self) -> bytes:
        """Return the key of signatures (Standard Webhooks, "Signature scheme").

        Raises:
            ValueError: the text after `whsec_` is no base64.
        """
        text = self.secret or ""
        if not text.startswith(_ENCODED):
            return text.encode()
        try:
            return b64decode(text.removeprefix(_ENCODED), validate=True)
        except binascii.Error:
            raise ValueError(f"{_NAME} secret is no base64 after {_ENCODED}") from None

    def check(self, directory: Path, other_secrets: Iterable[str]) -> None:
        """Raise ValueError, which names the table, when notices cannot be posted with it."""
        if not self.url:
            if self.secret:
                raise ValueError(f"{_NAME} url is missing; the secret is for it")
            return
        check_url(f"{_NAME} url", self.url)
        if len(self.key) < SECRET_MIN_BYTES:
            raise ValueError(f"{_NAME} secret has at least {SECRET_MIN_BYTES} bytes")
        if self.secret in list(other_secrets):
            raise ValueError(f"{_NAME} secret is that of tickets or of the manager; choose another")
        if bool(self.client_cert) != bool(self.client_key):
            raise ValueError(f"{_NAME} client-cert and client-key go together")
        for name in (self.ca, self.client_cert, self.client_key):
            if name and not (directory / name).is_file():
                raise ValueError(f"{_NAME} {name} does not exist")
        if not 0 < self.timeout <= TIMEOUT_SECONDS_MAX:
            raise ValueError(
                f"{_NAME} timeout is above 0 and at most {TIMEOUT_SECONDS_MAX:g} seconds"
            )
        if self.give_up_seconds <= 0:
            raise ValueError(f"{_NAME} give-up-seconds is a number of seconds above 0")
