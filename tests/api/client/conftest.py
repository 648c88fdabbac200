"""The client door as it runs: real gunicorn, real Valkey, a real volume."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from backends.base import Mount
from backends.mounted import PosixBackend
from backends.uploads import staging, sweep_uploads
from core.access import tickets
from core.names import QuotaScope, VFolderId
from core.settings import Settings
from core.uploads import Upload, UploadStore
from tests.support import preloaded
from tests.support.doors import TICKET_SECRET, mark, settings_in
from tests.support.valkey import Valkey

START_SECONDS = 120.0
ROOT = Path(__file__).resolve().parents[3]


@dataclass
class ClientDoor:
    """A running door, and its volume seen from the other side."""

    directory: Path
    url: str
    store: UploadStore
    settings: Settings
    process: preloaded.Running | None = None
    backend: PosixBackend = field(init=False)

    def __post_init__(self) -> None:
        self.backend = PosixBackend(Mount("local", self.directory / "local"))

    def start(self) -> None:
        environ = {**os.environ, "VFOLDER_CONFIG": str(self.directory / "storage-proxy.toml")}
        with (self.directory / "door.log").open("ab") as log:
            words = ["api.serve", "client"]
            self.process = preloaded.start("door", words, output=log, environment=environ)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def answers(self) -> bool:
        """Return whether it takes connections."""
        try:
            return requests.get(f"{self.url}/", timeout=10).status_code == 200
        except requests.RequestException:
            return False

    def log(self) -> str:
        return (self.directory / "door.log").read_text()

    def stop(self, *, hard: bool = False) -> None:
        if self.process:
            self.process.kill() if hard else self.process.terminate()
            self.process.wait(120)
            self.process = None

    def vfolder(self) -> "Folder":
        scope = QuotaScope.parse(f"user:{uuid4()}")
        self.backend.create_scope(scope)
        vfolder = VFolderId(scope, uuid4())
        self.backend.create_vfolder(vfolder)
        return Folder(self, vfolder)

    def sweep(self) -> int:
        return sweep_uploads(self.backend, self.store, grace_seconds=-1).kept


@dataclass
class Folder:
    """A vfolder, the tickets for it, and its bytes on disk."""

    door: ClientDoor
    id: VFolderId

    @property
    def path(self) -> Path:
        return self.door.backend.vfolder_path(self.id)

    def write(self, name: str, data: bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def download(self, relpath: str, **more: object) -> str:
        claims = {"volume": "local", "vfid": str(self.id), "relpath": relpath, "exp": _soon()}
        ticket = tickets.DownloadTicket(**{**claims, **more})  # type: ignore[arg-type] # tests name the claims
        return f"{self.door.url}/download?token={tickets.issue(ticket, TICKET_SECRET)}"

    def archive(self, files: list[str], filename: str | None = None, **more: object) -> str:
        claims = {
            "volume": "local",
            "virtual_folder_id": str(self.id),
            "files": files,
            "filename": filename,
            "exp": _soon(),
        }
        ticket = tickets.ArchiveTicket(**{**claims, **more})  # type: ignore[arg-type] # as above
        return f"{self.door.url}/download-archive?token={tickets.issue(ticket, TICKET_SECRET)}"

    def upload(self, relpath: str, size: int, **more: object) -> str:
        """The URL that the manager door would give: a session is open."""
        claims: dict[str, object] = {
            "volume": "local",
            "vfid": str(self.id),
            "relpath": relpath,
            "size": size,
            "session": uuid4().hex,
            "exp": _soon(),
        }
        ticket = tickets.UploadTicket(**{**claims, **more})  # type: ignore[arg-type] # as above
        if not ticket.tree:
            session = Upload(
                id=ticket.session,
                volume="local",
                vfolder=str(self.id),
                path=relpath,
                session=ticket.session,
                length=size,
                limit=size,
            )
            staging.begin(self.door.backend, self.door.store, session)
        return f"{self.door.url}/upload?token={tickets.issue(ticket, TICKET_SECRET)}"


def _soon() -> int:
    return tickets.expiry(600)


def make_door(directory: Path, valkey: Valkey, more: str = "") -> ClientDoor:
    settings = settings_in(directory, valkey.url, more)
    store = UploadStore(valkey.client(8), "tests")
    return ClientDoor(directory, f"http://{settings.api.client.address}", store, settings)


@contextmanager
def door_to(backend: PosixBackend, name: str, valkey: Valkey) -> Iterator[ClientDoor]:
    """A door beside the top of a mounted file system, which the backend of that name serves."""
    made = make_door(backend.mount.path.parent, valkey)
    made.backend = backend
    made.backend.probe()
    mark(made.settings, {"local": backend.mount.path})
    config = made.directory / "storage-proxy.toml"
    old = 'backend = "vfs"\npath = "local"'
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, f'backend = "{name}"\npath = "{backend.mount.path}"'))
    made.start()
    try:
        yield made
    finally:
        made.stop()
        made.store._client.close()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[ClientDoor]:
    """A door shared by the tests of a module; each makes vfolders of its own."""
    made = make_door(tmp_path_factory.mktemp("door"), valkey)
    made.start()
    yield made
    made.stop()
    made.store._client.close()


@pytest.fixture
def folder(door: ClientDoor) -> Folder:
    return door.vfolder()
