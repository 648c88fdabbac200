"""The certificates of the doors: which files they are, and whether a door can use them."""

import os
import ssl
from pathlib import Path

from core.errors import ConfigurationError
from core.settings import Settings

_LOAD_ERRORS = {
    "KEY_VALUES_MISMATCH": "the key in ssl-privkey does not belong to the certificate in ssl-cert",
    "BAD_DECRYPT": "the key in ssl-privkey needs a passphrase; give one without",
    "BAD_PASSWORD_READ": "the key in ssl-privkey needs a passphrase; give one without",
}


def certificate_files(door: str, settings: Settings) -> dict[str, Path]:
    """Return a process's certificate and key (`ssl-cert`, `ssl-privkey`); none without TLS.

    A door reads them at each new connection.
    """
    table = {"client": settings.api.client, "manager": settings.api.manager}.get(door)
    if table is None or not table.ssl_enabled:
        return {}
    files = {"ssl-cert": table.ssl_cert, "ssl-privkey": table.ssl_privkey}
    return {key: settings.directory / path for key, path in files.items() if path}


def check_certificate(door: str, settings: Settings) -> None:
    """Check that this process can serve a door with its certificate and key.

    Raises:
        ConfigurationError: it cannot; the sentence names the file and what is wrong with it.
    """
    files = certificate_files(door, settings)
    for key, path in files.items():
        _check_readable(f"[api.{door}] {key}", path)
    if not files:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files["ssl-cert"], files.get("ssl-privkey"), password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        # OpenSSL's general error names no reason: it found no block in PEM form.
        reason = getattr(error, "reason", None) or ""
        words = _LOAD_ERRORS.get(reason, "a file has no certificate or no key in PEM form")
        raise ConfigurationError(f"[api.{door}] ssl-cert, ssl-privkey: {words}.") from error


def _check_readable(key: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except PermissionError as error:
        raise ConfigurationError(
            f"{key}: the user {os.geteuid()} cannot read {path}: give the file a group of this "
            "user and mode 0640."
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{key}: cannot read {path}: {error.strerror}.") from error
