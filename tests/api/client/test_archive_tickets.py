"""Archive tickets for many entries: what the manager door issues, every client can use."""

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


@pytest.mark.parametrize("count", [1, 90, 300])
def test_a_ticket_for_many_entries_fits_into_a_url(
    count: int, doors: tuple[RunningDoor, RunningDoor], vfolder: str, place: Path
) -> None:
    manager, client = doors
    top = PosixBackend(Mount("local", place / "local")).vfolder_path(VFolderId.parse(vfolder))
    names = [f"experiments/ü 2026/run-{n:05}/checkpoint-final.safetensors" for n in range(count)]
    for name in names:
        (top / name).parent.mkdir(parents=True)
        (top / name).write_bytes(b"x")
    token = ticket_for(manager, vfolder, names)
    assert len(target(token)) < LINE_BYTES
    assert bool(claims(token)["files"]) == (count == 1), "few entries are in the ticket"
    answer = requests.get(client.url + target(token), headers=ORIGIN, timeout=60)
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == names


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
