"""Parts are joined once, and a client that did not receive the answer gets the same upload."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest

from backends.fs import layout
from tests.api.client.conftest import Folder
from tests.api.client.test_tus_clients import NODE_MODULE
from tests.api.client.test_uploads import head, patch, post, problem, staged

PIECES = [b"first ", b"second ", b"third"]
WHOLE = b"".join(PIECES)


def parts_of(url: str, pieces: list[bytes]) -> list[str]:
    made = []
    for piece in pieces:
        answer = post(url, Upload_Concat="partial", Upload_Length=str(len(piece)))
        made.append(urljoin(url, answer.headers["Location"]))
        assert patch(made[-1], 0, piece).status_code == 204
    return made


def joined(parts: list[str]) -> dict[str, str]:
    return {"Upload_Concat": f"final;{' '.join(parts)}"}


def file_of(folder: Folder, part: str) -> Path:
    upload_id = urlsplit(part).path.rpartition("/")[2]
    return folder.door.backend.mount.path / layout.upload(folder.id.scope, upload_id)


def test_a_repeated_request_gets_the_same_upload(folder: Folder) -> None:
    url = folder.upload("f", len(WHOLE))
    parts = parts_of(url, PIECES)
    first = post(url, **joined(parts))
    inode = (folder.path / "f").stat().st_ino
    for _ in range(2):
        again = post(url, **joined(parts))
        assert (again.status_code, again.text) == (201, "")
        assert again.headers["Location"] == first.headers["Location"]
        assert again.headers["Upload-Offset"] == str(len(WHOLE))
    assert (folder.path / "f").stat().st_ino == inode
    assert (folder.path / "f").read_bytes() == WHOLE
    assert len(staged(folder)) == 1  # the ticket's own


def test_a_client_finds_its_parts_complete_after_the_join(folder: Folder) -> None:
    """A client that repeats the request asks for its parts first."""
    url = folder.upload("f", len(WHOLE))
    parts = parts_of(url, PIECES)
    assert post(url, **joined(parts)).status_code == 201
    for part, piece in zip(parts, PIECES, strict=True):
        answer = head(part)
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (200, str(len(piece)))
        assert answer.headers["Upload-Concat"] == "partial"
        problem(patch(part, len(piece), b"x"), 404)
    problem(post(url, **joined(parts[::-1])), 404)
    assert (folder.path / "f").read_bytes() == WHOLE


def test_requests_at_once_join_the_parts_once(folder: Folder) -> None:
    """All get the same answer, also those that end the parts at the same moment."""
    for turn in range(8):
        pieces = [os.urandom(1 << 20), os.urandom(1 << 20)]
        url = folder.upload(f"f{turn}", 2 << 20)
        parts = parts_of(url, pieces)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: post(url, **joined(parts)), range(6)))  # noqa: B023 - ends in its turn
        assert [answer.text for answer in answers if answer.status_code != 201] == []
        assert len({answer.headers["Location"] for answer in answers}) == 1
        assert (folder.path / f"f{turn}").read_bytes() == b"".join(pieces)


def test_a_door_that_died_after_the_rename_is_no_loss(folder: Folder) -> None:
    """Its bytes are published, and no record says so."""
    url = folder.upload("f", len(WHOLE))
    parts = parts_of(url, PIECES)
    first, *others = [file_of(folder, part) for part in parts]
    with first.open("ab") as file:
        file.writelines(other.read_bytes() for other in others)
    first.rename(folder.path / "f")
    answer = post(url, **joined(parts))
    assert answer.status_code == 201
    assert head(urljoin(url, answer.headers["Location"])).headers["Upload-Offset"] == str(
        len(WHOLE)
    )
    assert (folder.path / "f").read_bytes() == WHOLE
    assert len(staged(folder)) == 1
    assert post(url, **joined(parts)).headers["Location"] == answer.headers["Location"]


def test_a_door_that_died_before_the_rename_is_no_loss(folder: Folder) -> None:
    url = folder.upload("f", len(WHOLE))
    parts = parts_of(url, PIECES)
    with file_of(folder, parts[0]).open("ab") as file:
        file.write(b"a half of the sec")
    assert post(url, **joined(parts)).status_code == 201
    assert (folder.path / "f").read_bytes() == WHOLE


class LosingProxy:
    """Passes connections to a door, and cuts the first whose request joins parts."""

    def __init__(self, url: str) -> None:
        at = urlsplit(url)
        self._door = (at.hostname, at.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._opened = ExitStack()
        self._loses = True
        self.joins = self.sent = 0
        self.url = at._replace(netloc=f"127.0.0.1:{self._listener.getsockname()[1]}").geturl()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._opened.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client = self._opened.enter_context(self._listener.accept()[0])
                door = self._opened.enter_context(socket.create_connection(self._door))
                losing = threading.Event()
                for way in (self._forth, self._back):
                    threading.Thread(target=way, args=(client, door, losing), daemon=True).start()

    def _forth(self, client: socket.socket, door: socket.socket, losing: threading.Event) -> None:
        with suppress(OSError):  # cut
            while data := client.recv(1 << 16):
                self.sent += len(data)
                if b"upload-concat: final" in data.lower():
                    self.joins += 1
                    if self._loses:
                        self._loses = False
                        losing.set()
                door.sendall(data)
            door.shutdown(socket.SHUT_WR)

    @staticmethod
    def _back(client: socket.socket, door: socket.socket, losing: threading.Event) -> None:
        with suppress(OSError):  # cut
            while (data := door.recv(1 << 16)) and not losing.is_set():
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxied(folder: Folder) -> Iterator[LosingProxy]:
    proxy = LosingProxy(folder.upload("f", 1 << 20))
    yield proxy
    proxy.close()


NODE_RETRY = """
const tus = require(process.argv[1]);
const [url, path] = process.argv.slice(2);
let retries = 1;
const upload = new tus.Upload(require("fs").readFileSync(path), {
  endpoint: url, parallelUploads: 3, retryDelays: [100, 200], metadata: { filename: "x" },
  onError: (error) => {
    if (retries-- > 0) upload.start(); else { console.error(String(error)); process.exit(1); }
  },
  onSuccess: () => process.exit(0),
});
upload.start();
"""


@pytest.mark.part("node")
@pytest.mark.part("tus-js-client")
def test_tus_js_client_retries_a_join_whose_answer_was_lost(
    folder: Folder, proxied: LosingProxy, tmp_path: Path
) -> None:
    data = os.urandom(1 << 20)
    (tmp_path / "source").write_bytes(data)
    words = ["node", "-e", NODE_RETRY, NODE_MODULE, proxied.url, tmp_path / "source"]
    subprocess.run(words, check=True, timeout=60)
    assert (folder.path / "f").read_bytes() == data
    assert proxied.joins == 2
    assert proxied.sent < 1.5 * len(data)  # no part was sent again
