"""A manager door that listens, and a vfolder with everything a caller may stumble over."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from core.names import VFolderId
from core.settings import Settings
from tests.support.doors import RunningDoor, running_door, settings_in
from tests.support.valkey import Valkey, running_valkey


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A store that the doors of this room share; no worker runs here."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Settings:
    return settings_in(tmp_path_factory.mktemp("door"), valkey.url)


@pytest.fixture(scope="module")
def manager(settings: Settings) -> Iterator[RunningDoor]:
    """The real manager door over HTTP, shared by all tests: each brings its own vfolder."""
    with running_door("manager", settings) as door:
        yield door


@pytest.fixture
def vfid() -> str:
    """A new vfolder id in a new quota scope; nothing exists yet."""
    return new_vfid()


def new_vfid() -> str:
    return f"user:{uuid4()}/{uuid4().hex}"


@pytest.fixture
def root(settings: Settings, vfid: str) -> Path:
    """The directory of an existing vfolder with a tree of traps in it."""
    return make_vfolder(settings, vfid)


def make_vfolder(settings: Settings, vfid: str) -> Path:
    path = settings.directory / "local" / VFolderId.parse(vfid).directory
    path.mkdir(parents=True)
    (path / "a.txt").write_text("alpha")
    (path / "empty").touch()
    (path / "dir" / "sub").mkdir(parents=True)
    (path / "dir" / "b.txt").write_text("beta")
    (path / "link-in").symlink_to("dir/b.txt")
    (path / "link-dir").symlink_to("dir")
    (path / "link-out").symlink_to("/etc")
    (path / "link-up").symlink_to("../../../../outside")
    (path / "dangling").symlink_to("nothing")
    (path / "loop").symlink_to("loop")
    os.mkfifo(path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        _bind_short(server, path / "socket")
    (path / os.fsdecode(b"not-utf8-\xff")).write_text("bytes")
    (path / "new\nline").write_text("line")
    outside = settings.directory / "local" / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret").write_text("untouched")
    return path


def _bind_short(server: socket.socket, path: Path) -> None:
    """Bind by way of /proc: the path of a socket may have 107 bytes only."""
    descriptor = os.open(path.parent, os.O_PATH)
    try:
        server.bind(f"/proc/self/fd/{descriptor}/{path.name}")
    finally:
        os.close(descriptor)
