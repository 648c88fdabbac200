"""Uploads that replace one version of a file alone: a newer one of another person stays."""

from base64 import b64encode
from pathlib import Path

import pytest
import requests

from tests.api.people.conftest import People

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream"}


class Uploads:
    """The uploads of one person to one file."""

    def __init__(self, people: People, text: str = "") -> None:
        self.people, self.person = people, people.person()
        self.vfolder = people.vfolder(self.person, **({"a.txt": text} if text else {}))
        self.path: Path = people.path(self.vfolder) / "a.txt"

    def send(self, method: str, path: str, data: bytes, **headers: str) -> requests.Response:
        url = f"{self.people.door.url}{path}"
        own = {**self.person.headers, **TUS, **BYTES, **headers}
        return requests.request(method, url, data=data, headers=own, timeout=60)

    def create(self, data: bytes, length: int = 3, **headers: str) -> requests.Response:
        name = b64encode(b"a.txt").decode()
        more = {"Upload-Length": str(length), "Upload-Metadata": f"relativePath {name}"}
        return self.send("POST", f"/v1/vfolders/{self.vfolder.id}/uploads", data, **more, **headers)

    def tag(self) -> str:
        path = f"/v1/vfolders/{self.vfolder.id}/entry?path=a.txt"
        return str(self.people.call(self.person, "GET", path).headers["ETag"])


def test_the_version_that_is_named_is_replaced(people: People) -> None:
    uploads = Uploads(people, "old")
    answer = uploads.create(b"new", **{"If-Match": uploads.tag()})
    assert answer.status_code == 201, answer.text
    assert uploads.path.read_text() == "new"


@pytest.mark.parametrize("newer", ["newer", None], ids=["changed", "removed"])
def test_another_version_is_refused_at_once(people: People, newer: str | None) -> None:
    uploads = Uploads(people, "old")
    tag = uploads.tag()
    change(uploads.path, newer)
    answer = uploads.create(b"new", **{"If-Match": tag})
    assert answer.status_code == 412
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert text_of(uploads.path) == newer


@pytest.mark.parametrize("newer", ["newer", None], ids=["changed", "removed"])
def test_a_version_that_comes_while_the_bytes_arrive_stays(
    people: People, newer: str | None
) -> None:
    uploads = Uploads(people, "old")
    begun = uploads.create(b"ne", **{"If-Match": uploads.tag()})
    assert begun.status_code == 201, begun.text
    change(uploads.path, newer)
    ended = uploads.send("PATCH", begun.headers["Location"], b"w", **{"Upload-Offset": "2"})
    assert ended.status_code == 409, ended.text
    assert text_of(uploads.path) == newer
    assert uploads.send("DELETE", begun.headers["Location"], b"").status_code == 204


def test_a_file_that_comes_while_a_new_one_arrives_stays(people: People) -> None:
    uploads = Uploads(people)
    begun = uploads.create(b"ne", **{"If-None-Match": "*"})
    assert begun.status_code == 201, begun.text
    uploads.path.write_text("theirs")
    ended = uploads.send("PATCH", begun.headers["Location"], b"w", **{"Upload-Offset": "2"})
    assert ended.status_code == 409, ended.text
    assert uploads.path.read_text() == "theirs"


def change(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.write_text(text)


def text_of(path: Path) -> str | None:
    return path.read_text() if path.exists() else None
