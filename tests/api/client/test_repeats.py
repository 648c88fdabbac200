"""What ends an upload is answered again when the answer was lost: for a day, as at first."""

import hashlib
import http.client
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urljoin, urlsplit

import jwt
import pytest
import requests

from core.uploads.store import upload_keys
from tests.api.client.conftest import Folder
from tests.api.client.test_uploads import OCTETS, TUS, head, meta, patch, post, problem, staged

DAY_SECONDS = 86_400
DATA = os.urandom(3 << 20)
LAST = 2 << 20


def bare(folder: Folder) -> str:
    return folder.upload("f", len(DATA))


def created(folder: Folder) -> str:
    url = folder.upload("f", len(DATA))
    return urljoin(url, post(url, Upload_Length=str(len(DATA))).headers["Location"])


@pytest.fixture(params=[bare, created])
def url(request: pytest.FixtureRequest, folder: Folder) -> str:
    make: Callable[[Folder], str] = request.param
    return make(folder)


def delete(url: str) -> requests.Response:
    return requests.delete(url, headers=TUS, timeout=60)


def seconds_kept(folder: Folder, url: str) -> int:
    """How long the store still knows the upload of a URL; that of a bare ticket is its session."""
    at = urlsplit(url)
    claims = jwt.decode(at.query.partition("=")[2], options={"verify_signature": False})
    name = at.path.rpartition("/upload/")[2] if "/upload/" in at.path else claims["session"]
    return int(folder.door.store.client.ttl(upload_keys(name)[2]))


def test_the_last_patch_is_repeatable(folder: Folder, url: str) -> None:
    assert patch(url, 0, DATA[:LAST]).status_code == 204
    first = patch(url, LAST, DATA[LAST:])
    inode = (folder.path / "f").stat().st_ino
    for offset, data in ((LAST, DATA[LAST:]), (0, DATA), (len(DATA), b"")):
        again = patch(url, offset, data)
        assert (again.status_code, again.text) == (204, "")
        assert again.headers["Upload-Offset"] == first.headers["Upload-Offset"] == str(len(DATA))
        assert "Upload-Expires" not in again.headers
    assert (folder.path / "f").stat().st_ino == inode
    assert (folder.path / "f").read_bytes() == DATA
    assert DAY_SECONDS - 600 < seconds_kept(folder, url) <= DAY_SECONDS
    found = head(url)
    assert (found.status_code, found.headers["Upload-Offset"]) == (200, str(len(DATA)))


def test_other_bytes_are_no_repetition(folder: Folder, url: str) -> None:
    assert patch(url, 0, DATA).status_code == 204
    others = (DATA[:-1], DATA + b"x", bytes(len(DATA)), DATA[:-1] + bytes([DATA[-1] ^ 1]))
    for other in others:
        problem(patch(url, 0, other), 404, "tus-session-not-found")
    for offset in ("x", "-1", "9" * 19, "9" * 5000, "1.0", str(len(DATA) + 1)):
        problem(patch(url, offset, b""), 404, "tus-session-not-found")
    assert (folder.path / "f").read_bytes() == DATA


def test_a_repetition_in_chunks(folder: Folder, url: str) -> None:
    assert patch(url, 0, DATA).status_code == 204
    headers = {**OCTETS, "Upload-Offset": "0"}
    pieces = [DATA[start : start + 100_000] for start in range(0, len(DATA), 100_000)]
    for body, status in ((pieces, 204), (pieces[:-1], 404), ([*pieces, b"more"], 404)):
        with requests.patch(url, data=iter(body), headers=headers, timeout=60) as answer:
            assert answer.status_code == status, answer.text


def test_a_file_that_has_gone_on_is_not_compared(folder: Folder, url: str) -> None:
    """The answer is that of then; what others did with the file since is not asked."""
    assert patch(url, 0, DATA).status_code == 204
    (folder.path / "f").write_bytes(b"shorter")
    assert patch(url, LAST, DATA[LAST:]).status_code == 204
    (folder.path / "f").unlink()
    assert patch(url, LAST, DATA[LAST:]).status_code == 204
    (folder.path / "f").symlink_to("/etc/passwd")
    assert patch(url, LAST, DATA[LAST:]).status_code == 204


def test_an_empty_file(folder: Folder) -> None:
    url = folder.upload("f", 0)
    for _ in range(3):
        assert patch(url, 0, b"").status_code == 204
    assert (folder.path / "f").read_bytes() == b""


def test_a_digest_of_a_complete_file(folder: Folder) -> None:
    words = meta(sha256=hashlib.sha256(DATA).hexdigest())
    ticket = folder.upload("f", len(DATA))
    made = post(ticket, Upload_Length=str(len(DATA)), Upload_Metadata=words)
    url = urljoin(ticket, made.headers["Location"])
    assert [patch(url, 0, DATA).status_code for _ in range(2)] == [204, 204]


def test_the_last_patch_of_a_part(folder: Folder) -> None:
    """It ends the part; the join comes later, or came already."""
    url = folder.upload("f", len(DATA))
    parts = []
    for piece in (DATA[:LAST], DATA[LAST:]):
        made = post(url, Upload_Concat="partial", Upload_Length=str(len(piece)))
        parts.append(urljoin(url, made.headers["Location"]))
        for _ in range(2):
            answer = patch(parts[-1], 0, piece)
            assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(len(piece)))
        problem(patch(parts[-1], 0, piece[::-1]), 409)
    assert post(url, Upload_Concat=f"final;{' '.join(parts)}").status_code == 201
    assert (folder.path / "f").read_bytes() == DATA
    assert patch(parts[1], 0, DATA[LAST:]).status_code == 204


def test_requests_at_once_end_an_upload_once(folder: Folder, url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: patch(url, 0, DATA), range(4)))
    assert 204 in {answer.status_code for answer in answers}
    assert {answer.status_code for answer in answers} <= {204, 409, 423}
    assert patch(url, 0, DATA).status_code == 204
    assert (folder.path / "f").read_bytes() == DATA


def test_a_termination_is_repeatable(folder: Folder, url: str) -> None:
    assert patch(url, 0, DATA[:LAST]).status_code == 204
    for _ in range(3):
        answer = delete(url)
        assert (answer.status_code, answer.text) == (204, "")
    assert head(url).status_code == 404
    problem(patch(url, LAST, DATA[LAST:]), 404, "tus-session-not-found")
    other = folder.upload("f", len(DATA)).partition("?")[2]
    if "/upload/" in url:
        problem(delete(f"{url.partition('?')[0]}?{other}"), 404)
    keys = folder.door.store.client.keys("tus.upload.ended:*")
    kept = [int(folder.door.store.client.ttl(key)) for key in keys]  # type: ignore[union-attr,arg-type] # as above
    assert max(kept) > DAY_SECONDS - 600


def test_a_termination_that_died_half_way(folder: Folder) -> None:
    """The bytes are gone, and the record is still there."""
    url = created(folder)
    assert patch(url, 0, DATA[:LAST]).status_code == 204
    for file in staged(folder):
        file.unlink()
    assert [delete(url).status_code for _ in range(2)] == [204, 204]
    assert head(url).status_code == 404


def test_what_is_published_cannot_be_given_up(folder: Folder, url: str) -> None:
    assert patch(url, 0, DATA).status_code == 204
    problem(delete(url), 404, "tus-session-not-found")
    assert (folder.path / "f").read_bytes() == DATA
    assert patch(url, 0, DATA).status_code == 204


def test_terminations_at_once(folder: Folder, url: str) -> None:
    assert patch(url, 0, DATA[:LAST]).status_code == 204
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: delete(url), range(4)))
    assert {answer.status_code for answer in answers} == {204}


def test_a_connection_goes_on_after_a_repetition(folder: Folder, url: str) -> None:
    """The body is read to its end, so the next request of the connection is understood."""
    assert patch(url, 0, DATA).status_code == 204
    at = urlsplit(url)
    door = http.client.HTTPConnection(at.netloc, timeout=60)
    for _ in range(3):
        door.request("PATCH", f"{at.path}?{at.query}", DATA, {**OCTETS, "Upload-Offset": "0"})
        answer = door.getresponse()
        assert (answer.status, answer.read()) == (204, b"")
    door.close()
