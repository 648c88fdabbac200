"""Trust in one certificate: for calls of a node's own doors on its own machine.

The process at the other end must have the key of that certificate, so its name does not matter: a
door is called by an address that no certificate names. Import this module by name: `requests` takes
long to load.
"""

import re
import ssl
from hashlib import sha256
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from core.errors import ConfigurationError

#: The first certificate of a file is that of the door; those of its authorities follow.
_FIRST = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class PinnedAdapter(HTTPAdapter):
    """An adapter of `requests` that accepts the first certificate in a file and no other."""

    def __init__(self, certificate: Path) -> None:
        """Read the file.

        Raises:
            ConfigurationError: it cannot be read, or has no certificate in PEM form.
        """
        self._fingerprint = _fingerprint(certificate)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the library's
        """See `HTTPAdapter.init_poolmanager`."""
        super().init_poolmanager(*args, assert_fingerprint=self._fingerprint, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - the library's
        """See `HTTPAdapter.send`; the fingerprint is checked in place of a chain."""
        return super().send(*args, **{**kwargs, "verify": False})


def _fingerprint(certificate: Path) -> str:
    try:
        found = _FIRST.search(certificate.read_text("ascii", "replace"))
        bare = ssl.PEM_cert_to_DER_cert(found[0] if found else "")
    except OSError as error:
        raise ConfigurationError(f"Cannot read {certificate}: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigurationError(f"{certificate} has no certificate in PEM form.") from error
    return sha256(bare).hexdigest()
