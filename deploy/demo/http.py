"""Calls of the two doors as in a user's program: requests for the API, tuspy for the upload."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from core.process import pinned_tls
from core.settings import Settings
from deploy import listeners
from deploy.demo.show import DemoFailed

AUTH_HEADER = "X-BackendAI-Storage-Auth-Token"
#: Size of one tus PATCH, as in the usual SDK.
CHUNK_BYTES = 16 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_ANSWER_SECONDS = 60.0
#: A port without listener refuses at once; only a busy node takes long to answer.
_PROBE_SECONDS = 30.0


class Doors:
    """The manager door and the client door of one node."""

    def __init__(self, settings: Settings) -> None:
        doors = {one.process: one for one in listeners.of(settings)}
        self._client_door = doors["client"]
        self._manager, self._session = _session(doors["manager"])
        self._client, self._users = _session(doors["client"])
        self._session.headers[AUTH_HEADER] = settings.api.manager.secret

    def are_open(self) -> bool:
        """Return whether both doors answer and the manager door accepts our secret."""
        try:
            mine = self._session.get(f"{self._manager}/volumes", timeout=_PROBE_SECONDS)
            theirs = self._users.get(f"{self._client}/", timeout=_PROBE_SECONDS)
        except requests.RequestException:
            return False
        return mine.ok and theirs.ok

    def call(self, method: str, path: str, **body: Any) -> Any:  # noqa: ANN401 - any JSON answer
        """Call the manager door with a JSON body and return its JSON answer; None for 204.

        Raises:
            DemoFailed: the answer is a problem.
        """
        answer = self._session.request(
            method, f"{self._manager}{path}", json=body or None, timeout=_ANSWER_SECONDS
        )
        if not answer.ok:
            raise DemoFailed(f"{method} {path} answered {answer.status_code}: {answer.text}")
        return answer.json() if answer.content else None

    def exists(self, volume: str, vfolder: str) -> bool:
        """Return whether the vfolder exists.

        Raises:
            DemoFailed: the answer is another error than «no such vfolder».
        """
        answer = self._session.get(
            f"{self._manager}/folder/mount",
            json={"volume": volume, "vfid": vfolder},
            timeout=_ANSWER_SECONDS,
        )
        if not answer.ok and answer.json().get("error_code") == "vfolder_read_not-found":
            return False
        if not answer.ok:
            raise DemoFailed(f"GET /folder/mount answered {answer.status_code}: {answer.text}")
        return True

    def upload(self, token: str, file: Path, report: Callable[[int], None]) -> None:
        """Send a file by tus; `report` gets the offset after every PATCH."""
        door = self._client_door
        url = f"{door.url}/upload?token={token}"
        if door.certificate:  # tuspy can be given no file; requests reads this variable
            os.environ["REQUESTS_CA_BUNDLE"] = str(door.certificate)
        trust = door.certificate is None or door.trusted_name() is not None
        size = file.stat().st_size
        try:
            uploader = TusClient(url).uploader(
                str(file), url=url, chunk_size=CHUNK_BYTES, verify_tls_cert=trust
            )
            while uploader.offset < size:
                uploader.upload_chunk()  # type: ignore[no-untyped-call] # tuspy has no types
                report(uploader.offset)
        except TusCommunicationError as error:
            raise DemoFailed(f"The upload failed: {error}: {error.response_content!r}") from error

    def download_digest(self, token: str) -> tuple[str, int]:
        """Download a file by its ticket; return its SHA-256 and its size."""
        digest, size = hashlib.sha256(), 0
        with self._users.get(
            f"{self._client}/download",
            params={"token": token},
            stream=True,
            timeout=_ANSWER_SECONDS,
        ) as answer:
            if not answer.ok:
                raise DemoFailed(f"GET /download answered {answer.status_code}: {answer.text}")
            for chunk in answer.iter_content(_READ_BYTES):
                digest.update(chunk)
                size += len(chunk)
        return digest.hexdigest(), size


def _session(door: listeners.Listener) -> tuple[str, requests.Session]:
    """Return the URL of a door of this machine, and a session that trusts its certificate."""
    session, url = requests.Session(), f"{door.scheme}://{door.address.local}"
    session.trust_env = False
    if door.certificate:
        session.mount(url, pinned_tls.PinnedAdapter(door.certificate))
    return url, session
