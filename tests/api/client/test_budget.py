"""The budget of a volume holds for the streams of the client door, all together."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from io import BytesIO, FileIO
from pathlib import Path
from zipfile import ZipFile

import psutil
import pytest
import requests
from prometheus_client.multiprocess import MultiProcessCollector
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from api.streaming import Budget, FilePart, Pace
from api.streaming.files import CHUNK_BYTES
from api.streaming.pacing import PIECE_BYTES_MAX
from api.volumes import Budgets
from core.cluster import BandwidthStore
from core.cluster.bandwidth import Share
from core.process import metrics_files
from core.settings import Settings, load
from tests.api.client.conftest import ClientDoor, Folder, make_door
from tests.api.client.test_sendfile_worker import request
from tests.support.doors import settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey, running_valkey

MIB = 1 << 20
LIMIT = 2 * MIB
#: What a window may hold beyond the limit times its length, in seconds: unused bytes stay allowed
#: for a quarter of a second, each stream may be a piece ahead, and the sums are read a moment late.
AHEAD_SECONDS = 0.75
WAITING = 100


class Limit:
    """The budget of the volume, as an operator sets it."""

    def __init__(self, valkey: Valkey) -> None:
        self.client = valkey.client(1)
        self._book = BandwidthStore(self.client)

    def set(self, bytes_per_second: int | None) -> None:
        self._book.set("local", bytes_per_second)

    def shares(self) -> dict[str, Share]:
        return self._book.shares()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A store of its own: jobs and streams that other tests left have no share here."""
    with running_valkey(tmp_path_factory.mktemp("budgets")) as server:
        yield server


@pytest.fixture
def limit(valkey: Valkey) -> Iterator[Limit]:
    made = Limit(valkey)
    yield made
    made.set(None)
    made.client.delete("vf:streams:local")
    made.client.close()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[ClientDoor]:
    """A door of one process: what one answer shows holds for all."""
    made = make_door(tmp_path_factory.mktemp("door"), valkey, "[vfolder.doors]\nprocesses = 1")
    made.start()
    yield made
    made.stop()
    made.store._client.close()


def set_and_followed(limit: Limit, folder: Folder, bytes_per_second: int) -> None:
    """Set a budget, and wait until the door holds it."""
    folder.write("tiny", b"t")
    limit.set(bytes_per_second)
    before = paced(folder.door)
    wait_for(lambda: fetch(folder.download("tiny")) and paced(folder.door) > before)


def store_that_is_away() -> BandwidthStore:
    """A store that is away."""
    return BandwidthStore(Redis(port=1, retry=Retry(NoBackoff(), 0)))


def paced(door: ClientDoor) -> int:
    """Bytes that moved under the budget, by the door's own counters."""
    settings = load(door.directory / "storage-proxy.toml", environ={})
    files = [str(path) for path in metrics_files.all_files(settings)]
    families = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call] # the library's
    counted = [sample for family in families for sample in family.samples]
    return int(sum(one.value for one in counted if one.name == "vfolder_paced_bytes_total"))


def fetch(url: str, **headers: str) -> bytes:
    answer = requests.get(url, headers=headers, timeout=300)
    assert answer.ok
    return answer.content


def send(url: str, data: bytes) -> None:
    answer = requests.patch(url, data=data, headers={"Upload-Offset": "0"}, timeout=300)
    assert answer.status_code == 204


def test_streams_of_all_kinds_share_the_budget_and_delay_no_request(
    door: ClientDoor, folder: Folder, limit: Limit
) -> None:
    set_and_followed(limit, folder, LIMIT)
    data = os.urandom(32 * MIB)
    folder.write("big", data)
    with ThreadPoolExecutor(8) as pool:
        before, began = paced(door), time.monotonic()
        whole = [pool.submit(fetch, folder.download("big")) for _ in range(2)]
        part = pool.submit(fetch, folder.download("big"), Range="bytes=1000000-30000000")
        archive = pool.submit(fetch, folder.archive(["big"]))
        upload = pool.submit(send, folder.upload("new", len(data)), data)
        streams: list[Future[object]] = [*whole, part, archive, upload]  # type: ignore[list-item] # of each what it gives
        for mark in (MIB, 2 * MIB, 4 * MIB):
            wait_for(lambda mark=mark: paced(door) - before >= mark)  # type: ignore[misc] # the default is its type
            moved, seconds = paced(door) - before, time.monotonic() - began
            assert moved <= LIMIT * (seconds + AHEAD_SECONDS)
            assert requests.get(f"{door.url}/", timeout=60).status_code == 200
            assert requests.head(folder.download("big"), timeout=60).ok
        wait_for(lambda: limit.shares()["local"] == Share(LIMIT, jobs=0, streams=5))
        assert not any(stream.done() for stream in streams)
        limit.set(None)
        assert all(stream.result() == data for stream in whole)
        assert part.result() == data[1_000_000:30_000_001]
        with ZipFile(BytesIO(archive.result())) as packed:
            assert packed.read("big") == data
        upload.result()
        assert (folder.path / "new").read_bytes() == data


def test_a_budget_set_while_a_stream_runs_is_followed(
    door: ClientDoor, folder: Folder, limit: Limit
) -> None:
    with folder.write("endless", b"").open("wb") as file:
        file.truncate(1 << 40)
    with requests.get(folder.download("endless"), stream=True, timeout=60) as answer:
        pieces = answer.iter_content(64 * 1024)

        def free() -> bool:
            """More moves than buffers hold, and none of it is counted."""
            before = paced(door)
            return sum(len(next(pieces)) for _ in range(800)) == 50 * MIB and paced(door) == before

        wait_for(free)
        limit.set(100 * MIB)
        wait_for(lambda: not free())
        limit.set(None)
        wait_for(free)


def test_a_waiting_stream_holds_no_thread_and_is_not_silent(
    door: ClientDoor, folder: Folder, limit: Limit
) -> None:
    assert door.process
    set_and_followed(limit, folder, 1000)
    folder.write("big", bytes(MIB))
    text = "GET TARGET HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        urls = [folder.download("big"), folder.archive(["big"])] * (WAITING // 2)
        readers = [stack.enter_context(request(url, text)) for url in urls]
        assert all(reader.recv(12) == b"HTTP/1.1 200" for reader in readers)
        assert requests.get(f"{door.url}/", timeout=60).status_code == 200
        [process] = psutil.Process(door.process.pid).children()
        assert process.num_threads() < WAITING
        url = folder.upload("new", MIB)
        upload = pool.submit(send, url, bytes(MIB))
        wait_for(lambda: 0 < int(requests.head(url, timeout=60).headers["Upload-Offset"]) < MIB)
        assert not upload.done(), "a look at an upload that waits for its turn does not end it"
        limit.set(None)
        upload.result()
        for reader in readers:
            left = MIB
            while left > 0:
                left -= len(reader.recv(MIB))


def test_a_proxy_that_sends_gets_the_rate(tmp_path: Path, valkey: Valkey, limit: Limit) -> None:
    limit.set(LIMIT)
    more = "[vfolder.doors]\nprocesses = 1\nhandoff-header = 'X-Accel-Redirect'"
    door = make_door(tmp_path, valkey, more)
    door.start()
    try:
        folder = door.vfolder()
        folder.write("file", b"data")
        answer = requests.get(folder.download("file"), timeout=60)
        assert answer.headers["X-Accel-Redirect"].endswith("/file")

        def rate() -> str | None:
            headers = requests.get(folder.download("file"), timeout=60).headers
            return headers.get("X-Accel-Limit-Rate")

        wait_for(lambda: rate() == str(LIMIT))  # a door with a slow store starts without it
    finally:
        door.stop(hard=True)
        door.store._client.close()


def test_processes_share_a_budget_by_their_streams(tmp_path: Path) -> None:
    with running_valkey(tmp_path / "store") as valkey:  # no other door has streams in it
        limit = Limit(valkey)
        _shared(settings_in(tmp_path, valkey.url), limit)
        limit.client.close()


def _shared(settings: Settings, limit: Limit) -> None:
    one, two = Budgets(settings), Budgets(settings)
    book = BandwidthStore(limit.client)
    limit.set(8000)
    one.beat(book)
    assert one.of("local").rate == 8000
    streams = [one.pace("local"), *(two.pace("local") for _ in range(3))]
    two.beat(book)
    for stream in streams:
        stream.wait(10 * MIB)
        stream.wait(10 * MIB)

    def fair() -> bool:
        for budgets in (one, two, one):  # a report is forgotten after some seconds
            budgets.beat(book)
        return (one.of("local").rate, two.of("local").rate) == (2000, 6000)

    wait_for(fair)
    assert one.of("local").newcomer() == 1600
    limit.set(4000)
    one.beat(store_that_is_away())
    assert one.of("local").rate == 2000, "what was heard last holds"
    for stream in streams[1:]:
        stream.close()
    limit.set(None)
    one.beat(book)
    assert one.of("local").rate is None


def test_before_the_first_answer_of_the_store_the_file_counts(tmp_path: Path) -> None:
    budgets = Budgets(settings_in(tmp_path, more="[vfolder.bandwidth]\nlocal = '1m'"))
    budgets.beat(store_that_is_away())
    assert budgets.of("local").rate == MIB


def test_a_turn_comes_after_those_before_and_at_once_when_nothing_limits() -> None:
    budget = Budget("local", 1)
    first, second = Pace(budget), Pace(budget, "in")
    second.charge(100_000)
    assert first.wait(5000) > 90_000
    assert not second.pay(0)
    assert budget.active() == 2
    second.close()
    assert budget.active() == 1
    budget.follow(1 << 50, 0)
    wait_for(lambda: first.wait(5000) == 0)
    assert first.granted == 1, "a piece of the rate it was promised at"
    first.moved(1)
    assert first.wait(10 * PIECE_BYTES_MAX) == 0
    assert first.granted == PIECE_BYTES_MAX
    budget.follow(None, 0)
    assert first.wait(10 * PIECE_BYTES_MAX) == 0
    assert first.granted == 10 * PIECE_BYTES_MAX


def test_a_budget_gets_back_what_did_not_move() -> None:
    budget = Budget("local", 1 << 20)
    stalled, other = Pace(budget), Pace(budget)
    wait_for(lambda: stalled.wait(MIB) == 0)
    stalled.moved(0)
    budget.follow(1, 0)
    assert other.wait(1) == 0, "the piece of the one is the other's"


def test_a_body_read_by_the_server_comes_in_pieces(tmp_path: Path) -> None:
    """As over TLS, where no kernel sends."""
    (tmp_path / "file").write_bytes(bytes(MIB))
    budget = Budget("local", 1_000_000)
    part = FilePart(FileIO(tmp_path / "file"), 0, MIB, Pace(budget))
    assert 0 < len(part.read()) < CHUNK_BYTES
    budget.follow(None, 0)
    while piece := part.read():
        assert len(piece) <= CHUNK_BYTES
    part.close()


def test_without_a_limit_no_byte_waits_or_counts() -> None:
    budget = Budget("local")
    pace = Pace(budget)
    assert pace.wait(1 << 40) == 0
    assert pace.granted == 1 << 40
    assert not pace.limited
    assert list(pace.pieces(b"data")) == [b"data"]
    assert budget.active() == 0
