"""Trust in one certificate file: for calls of a node's own doors on its own machine.

The process at the other end must have the key of that certificate, so its name does not matter: a
door is called by an address that no certificate names. Import this module by name: `requests` takes
long to load.
"""

import ssl
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter


class PinnedAdapter(HTTPAdapter):
    """An adapter of `requests` that accepts the certificate in a file and no other."""

    def __init__(self, certificate: Path) -> None:
        self._certificate = str(certificate)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the library's
        """See `HTTPAdapter.init_poolmanager`."""
        context = ssl.create_default_context(cafile=self._certificate)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        super().init_poolmanager(*args, ssl_context=context, assert_hostname=False, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - the library's
        """See `HTTPAdapter.send`."""
        return super().send(*args, **{**kwargs, "verify": self._certificate})
