"""What one ticket can occupy, over the real door: creations, metadata, and its end."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urljoin

import pytest
import requests

from tests.api.client.conftest import ClientDoor, Folder, make_door
from tests.api.client.test_uploads import head, meta, patch, post, problem, staged
from tests.support.node import wait_for
from tests.support.valkey import Valkey

PER_TICKET = 20
#: How long the short ticket of a test is good (seconds).
TICKET_SECONDS = 6.0


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[ClientDoor]:
    more = f"[vfolder.uploads]\nper-ticket = {PER_TICKET}"
    made = make_door(tmp_path_factory.mktemp("door"), valkey, more)
    made.start()
    yield made
    made.stop()
    made.store.client.close()


def create(url: str, length: int = 1, **headers: str) -> requests.Response:
    return post(url, Upload_Length=str(length), **headers)


def keys(door: ClientDoor) -> int:
    return int(door.store.client.dbsize())


def test_a_cheap_ticket_opens_few_uploads(folder: Folder) -> None:
    """Parts are no way around: their bytes count, too."""
    url = folder.upload("f", 1)
    before = keys(folder.door)
    with ThreadPoolExecutor(8) as pool:
        kinds = [{}, {"Upload_Concat": "partial"}] * 100
        answers = list(pool.map(lambda more: create(url, **more), kinds))
    counts = Counter(answer.status_code for answer in answers)
    assert counts == {201: 4, 429: 196}
    refused = next(answer for answer in answers if answer.status_code == 429)
    problem(refused, 429, "upload/too-many")
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json()["bound"] == "bytes"
    assert "Retry-After" in refused.headers["Access-Control-Expose-Headers"]
    assert len(staged(folder)) == 4 + 1  # and the ticket's own
    assert keys(folder.door) - before < 20


def test_a_directory_ticket_opens_a_bounded_number_at_a_time(folder: Folder) -> None:
    url = folder.upload("base", 100, tree=True)
    for number in range(PER_TICKET):
        assert create(url, 4, Upload_Metadata=meta(filename=f"f{number}")).status_code == 201
    refused = create(url, 4, Upload_Metadata=meta(filename="more"))
    problem(refused, 429, "upload/too-many")
    assert refused.json()["bound"] == "ticket"


def test_any_number_of_files_one_after_another(folder: Folder) -> None:
    """Finished, terminated and empty uploads give their places back."""
    url = folder.upload("base", 4, tree=True)
    for number in range(2 * PER_TICKET):
        words = {"Upload_Metadata": meta(relativePath=f"d/f{number}")}
        made = create(url, 4, **words)
        at = urljoin(url, made.headers["Location"])
        if number % 4 == 0:
            assert requests.delete(at, headers={"Tus-Resumable": "1.0.0"}, timeout=60).ok
            continue
        assert patch(at, 0, b"data").status_code == 204
        assert create(url, 0, **words).status_code == 201
    assert staged(folder) == []


def test_a_killed_door_takes_no_place_with_it(folder: Folder) -> None:
    url = folder.upload("base", 4, tree=True)
    words = {"Upload_Metadata": meta(relativePath="f")}
    first = urljoin(url, create(url, 4, **words).headers["Location"])
    for _ in range(PER_TICKET - 1):
        assert create(url, 4, **words).status_code == 201
    folder.door.stop(hard=True)
    folder.door.start()
    problem(create(url, 4, **words), 429)
    assert patch(first, 0, b"data").status_code == 204
    assert create(url, 4, **words).status_code == 201
    problem(create(url, 4, **words), 429)


def test_metadata_is_bounded(folder: Folder) -> None:
    url = folder.upload("base", 4, tree=True)
    words = meta(filename="f")
    fits = f"{words},k {'A' * (4096 - len(words) - 3 - (4096 - len(words) - 3) % 4)}"
    made = create(url, 4, Upload_Metadata=fits)
    assert made.status_code == 201
    assert head(urljoin(url, made.headers["Location"])).headers["Upload-Metadata"] == fits
    refused = create(url, 4, Upload_Metadata=fits + "AAAA")
    problem(refused, 400)
    assert "4096" in refused.json()["detail"]


def test_an_ended_ticket_creates_and_moves_nothing(folder: Folder) -> None:
    """A process that knows the ticket still sees that it ended."""
    folder.write("old", b"old")
    ends = time.time() + TICKET_SECONDS
    upload = folder.upload("base", 4, tree=True, exp=ends)
    download, archive = folder.download("old", exp=ends), folder.archive(["old"], exp=ends)
    words = {"Upload_Metadata": meta(filename="f")}
    made = urljoin(upload, create(upload, 4, **words).headers["Location"])
    for _ in range(4):  # every process of the door remembers the tickets
        assert head(made).status_code == 200
        assert requests.get(download, timeout=60).status_code == 200
        assert requests.get(archive, timeout=60).status_code == 200
    wait_for(lambda: time.time() > ends)
    before = keys(folder.door), len(staged(folder))
    for _ in range(4):
        problem(create(upload, 4, **words), 400)
        problem(patch(made, 0, b"data"), 400)
        assert head(made).status_code == 400
        assert requests.get(download, timeout=60).status_code == 400
        assert requests.get(archive, timeout=60).status_code == 401
    assert (keys(folder.door), len(staged(folder))) == before
