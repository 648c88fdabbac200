"""docs/design.md lists the files of three journeys; one request of each enters those, and no other.

A traced door serves each request a second time: connections are open and caches are
filled. The ticket is a new one.
"""

import re
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import Mount
from backends.mounted import PosixBackend
from backends.uploads import staging
from core.access import tickets
from core.names import QuotaScope, VFolderId
from core.uploads import Upload, UploadStore
from tests.support.doors import TICKET_SECRET, RunningDoor, running_door, settings_in
from tests.support.valkey import Valkey

DESIGN = Path(__file__).resolve().parents[2] / "docs" / "design.md"
TRACED = [sys.executable, "-m", "tests.support.traced_door"]
#: Sections with the files that many requests share.
SHARED = ("Every request", "A call to a volume", "Values")
#: The sections of the journeys, and how many files each may have of its own.
JOURNEYS = {"Clone": 7, "Download": 9, "Upload": 9}
#: How often a journey may go back up, to a room above.
CLIMBS_MAX = 2
#: Rooms from above to below.
RANKS = (
    ("api/doors",),
    ("api/routes",),
    ("api/jobs",),
    ("api/schemas", "api/server", "api/volumes"),
    ("api/http", "api/streaming"),
    ("backends",),
    ("core",),
)
#: A request ends a moment after its answer: it is closed and counted.
END_SECONDS = 0.2


def listed(section: str) -> list[str]:
    """The files that a section of the page lists, in their order."""
    text = DESIGN.read_text("utf-8").split("## Three journeys", 1)[1].split("\n## ", 1)[0]
    body = text.split(f"\n### {section}\n", 1)[1].split("\n### ", 1)[0]
    return re.findall(r"^(?:\*|\d+\.) `([^`]+\.py)`", body, re.MULTILINE)


def rank(path: str) -> int:
    return next(number for number, rooms in enumerate(RANKS) if path.startswith(rooms))


class Node:
    """Traced doors and a vfolder behind them."""

    def __init__(self, client: RunningDoor, manager: RunningDoor, directory: Path) -> None:
        self.client = client
        self.manager = manager
        self.backend = PosixBackend(Mount("local", directory))
        self.scope = QuotaScope.parse(f"user:{uuid4()}")
        self.backend.create_scope(self.scope)
        self.vfolder = VFolderId(self.scope, uuid4())
        self.backend.create_vfolder(self.vfolder)
        (self.backend.vfolder_path(self.vfolder) / "file").write_bytes(b"f" * 100_000)

    def download(self) -> None:
        ticket = tickets.DownloadTicket(
            volume="local", vfid=str(self.vfolder), relpath="file", exp=expiry()
        )
        token = tickets.issue(ticket, TICKET_SECRET)
        answer = self.client.send("GET", f"/download?token={token}")
        assert len(answer.content) == 100_000

    def upload(self, store: UploadStore) -> None:
        upload = Upload(
            id=(session := uuid4().hex),
            volume="local",
            vfolder=str(self.vfolder),
            path=session,
            session=session,
            length=4,
            limit=4,
        )
        staging.begin(self.backend, store, upload)
        ticket = tickets.UploadTicket(
            volume="local",
            vfid=str(self.vfolder),
            relpath=session,
            size=4,
            session=session,
            exp=expiry(),
        )
        headers = {
            "Upload-Offset": "0",
            "Tus-Resumable": "1.0.0",
            "Content-Type": "application/offset+octet-stream",
        }
        url = f"/upload?token={tickets.issue(ticket, TICKET_SECRET)}"
        assert self.client.send("PATCH", url, data=b"data", headers=headers).status_code == 204

    def clone(self) -> None:
        body = {
            "src_volume": "local",
            "src_vfid": str(self.vfolder),
            "dst_volume": "local",
            "dst_vfid": str(VFolderId(self.scope, uuid4())),
            "options": None,
        }
        assert self.manager.send("POST", "/folder/clone", json=body).status_code == 202


def expiry() -> float:
    """A new ticket each time: to the second, tickets of one second are the same."""
    return tickets.expiry(600) + uuid4().int % 10_000


@pytest.fixture(scope="module")
def entered(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> dict[str, list[str]]:
    """The files that one request of each journey enters, each once, in their order."""
    directory = tmp_path_factory.mktemp("traced")
    settings = settings_in(directory, valkey.url, "[vfolder.doors]\nprocesses = 1")
    with (
        running_door("client", settings, TRACED) as client,
        running_door("manager", settings, TRACED) as manager,
        valkey.client(8) as redis_client,
    ):
        node = Node(client, manager, directory / "local")
        store = UploadStore(redis_client, "tests")
        journeys = {
            "Download": (client, node.download),
            "Upload": (client, lambda: node.upload(store)),
            "Clone": (manager, node.clone),
        }
        return {name: trace(door, request) for name, (door, request) in journeys.items()}


def trace(door: RunningDoor, request: Callable[[], None]) -> list[str]:
    request()
    time.sleep(END_SECONDS)
    door.send("GET", "/trace")
    request()
    time.sleep(END_SECONDS)
    calls: list[str] = door.send("GET", "/trace").json()
    return list(dict.fromkeys(calls))


@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_request_enters_the_listed_files_and_no_other(
    entered: dict[str, list[str]], journey: str
) -> None:
    shared = {path for section in SHARED for path in listed(section)}
    own = [path for path in entered[journey] if path not in shared]
    assert own == listed(journey)


@pytest.mark.parametrize(("journey", "most"), JOURNEYS.items())
def test_a_journey_is_short_and_goes_down(journey: str, most: int) -> None:
    own = listed(journey)
    assert len(own) <= most
    ranks = [rank(path) for path in own]
    assert sum(after < before for before, after in pairwise(ranks)) <= CLIMBS_MAX


def test_no_shared_file_is_listed_in_vain(entered: dict[str, list[str]]) -> None:
    all_entered = {path for paths in entered.values() for path in paths}
    shared = [path for section in SHARED for path in listed(section)]
    assert len(shared) == len(set(shared)), "a file is in one list"
    assert set(shared) <= all_entered
