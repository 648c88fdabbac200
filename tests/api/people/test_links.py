"""Links: what a visitor may, how a link ends, and that it never gives more than its maker has."""

import time
from typing import Any
from urllib.parse import urlsplit

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
    assert seen.json() | {"expires_at": ""} == {
        "kind": "read",
        "needs_password": False,
        "name": "open",
        "is_directory": True,
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
    (row,) = people.call(owner, "GET", f"{base}/links").json()["links"]
    assert row["revoked_at"] is not None
    assert not_there(people, link)


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
    bought = people.call(None, "POST", link, {"password": "correct horse"})
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
