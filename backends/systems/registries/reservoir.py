"""The manager of another site: files of its VFS storage, and what its verifiers found.

Requests are signed as the manager's published API says (HMAC-SHA256 over method, path, date, host
and content type). The body is not part of the signature.
"""

import hashlib
import hmac
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import requests
from requests.auth import AuthBase

from backends.systems.registries.session import RemoteFile, RemoteSession, as_size, as_text
from backends.systems.registries.verification import VerificationResult, parsed_result
from core.errors import ConfigurationError, RegistryRefused
from core.names import reference_moment
from core.settings import ReservoirClientTable, ReservoirTable

JSON = "application/json"
#: The version of the API, when the table names none.
API_VERSION = "v9.20250722"
_EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()


class Signature(AuthBase):
    """Signs requests to a manager with a key pair."""

    def __init__(self, access_key: str, secret_key: str, version: str) -> None:
        self._access, self._secret, self._version = access_key, secret_key, version

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add date, version and signature."""
        now = datetime.now(UTC)
        parts = urlsplit(request.url or "")
        host = str(parts.netloc.rpartition("@")[2])
        path = str(parts.path) + (f"?{parts.query}" if parts.query else "")
        date = reference_moment(now.timestamp())
        text = "\n".join(
            (
                str(request.method),
                path,
                date,
                f"host:{host}",
                f"content-type:{JSON}",
                f"x-backendai-version:{self._version}",
                _EMPTY_DIGEST,
            )
        )
        signature = _hmac(self._key(now, host), text).hex()
        request.headers["Date"] = date
        request.headers["Content-Type"] = JSON
        request.headers["X-BackendAI-Version"] = self._version
        request.headers["Authorization"] = (
            f"BackendAI signMethod=HMAC-SHA256, credential={self._access}:{signature}"
        )
        return request

    def _key(self, now: datetime, host: str) -> bytes:
        day = _hmac(self._secret.encode(), now.strftime("%Y%m%d"))
        return _hmac(day, host)


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


class Reservoir:
    """The VFS storage of another site, by its manager."""

    def __init__(self, table: ReservoirTable, patience: ReservoirClientTable) -> None:
        """Take the table.

        Raises:
            ConfigurationError: a key that the manager needs is missing.
        """
        needed = {
            "manager-endpoint": table.manager_endpoint,
            "manager-access-key": table.manager_access_key,
            "manager-secret-key": table.manager_secret_key,
            "storage-name": table.storage_name,
        }
        if missing := [name for name, value in needed.items() if not value]:
            raise ConfigurationError(f"The reservoir registry needs {', '.join(missing)}.")
        signature = Signature(
            str(table.manager_access_key),
            str(table.manager_secret_key),
            table.manager_api_version or API_VERSION,
        )
        self._session = RemoteSession(
            str(table.manager_endpoint).rstrip("/"),
            auth=signature,
            connect_seconds=patience.connect_seconds,
            silence_seconds=patience.silence_seconds,
            connections=table.connections,
        )
        self._storage = f"/vfs-storages/{quote(str(table.storage_name), safe='')}"

    def files(self, directory: str) -> Iterator[tuple[str, int]]:
        """Yield path and size of every file below a directory of the storage.

        Raises:
            RegistryUnavailable, RegistryRefused, ModelNotFound.
        """
        found = self._session.json(f"{self._storage}/files", body={"directory": directory})
        try:
            entries = [
                (as_text(one["path"]), as_size(one["size"]))
                for one in found["files"]
                if one["type"] != "directory"
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise RegistryRefused("The manager answers no list of files.") from error
        yield from entries

    def open(self, path: str, start: int = 0) -> RemoteFile:
        """Open a file of the storage at a position."""
        return self._session.open(
            f"{self._storage}/download", start, method="POST", body={"filepath": path}
        )

    def verification(self, revision_id: str) -> VerificationResult | None:
        """Return what the verifiers of the other site found; None when it says nothing."""
        path = f"/artifacts/revisions/{quote(revision_id, safe='')}/verification-result"
        found = self._session.json(path)
        result = found.get("verification_result") if isinstance(found, dict) else None
        return None if result is None else parsed_result(result)
