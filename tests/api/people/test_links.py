"""Links: what a visitor may, how a link ends, and that it never gives more than its maker has."""

import base64
import os
import time
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import requests

from core.names import VFolderId, moment, parsed_moment
from tests.api.people.conftest import People, Person
from tests.support.node import wait_for

TEXTS = {"a.txt": "hello, world"}


def shared(people: People, **more: Any) -> tuple[Person, VFolderId, str]:
    """A vfolder with a directory `open`, and the path of a link."""
    owner = people.person()
    vfolder = people.vfolder(owner, secret="hidden bytes")
    inside = people.path(vfolder) / "open"
    (inside / "below").mkdir(parents=True)
    (inside / "a.txt").write_text("hello, world")
    (inside / "below" / "b.txt").write_text("deep")
    (inside / "out").symlink_to("../secret")
    (inside / "up").symlink_to("..")
    return owner, vfolder, made(people, owner, vfolder, **{"path": "open", **more})


def made(people: People, owner: Person, vfolder: VFolderId, **more: Any) -> str:
    answer = people.call(owner, "POST", f"/v1/vfolders/{vfolder.id}/links", more)
    assert answer.status_code == 201, answer.text
    url = urlsplit(answer.json()["url"])
    assert url.query == ""
    return url.path


def get(people: People, path: str, **options: Any) -> requests.Response:
    """One request of a visitor, checked against the document."""
    return people.call(None, "GET", path, **options)


def not_there(people: People, path: str) -> bool:
    """Whether a link looks as one that never was, at each of its routes."""
    never = f"/s/vfl_{'x' * 27}"
    for end in ("", "/entries", "/content?path=a.txt"):
        found, other = get(people, path + end), get(people, never + end)
        texts = []
        for one in (found, other):
            document = one.json()
            document.pop("request_id", None)
            texts.append((one.status_code, document))
        if texts[0] != texts[1] or found.status_code != 404:
            return False
    return True


def test_a_visitor_browses_and_downloads_below_the_path(people: People) -> None:
    owner, vfolder, link = shared(people)
    wait_for(lambda: get(people, link).status_code == 200)
    seen = get(people, link)
    assert seen.json() | {"expires_at": "", "max_file_bytes": None} == {
        "kind": "read",
        "needs_password": False,
        "name": "open",
        "is_directory": True,
        "max_file_bytes": None,
        "expires_at": "",
    }
    assert seen.headers["Referrer-Policy"] == "no-referrer"
    for origin, named in (("https://ui.example", True), ("https://evil.example", False)):
        read = get(people, link, headers={"Origin": origin})
        assert ("Access-Control-Allow-Origin" in read.headers) is named
    rows = get(people, f"{link}/entries").json()["entries"]
    assert [row["name"] for row in rows] == ["a.txt", "below", "out", "up"]
    assert [row["name"] for row in get(people, f"{link}/entries?path=below").json()["entries"]] == [
        "b.txt"
    ]
    content = get(people, f"{link}/content?path=a.txt")
    assert content.content == b"hello, world"
    assert content.headers["Content-Disposition"].startswith("attachment")
    part = get(people, f"{link}/content?path=a.txt", headers={"Range": "bytes=7-"})
    assert (part.status_code, part.content) == (206, b"world")
    assert get(people, f"{link}/content?path=below&format=tar").status_code == 200
    assert get(people, f"{link}/content?format=zip").status_code == 200
    mine = people.call(owner, "GET", "/v1/links").json()["links"]
    assert [(one["path"], one["downloads"]) for one in mine] == [("open", 3)]
    assert people.call(owner, "GET", f"/v1/vfolders/{vfolder.id}").json()["links"] == 1


@pytest.mark.parametrize(
    "path",
    ["../secret", "..", "out", "up/secret", "below/../../secret", "/secret", "%2e%2e/secret", "up"],
)
def test_no_path_leads_out_of_a_link(people: People, path: str) -> None:
    _, _, link = shared(people)
    wait_for(lambda: get(people, link).status_code == 200)
    for end in ("content", "entries"):
        answer = get(people, f"{link}/{end}", params={"path": path})
        assert answer.status_code in (400, 404), (end, answer.text)
        assert b"hidden bytes" not in answer.content
        for name in ("open", 'secret"', str(people.settings.directory)):
            assert name not in answer.text.replace(path, "")


def test_no_metric_and_no_log_has_a_token(people: People) -> None:
    _, _, link = shared(people)
    for method, end in (("GET", "/"), ("GET", "/favicon.ico"), ("DELETE", ""), ("GET", "/entries")):
        people.door.send(method, link + end)
    token = link.rpartition("/")[2]
    log = people.settings.directory / "client.log"
    files = [log, *people.settings.directory.rglob("metrics/**/*.db")]
    assert len(files) > 1
    assert all(token.encode() not in one.read_bytes() for one in files)


def test_a_link_to_a_file_has_that_file_alone(people: People) -> None:
    owner, vfolder, _ = shared(people)
    link = made(people, owner, vfolder, path="open/a.txt")
    wait_for(lambda: get(people, link).status_code == 200)
    assert get(people, link).json()["is_directory"] is False
    assert get(people, f"{link}/content").content == b"hello, world"
    for path in ("a.txt", "../a.txt", "below/b.txt"):
        answer = get(people, f"{link}/content", params={"path": path})
        assert answer.status_code in (400, 404), path


def test_a_link_ends_in_each_way_as_if_it_never_was(people: People) -> None:
    owner, vfolder, link = shared(people)
    base = f"/v1/vfolders/{vfolder.id}"
    wait_for(lambda: get(people, link).status_code == 200)
    # The vfolder has none for a while.
    off = people.call(owner, "PATCH", base, {"links_allowed": False})
    assert off.json()["links_allowed"] is False
    wait_for(lambda: not_there(people, link))
    assert people.call(owner, "POST", f"{base}/links", {}).status_code == 403
    assert people.call(owner, "PATCH", base, {"links_allowed": True}).status_code == 200
    wait_for(lambda: get(people, link).status_code == 200)
    # Its end comes, and is moved.
    (row,) = people.call(owner, "GET", f"{base}/links").json()["links"]
    soon = {"expires_at": moment(time.time() + 1)}
    assert people.call(owner, "PATCH", f"/v1/links/{row['id']}", soon).status_code == 200
    wait_for(lambda: not_there(people, link))
    later = {"expires_at": moment(time.time() + 3600), "note": "again"}
    changed = people.call(owner, "PATCH", f"/v1/links/{row['id']}", later).json()
    assert (changed["note"], changed["path"]) == ("again", "open")
    wait_for(lambda: get(people, link).status_code == 200)
    # It is revoked for good.
    assert people.call(owner, "DELETE", f"/v1/links/{row['id']}").status_code == 204
    wait_for(lambda: not_there(people, link))
    assert people.call(owner, "PATCH", f"/v1/links/{row['id']}", later).status_code == 404
    assert people.call(owner, "GET", "/v1/links").json()["links"] == []


def test_a_link_ends_with_its_maker_and_its_vfolder(people: People) -> None:
    owner, vfolder, link = shared(people)
    heir = people.person()
    base = f"/v1/vfolders/{vfolder.id}"
    wait_for(lambda: get(people, link).status_code == 200)
    people.call(owner, "POST", f"{base}/owner", {"to": heir.word})
    assert people.call(heir, "POST", f"{base}/owner/accept").status_code == 200
    wait_for(lambda: not_there(people, link))
    own = made(people, heir, vfolder, path="open")
    wait_for(lambda: get(people, own).status_code == 200)
    deleted = people.call(heir, "DELETE", base).json()["id"]
    people.ended(heir, deleted)
    wait_for(lambda: not_there(people, own))


def test_a_restored_vfolder_has_no_link_that_counts(people: People) -> None:
    owner, vfolder, link = shared(people)
    base = f"/v1/vfolders/{vfolder.id}"
    wait_for(lambda: get(people, link).status_code == 200)
    people.ended(owner, people.call(owner, "DELETE", base).json()["id"])
    people.ended(owner, people.call(owner, "POST", f"{base}/restore", {}).json()["id"])
    wait_for(lambda: people.call(owner, "GET", base).json().get("trashed") is False)

    def revoked() -> bool:  # within a second
        (row,) = people.call(owner, "GET", f"{base}/links").json()["links"]
        return row["revoked_at"] is not None

    wait_for(revoked)
    wait_for(lambda: not_there(people, link))


def test_a_password_opens_a_link(people: People) -> None:
    _, _, link = shared(people, password="correct horse")
    wait_for(lambda: get(people, link).status_code == 200)
    hidden = get(people, link).json()
    assert (hidden["needs_password"], hidden["name"]) == (True, None)
    for end in ("entries", "content?path=a.txt"):
        assert get(people, f"{link}/{end}").status_code == 403
    right, wrong = ({"X-Link-Password": text} for text in ("correct horse", "wrong horse"))
    assert get(people, f"{link}/entries", headers=wrong).status_code == 403
    assert get(people, f"{link}/content?path=a.txt", headers=right).content == b"hello, world"
    assert get(people, link, headers=right).json()["name"] == "open"
    assert people.call(None, "POST", link, {"password": "wrong horse"}).status_code == 403
    body = {"password": "correct horse"}
    bought = requests.post(people.door.url + link, json=body, timeout=60)
    assert bought.status_code == 204
    cookie = bought.headers["Set-Cookie"].partition(";")[0]
    assert "HttpOnly" in bought.headers["Set-Cookie"]
    with_cookie = {"Cookie": cookie}
    assert get(people, f"{link}/entries", headers=with_cookie).status_code == 200
    name, _, value = cookie.partition("=")
    visit, ends, mac = value.split(".")
    for forged in (f"{visit}.{int(ends) + 9}.{mac}", f"x{visit}.{ends}.{mac}", f"..{mac}"):
        answer = get(people, f"{link}/entries", headers={"Cookie": f"{name}={forged}"})
        assert answer.status_code == 403


def test_no_url_carries_what_replaces_the_password(people: People) -> None:
    _, _, link = shared(people, password="correct horse")
    right = {"X-Link-Password": "correct horse"}
    wait_for(lambda: get(people, f"{link}/entries", headers=right).status_code == 200)
    body = {"password": "correct horse"}
    bought = requests.post(people.door.url + link, json=body, timeout=60)
    assert bought.status_code == 204
    cookie = bought.headers["Set-Cookie"].partition(";")[0].partition("=")
    words = ("password", "X-Link-Password", "x-link-password", "token", "auth", cookie[0])
    for end in ("entries", "content?path=a.txt"):
        for word in words:
            for value in ("correct horse", cookie[2]):
                path = f"{link}/{end}{'&' if '?' in end else '?'}{urlencode({word: value})}"
                answer = requests.get(people.door.url + path, timeout=60)
                assert answer.status_code in (400, 403), path
                assert b"hello, world" not in answer.content
    for user in ("correct horse:", ":correct horse", "x:correct horse"):
        basic = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
        assert get(people, f"{link}/entries", headers=basic).status_code == 403


def test_a_top_that_is_renamed_during_a_visit_shows_nothing_else(people: People) -> None:
    _, vfolder, link = shared(people)
    top = people.path(vfolder)
    wait_for(lambda: get(people, link).status_code == 200)
    other = people.path(people.vfolder(people.person(), **{"a.txt": "hidden bytes"}))
    (top / "open").rename(top / "elsewhere")
    ends = ("entries", "content?path=a.txt", "content?format=tar", "content?path=below&format=tar")
    for out in (None, other, os.path.relpath(other, top)):
        if out is not None:
            (top / "open").unlink(missing_ok=True)
            (top / "open").symlink_to(out)
        for end in ends:
            answer = get(people, f"{link}/{end}")
            assert answer.status_code == 404, (end, answer.text)
            assert b"hidden bytes" not in answer.content
    (top / "open").unlink()
    (top / "elsewhere").rename(top / "open")
    assert get(people, f"{link}/content?path=a.txt").content == b"hello, world"


def test_a_link_has_so_many_downloads(people: People) -> None:
    owner, vfolder, link = shared(people, max_downloads=2)
    wait_for(lambda: get(people, link).status_code == 200)
    content = f"{link}/content?path="
    for _ in range(3):  # one visitor, one entry: one download
        assert get(people, f"{content}a.txt").status_code == 200
    part = get(people, f"{content}a.txt", headers={"Range": "bytes=0-1"})
    assert part.status_code == 206
    assert people.call(None, "HEAD", f"{content}below/b.txt").status_code == 200
    assert get(people, f"{content}absent").status_code == 404
    assert get(people, f"{content}below/b.txt").status_code == 200
    assert get(people, f"{link}/entries").status_code == 404
    assert get(people, link).status_code == 404
    assert get(people, f"{link}/content?format=tar").status_code == 404
    assert get(people, f"{content}a.txt").status_code == 200  # it began before
    (row,) = people.call(owner, "GET", f"/v1/vfolders/{vfolder.id}/links").json()["links"]
    assert row["downloads"] == 2
    assert row["last_used_at"] is not None


def send(people: People, link: str, name: str, data: bytes, **headers: str) -> requests.Response:
    """Send a file by a link, in one request for its opening and one for its bytes."""
    tus = {"Tus-Resumable": "1.0.0", **headers}
    encoded = base64.b64encode(name.encode()).decode()
    begun = people.call(
        None,
        "POST",
        f"{link}/uploads",
        headers={**tus, "Upload-Length": str(len(data)), "Upload-Metadata": f"filename {encoded}"},
    )
    if begun.status_code != 201 or not data:
        return begun
    piece = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    return people.call(None, "PATCH", begun.headers["Location"], headers=piece, data=data)


def another_visit(people: People, link: str, **headers: str) -> str:
    """The cookie of a new visit, which the connections of the test do not keep."""
    begun = requests.post(people.door.url + link, json={}, headers=headers, timeout=60)
    assert begun.status_code == 204
    return begun.headers["Set-Cookie"].partition(";")[0]


def test_a_visitor_sends_files_and_sees_no_others(people: People) -> None:
    _, vfolder, link = shared(people, kind="drop")
    inside = people.path(vfolder) / "open"
    wait_for(lambda: get(people, link).status_code == 200)
    assert get(people, link).json()["name"] is None
    for end in ("entries", "content?path=a.txt"):
        assert get(people, f"{link}/{end}").status_code == 404
    own = {"Cookie": another_visit(people, link)}
    assert send(people, link, "new.bin", b"12345", **own).status_code == 204
    assert (inside / "new.bin").read_bytes() == b"12345"
    # A name that is taken gets a number; nothing is replaced.
    assert send(people, link, "a.txt", b"mine", **own).status_code == 204
    assert send(people, link, "a.txt", b"mine too", **own).status_code == 204
    assert send(people, link, "empty", b"", **own).status_code == 201
    assert (inside / "a.txt").read_text() == "hello, world"
    assert (inside / "a (2).txt").read_bytes() == b"mine"
    assert (inside / "a (3).txt").read_bytes() == b"mine too"
    sent = get(people, f"{link}/uploads", headers=own).json()["sent"]
    names = ["new.bin", "a (2).txt", "a (3).txt", "empty"]
    assert [one["name"] for one in sent] == names
    # Another visit from the same address sees none of them, and no visit sees nothing.
    other = {"Cookie": another_visit(people, link)}
    assert send(people, link, "without a visit", b"1").status_code == 204
    for headers in (other, {}):
        assert get(people, f"{link}/uploads", headers=headers).json()["sent"] == []
    assert send(people, link, "theirs", b"1", **other).status_code == 204
    assert [
        one["name"] for one in get(people, f"{link}/uploads", headers=other).json()["sent"]
    ] == ["theirs"]
    # A visit goes on with a new cookie.
    longer = {"Cookie": another_visit(people, link, **own)}
    sent = get(people, f"{link}/uploads", headers=longer).json()["sent"]
    assert [one["name"] for one in sent] == names


def test_what_a_visitor_may_not_send(people: People) -> None:
    _, vfolder, link = shared(people, kind="drop", max_bytes=10, max_file_bytes=6)
    wait_for(lambda: get(people, link).status_code == 200)
    top = people.path(vfolder)
    tus = {"Tus-Resumable": "1.0.0"}
    assert send(people, link, "big", b"1234567").status_code == 413
    for name in ("..", "", ".", "x" * 256):
        assert send(people, link, name, b"1").status_code == 400, name
    assert send(people, link, "../../up", b"1").status_code == 204  # the last part is the name
    assert (top / "open" / "up").exists()
    name = base64.b64encode(b"n").decode()
    for headers in (
        {"Upload-Defer-Length": "1", "Upload-Metadata": f"filename {name}"},
        {"Upload-Length": "1", "Upload-Metadata": f"filename {name},extract dGFy"},
        {"Upload-Length": "1", "Upload-Concat": "partial"},
    ):
        answer = people.call(None, "POST", f"{link}/uploads", headers={**tus, **headers})
        assert answer.status_code == 400, headers
    assert send(people, link, "six", b"123456").status_code == 204
    assert send(people, link, "six", b"1234").status_code == 422  # eleven bytes in all
    (top / "open").rename(top / "elsewhere")
    assert send(people, link, "late", b"1").status_code == 404
    assert not (top / "open").exists()


def test_an_upload_belongs_to_its_visit_and_replaces_nothing(people: People) -> None:
    _, vfolder, link = shared(people, kind="drop")
    wait_for(lambda: get(people, link).status_code == 200)
    inside = people.path(vfolder) / "open"
    tus = {"Tus-Resumable": "1.0.0"}
    name = base64.b64encode(b"late.txt").decode()
    opening = {"Upload-Length": "4", "Upload-Metadata": f"filename {name}"}
    begun = people.call(None, "POST", f"{link}/uploads", headers={**tus, **opening})
    url = begun.headers["Location"]
    cookie = another_visit(people, link)
    piece = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    foreign = {**piece, "Cookie": cookie}
    assert people.call(None, "PATCH", url, headers=foreign, data=b"evil").status_code == 404
    assert people.call(None, "HEAD", url, headers={**tus, "Cookie": cookie}).status_code == 404
    (inside / "late.txt").write_text("the owner's own")  # after the name was chosen
    late = people.call(None, "PATCH", url, headers=piece, data=b"mine")
    assert late.status_code == 409
    assert "open" not in late.text
    assert (inside / "late.txt").read_text() == "the owner's own"
    assert people.call(None, "DELETE", url, headers=tus).status_code == 204


def test_who_may_only_read_takes_no_files(people: People) -> None:
    owner, vfolder, link = shared(people, kind="drop")
    wait_for(lambda: get(people, link).status_code == 200)
    end = {"expires_at": moment(time.time() - 1)}  # the vfolder is read-only from now on
    assert people.call(owner, "PATCH", f"/v1/vfolders/{vfolder.id}", end).status_code == 200
    wait_for(lambda: get(people, link).status_code == 404)
    assert send(people, link, "x", b"1").status_code == 404


def test_ends_and_owners_of_links(people: People) -> None:
    owner, vfolder, _ = shared(people)
    stranger = people.person()
    path = f"/v1/vfolders/{vfolder.id}/links"
    (row,) = people.call(owner, "GET", path).json()["links"]
    assert 6 * 86_400 < _seconds_left(row["expires_at"]) <= 7 * 86_400
    for wrong in (
        {"expires_at": None},
        {"expires_at": moment(time.time() + 91 * 86_400)},
        {"expires_at": moment(time.time() - 1)},
        {"password": "short"},
        {"max_downloads": 0},
        {"kind": "write"},
        {"path": "../x"},
        {"path": "odd-\udcff"},
        {"note": "\udcff"},
    ):
        assert people.call(owner, "POST", path, wrong).status_code == 400, wrong
    for method, body in (("PATCH", {"note": "x"}), ("DELETE", None)):
        foreign = people.call(stranger, method, f"/v1/links/{row['id']}", body)
        absent = people.call(stranger, method, "/v1/links/absent", body)
        assert foreign.status_code == absent.status_code == 404
        assert foreign.json()["detail"] == absent.json()["detail"]
    assert people.call(stranger, "GET", "/v1/links").json()["links"] == []


def _seconds_left(text: str) -> float:
    return parsed_moment(text).timestamp() - time.time()
