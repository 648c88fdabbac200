"""Tickets for many entries and long paths: what the manager door issues, every client can use."""

import io
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import jwt
import pytest
import requests

from backends.base import Mount
from backends.mounted import PosixBackend
from core.names import VFolderId
from core.redis import Database
from tests.support.doors import TICKET_SECRET, RunningDoor, running_door, settings_in
from tests.support.thoroughness import times
from tests.support.valkey import Valkey

#: A request line that every proxy passes (bytes).
LINE_BYTES = 8000
ORIGIN = {"Origin": "https://ui.example"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doors")


@pytest.fixture(scope="module")
def doors(place: Path, valkey: Valkey) -> Iterator[tuple[RunningDoor, RunningDoor]]:
    settings = settings_in(place, valkey.url)
    with running_door("manager", settings) as manager, running_door("client", settings) as client:
        yield manager, client


@pytest.fixture
def vfolder(doors: tuple[RunningDoor, RunningDoor]) -> str:
    vfolder = f"user:{uuid.uuid4()}/{uuid.uuid4().hex}"
    scope = {"volume": "local", "qsid": vfolder.partition("/")[0]}
    assert doors[0].call("POST", "/quota-scope", scope).status_code == 204
    created = doors[0].call("POST", "/folder/create", {"volume": "local", "vfid": vfolder})
    assert created.status_code == 204
    return vfolder


def ticket_for(manager: RunningDoor, vfolder: str, files: list[str]) -> str:
    order = {"volume": "local", "virtual_folder_id": vfolder, "files": files, "filename": "ü" * 255}
    token: str = manager.call("POST", "/folder/file/archive-download-token", order).json()["token"]
    return token


def target(token: str) -> str:
    return f"/download-archive?token={token}&format={quote('zip-deflate')}"


def claims(token: str) -> dict[str, object]:
    known: dict[str, object] = jwt.decode(token, TICKET_SECRET, algorithms=["HS256"])
    return known


@pytest.mark.parametrize("count", [1, 90, 300, times(3_000, 10_000)])
def test_a_ticket_for_many_entries_fits_into_a_url(
    count: int, doors: tuple[RunningDoor, RunningDoor], vfolder: str, place: Path
) -> None:
    manager, client = doors
    top = PosixBackend(Mount("local", place / "local")).vfolder_path(VFolderId.parse(vfolder))
    names = [f"experiments/ü 2026/run-{n:05}/checkpoint-final.safetensors" for n in range(count)]
    for name in names:
        (top / name).parent.mkdir(parents=True)
        (top / name).touch()
    token = ticket_for(manager, vfolder, names)
    assert len(target(token)) < LINE_BYTES
    assert bool(claims(token)["files"]) == (count == 1), "few entries are in the ticket"
    answer = requests.get(client.url + target(token), headers=ORIGIN, timeout=60)
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == names


#: The longest path that a file of a vfolder can have, in letters of one, two, three and no bytes of
#: UTF-8. JSON escapes some of them sixfold.
LETTERS = ["x", "ü", "한", "\udcff"]


def long_path(letter: str) -> str:
    size = len(letter.encode("utf-8", "surrogateescape"))
    return "/".join([letter * (250 // size)] * 16)


@pytest.mark.parametrize("letter", LETTERS)
def test_tickets_for_a_long_path_fit_into_a_url(
    letter: str, doors: tuple[RunningDoor, RunningDoor], vfolder: str
) -> None:
    manager, client = doors
    path = long_path(letter)
    order = {"volume": "local", "vfid": vfolder, "relpath": path}
    up = manager.call("POST", "/folder/file/upload", {**order, "size": 4}).json()["token"]
    down = manager.call("POST", "/folder/file/download", order).json()["token"]
    for token in (up, down):
        assert len(f"/upload/{'x' * 32}?token={token}") < LINE_BYTES
        assert len(token) < 4200
    headers = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    for offset, piece in ((0, b"da"), (2, b"ta")):
        sent = {**headers, "Upload-Offset": str(offset)}
        answer = client.send("PATCH", f"/upload?token={up}", headers=sent, data=piece)
        assert answer.status_code == 204, answer.text
    answer = client.send("GET", f"/download?token={down}")
    assert (answer.status_code, answer.content) == (200, b"data")


def test_a_long_path_that_the_store_lost_needs_a_new_ticket(
    doors: tuple[RunningDoor, RunningDoor], vfolder: str, valkey: Valkey
) -> None:
    manager, client = doors
    order = {"volume": "local", "vfid": vfolder, "relpath": long_path("한")}
    up = manager.call("POST", "/folder/file/upload", {**order, "size": 4}).json()["token"]
    down = manager.call("POST", "/folder/file/download", order).json()["token"]
    with valkey.client(int(Database.UPLOADS)) as store:
        store.delete(f"vfolder:selection:{claims(up)['selection']}")
    for method, path, token in (("HEAD", "/upload", up), ("GET", "/download", down)):
        answer = client.send(method, f"{path}?token={token}")
        assert answer.status_code == 400
    assert "token" in answer.json()["data"]


def test_an_unmanaged_path_is_kept_too(
    doors: tuple[RunningDoor, RunningDoor], vfolder: str
) -> None:
    manager, client = doors
    order = {"volume": "local", "vfid": vfolder, "relpath": long_path("한")}
    body = {**order, "unmanaged_path": f"/nowhere/{long_path('한')}"}
    down = manager.call("POST", "/folder/file/download", body).json()["token"]
    assert client.send("GET", f"/download?token={down}").status_code == 403


def test_entries_that_the_store_lost_need_a_new_ticket(
    doors: tuple[RunningDoor, RunningDoor], vfolder: str, valkey: Valkey
) -> None:
    manager, client = doors
    token = ticket_for(manager, vfolder, [f"{n:060}" for n in range(200)])
    with valkey.client(int(Database.UPLOADS)) as store:
        (key,) = store.keys(f"vfolder:selection:{claims(token)['selection']}")
        assert 0 < store.ttl(key) <= 86_401
        store.delete(key)
    answer = client.send("GET", target(token), headers=ORIGIN)
    assert (answer.status_code, answer.json()["error_code"]) == (401, "auth_auth_data-expired")
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]


def test_a_longer_use_of_the_same_entries_keeps_them_longer(
    place: Path, valkey: Valkey, doors: tuple[RunningDoor, RunningDoor]
) -> None:
    from core.cluster import SelectionStore  # noqa: PLC0415 - the store alone

    selections = SelectionStore(settings_in(place, valkey.url))
    paths = ["a", "b\n", "\udcff"]
    name = selections.keep(paths, 1000)
    assert selections.keep(paths, 10) == name
    with valkey.client(int(Database.UPLOADS)) as store:
        assert store.ttl(f"vfolder:selection:{name}") > 900
    assert selections.read(name) == paths
    assert selections.read("0" * 64) is None
