"""Lists with filters, the tail of a file, and one's uploads in flight."""

import base64

import pytest

from tests.api.people.conftest import People, grant_to
from tests.support.node import wait_for


def test_filters_of_a_list(people: People) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner, a1="1", a2="22", b1="3")
    top = people.path(vfolder)
    (top / "a-directory").mkdir()
    (top / "a-link").symlink_to("a1")
    base = f"/v1/vfolders/{vfolder.id}/entries"

    def names(query: str) -> list[str]:
        return [row["name"] for row in people.call(owner, "GET", base + query).json()["entries"]]

    assert names("?prefix=a") == ["a-directory", "a-link", "a1", "a2"]
    assert names("?prefix=a1") == ["a1"]
    assert names("?prefix=none") == []
    assert names("?kind=directory") == ["a-directory"]
    assert names("?kind=symlink&prefix=a") == ["a-link"]
    first = people.call(owner, "GET", f"{base}?prefix=a&limit=3").json()
    rest = people.call(owner, "GET", f"{base}?prefix=a&limit=3&cursor={first['next']}").json()
    found = [row["name"] for row in first["entries"] + rest["entries"]]
    assert found == ["a-directory", "a-link", "a1", "a2"]
    assert rest["next"] is None
    few = people.call(owner, "GET", f"{base}?prefix=a2&fields=size_bytes,name").json()
    assert few["entries"] == [{"name": "a2", "size_bytes": 2}]
    arrays = people.call(owner, "GET", f"{base}?kind=file&rows=columns&fields=name,size_bytes")
    assert arrays.json() == {
        "columns": ["name", "size_bytes"],
        "rows": [["a1", 1], ["a2", 2], ["b1", 1]],
        "next": None,
    }
    for wrong in ("kind=fifo", "rows=csv", "fields=name,colour", "fields=name,name", "fields="):
        assert people.call(owner, "GET", f"{base}?{wrong}").status_code == 400, wrong


@pytest.mark.parametrize(
    ("size", "query", "status", "length"),
    [
        (10, "tail=3", 206, 3),
        (10, "tail=10", 206, 10),
        (10, "tail=99", 206, 10),
        (0, "tail=3", 200, 0),
        (10, "tail=0", 400, None),
        (10, "tail=-1", 400, None),
        (10, "tail=x", 400, None),
        (10, "tail=3&format=tar", 400, None),
    ],
)
def test_the_tail_of_a_file(
    people: People, size: int, query: str, status: int, length: int | None
) -> None:
    owner = people.person()
    text = "0123456789"[:size]
    vfolder = people.vfolder(owner, log=text)
    path = f"/v1/vfolders/{vfolder.id}/content?path=log&{query}"
    answer = people.call(owner, "GET", path)
    assert answer.status_code == status, answer.text
    if length is not None:
        assert answer.text == text[len(text) - length :]
    both = people.call(owner, "GET", path, headers={"Range": "bytes=0-1"})
    assert both.status_code == 400


def test_uploads_in_flight(people: People) -> None:
    owner, other = people.person(), people.person()
    vfolder = people.vfolder(owner)
    people.grant(vfolder, grant_to(other.word, "rw"))
    name = base64.b64encode(b"in/big.bin").decode()
    tus = {"Tus-Resumable": "1.0.0"}
    begun = people.call(
        other,
        "POST",
        f"/v1/vfolders/{vfolder.id}/uploads",
        headers={**tus, "Upload-Length": "10", "Upload-Metadata": f"relativePath {name}"},
    )
    url = begun.headers["Location"]
    piece = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    assert people.call(other, "PATCH", url, headers=piece, data=b"01234").status_code == 204
    (row,) = people.call(other, "GET", "/v1/uploads").json()["uploads"]
    assert (row["path"], row["offset"], row["length"]) == ("in/big.bin", 5, 10)
    assert (row["vfolder"], row["url"]) == (f"local:{vfolder.id}", url)
    assert people.call(owner, "GET", "/v1/uploads").json()["uploads"] == []
    people.grant(vfolder)  # what may not be written is not listed
    wait_for(lambda: people.call(other, "GET", "/v1/uploads").json()["uploads"] == [])


def test_find(people: People) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner, a1="1", a2="22", b="3")
    base = f"/v1/vfolders/{vfolder.id}/find"
    small = people.call(owner, "GET", f"{base}?match=a*&min_bytes=2")
    (row,) = small.json()["entries"]
    assert (row["path"], row["kind"], row["size_bytes"]) == ("a2", "file", 2)
    # More than the limit is found by a job, whose report names all.
    big = people.call(owner, "GET", f"{base}?match=a*&limit=1")
    assert big.status_code == 202, big.text
    job = people.ended(owner, big.json()["id"])
    assert [one["path"] for one in job["result"]["entries"]] == ["a1", "a2"]
    report = people.call(owner, "GET", f"/v1/jobs/{job['id']}/report?format=csv").text
    assert [line.split(",")[:2] for line in report.splitlines()[1:]] == [
        ["a1", "found"],
        ["a2", "found"],
    ]
    for wrong in ("kind=fifo", "min_bytes=-1", "newer_than=yesterday", "path=../x", "limit=0"):
        assert people.call(owner, "GET", f"{base}?{wrong}").status_code == 400, wrong
    assert people.call(owner, "GET", f"{base}?path=absent").status_code in (400, 404)
