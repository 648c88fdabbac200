"""`/upload` over real gunicorn: what existing clients rely on, and tus on top."""

import base64
import hashlib
import http.client
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from tusclient.client import TusClient

from api.doors.client.upload_body import TICK_SECONDS
from tests.api.client.conftest import ClientDoor, Folder
from tests.support.node import wait_for

DATA = os.urandom(3 << 20)
OCTETS = {"Content-Type": "application/offset+octet-stream", "Tus-Resumable": "1.0.0"}
TUS = {"Tus-Resumable": "1.0.0"}


def patch(url: str, offset: object, data: bytes = b"", **headers: str) -> requests.Response:
    given = {**OCTETS, "Upload-Offset": str(offset)}
    given |= {k.replace("_", "-"): v for k, v in headers.items()}
    return requests.patch(url, data=data, headers=given, timeout=60)


def head(url: str) -> requests.Response:
    return requests.head(url, headers=TUS, timeout=60)


def post(url: str, data: bytes = b"", **headers: str) -> requests.Response:
    given = {**TUS, **{k.replace("_", "-"): v for k, v in headers.items()}}
    return requests.post(url, data=data, headers=given, timeout=60)


def meta(**words: str) -> str:
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in words.items())


def problem(answer: requests.Response, status: int, kind: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"].endswith(kind), answer.text
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Tus-Resumable"] == "1.0.0"


def staged(folder: Folder) -> list[Path]:
    assert folder.id.scope
    room = folder.door.backend.mount.path / folder.id.scope.directory / ".vfolder/uploads"
    return list(room.iterdir()) if room.exists() else []


def cut(url: str, offset: int, announced: int, data: bytes) -> None:
    """Send a PATCH that ends before its body does."""
    at = urlsplit(url)
    with socket.create_connection((at.hostname or "", at.port or 0)) as client:
        head = (
            f"PATCH {at.path}?{at.query} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n"
            f"Content-Type: application/offset+octet-stream\r\n"
            f"Upload-Offset: {offset}\r\nContent-Length: {announced}\r\n\r\n"
        )
        client.sendall(head.encode() + data)


def test_as_the_sdk_does(folder: Folder) -> None:
    """PATCH only, lower-case header, pieces; 204 and an integer Upload-Offset."""
    url = folder.upload("dir/f.bin", len(DATA))
    for start in range(0, len(DATA), 1 << 20):
        piece = DATA[start : start + (1 << 20)]
        answer = requests.patch(
            url, data=piece, headers={**OCTETS, "upload-offset": str(start)}, timeout=60
        )
        assert answer.status_code == 204
        assert int(answer.headers["Upload-Offset"]) == start + len(piece)
        assert answer.headers["Upload-Length"] == str(len(DATA))
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert (folder.path / "dir/f.bin").read_bytes() == DATA
    assert staged(folder) == []


def test_as_the_web_page_does(folder: Folder) -> None:
    """HEAD first: 200 with both numbers; then PATCH."""
    url = folder.upload("f", 4)
    answer = head(url)
    assert answer.status_code == 200
    assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == ("0", "4")
    assert answer.headers["Cache-Control"] == "no-store"
    exposed = answer.headers["Access-Control-Expose-Headers"]
    for name in (
        "Tus-Resumable",
        "Upload-Length",
        "Upload-Metadata",
        "Upload-Offset",
        "Content-Type",
    ):
        assert name in exposed
    assert patch(url, 0, b"data").status_code == 204
    assert (folder.path / "f").read_bytes() == b"data"


def test_discovery(door: ClientDoor) -> None:
    answer = requests.options(f"{door.url}/upload", timeout=60)
    assert answer.status_code == 200
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Max-Size"] == str(100 << 30)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert set(answer.headers["Tus-Extension"].split(",")) == {
        "checksum",
        "concatenation",
        "creation",
        "creation-defer-length",
        "creation-with-upload",
        "expiration",
        "termination",
    }
    assert {"sha1", "sha256", "crc32c"} <= set(answer.headers["Tus-Checksum-Algorithm"].split(","))
    assert answer.headers["Access-Control-Allow-Methods"] == "*"


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_other_methods(folder: Folder, method: str) -> None:
    answer = requests.request(method, folder.upload("f", 1), timeout=60)
    problem(answer, 405)
    assert {"HEAD", "PATCH", "OPTIONS"} <= set(answer.headers["Allow"].split(", "))


def test_dst_dir(folder: Folder) -> None:
    url = folder.upload("f", 4) + "&dst_dir=new/deep"
    assert head(url).status_code == 200
    assert patch(url, 0, b"data").status_code == 204
    assert (folder.path / "new/deep/f").read_bytes() == b"data"


@pytest.mark.parametrize("way", ["..", "../..", "/etc", "a/../.."])
def test_no_way_out(folder: Folder, way: str) -> None:
    url = folder.upload("f", 4) + f"&dst_dir={way}"
    problem(requests.patch(url, data=b"data", headers={"Upload-Offset": "0"}, timeout=60), 400)
    assert head(url).status_code == 400


def test_no_way_out_by_relpath(folder: Folder, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    url = folder.upload("a/f", 4)
    (folder.path / "a").symlink_to(outside)
    problem(patch(url, 0, b"data"), 400, "subpath/invalid")
    assert list(outside.iterdir()) == []


def test_an_older_file_is_replaced_a_directory_is_not(folder: Folder) -> None:
    folder.write("f", b"old")
    assert patch(folder.upload("f", 3), 0, b"new").status_code == 204
    assert (folder.path / "f").read_bytes() == b"new"
    (folder.path / "d").mkdir()
    url = folder.upload("d", 3)
    problem(patch(url, 0, b"new"), 409)
    assert head(url).status_code == 409
    (folder.path / "d").rmdir()
    assert head(url).headers["Upload-Offset"] == "3"
    assert (folder.path / "d").read_bytes() == b"new"


# the order of a PATCH's checks


def test_ticket_comes_first(folder: Folder) -> None:
    problem(requests.patch(f"{folder.door.url}/upload", timeout=60), 400)
    problem(requests.patch(f"{folder.door.url}/upload?token=x", timeout=60), 400)
    expired = folder.upload("f", 4, exp=1)
    answer = patch(expired, 0, b"data")
    problem(answer, 400)
    assert "token" in answer.json()["data"]


def test_then_the_volume(folder: Folder) -> None:
    url = folder.upload("f", 4, volume="nowhere")
    assert patch(url, "x").json()["error_code"] == "storage_access_invalid-parameters"


def test_then_the_session(folder: Folder) -> None:
    url = folder.upload("f", 4)
    assert patch(url, 0, b"data").status_code == 204
    problem(patch(url, "x"), 404, "tus-session-not-found")
    problem(patch(url, 0, b"dat"), 404, "tus-session-not-found")
    problem(patch(url, 3), 404, "tus-session-not-found")


def test_then_the_offset_header(folder: Folder) -> None:
    url = folder.upload("f", 4)
    problem(requests.patch(url, data=b"data", headers=OCTETS, timeout=60), 400)
    for wrong in ("x", "-1", "1.5", "", "9" * 30, "\u00b2"):
        problem(patch(url, wrong.encode("utf-8").decode("latin-1"), b"data"), 400)
    assert head(url).headers["Upload-Offset"] == "0"


@pytest.mark.parametrize("offset", [1, 3, 4, 5, 2**62])
def test_then_the_offset(folder: Folder, offset: int) -> None:
    url = folder.upload("f", 4)
    assert patch(url, 0, b"da").status_code == 204
    problem(patch(url, offset, b"ta"), 409, "upload-offset-mismatch")
    assert head(url).headers["Upload-Offset"] == "2"
    assert patch(url, 2, b"ta").status_code == 204
    assert (folder.path / "f").read_bytes() == b"data"


def test_older_clients_name_neither_version_nor_type(folder: Folder) -> None:
    url = folder.upload("f", 4)
    answer = requests.patch(url, data=b"data", headers={"Upload-Offset": "0"}, timeout=60)
    assert answer.status_code == 204


def test_other_versions_and_types_are_refused(folder: Folder) -> None:
    url = folder.upload("f", 4)
    answer = patch(url, 0, b"data", Tus_Resumable="0.2.2")
    problem(answer, 412)
    assert answer.headers["Tus-Version"] == "1.0.0"
    problem(patch(url, 0, b"data", Content_Type="text/plain"), 415)
    assert requests.head(url, headers={"Tus-Resumable": "2.0.0"}, timeout=60).status_code == 412
    assert head(url).headers["Upload-Offset"] == "0"


# bytes


def test_never_more_than_announced(folder: Folder) -> None:
    url = folder.upload("f", 4)
    problem(patch(url, 0, b"more than four"), 413)
    assert head(url).headers["Upload-Offset"] == "0"
    chunks = (piece for piece in (b"da", b"ta!"))
    answer = requests.patch(url, data=chunks, headers={**OCTETS, "Upload-Offset": "0"}, timeout=60)
    problem(answer, 413)
    assert head(url).headers["Upload-Offset"] == "0"


def test_chunked_body(folder: Folder) -> None:
    url = folder.upload("f", len(DATA))
    pieces = (DATA[i : i + 100_000] for i in range(0, len(DATA), 100_000))
    answer = requests.patch(url, data=pieces, headers={**OCTETS, "Upload-Offset": "0"}, timeout=60)
    assert answer.status_code == 204
    assert (folder.path / "f").read_bytes() == DATA


def test_empty_patch(folder: Folder) -> None:
    url = folder.upload("f", 4)
    answer = patch(url, 0)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, "0")


def test_empty_file_is_there_without_a_patch(folder: Folder) -> None:
    url = folder.upload("f", 0)
    assert (folder.path / "f").read_bytes() == b""
    sub = folder.upload("g", 0) + "&dst_dir=sub"
    answer = head(sub)
    assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == ("0", "0")
    assert (folder.path / "sub/g").read_bytes() == b""
    assert patch(url, 0).status_code == 204


def test_a_connection_carries_several_patches(folder: Folder) -> None:
    url = folder.upload("f", 6)
    with requests.Session() as session:
        for start in (0, 2, 4):
            given = {**OCTETS, "Upload-Offset": str(start)}
            assert session.patch(url, data=b"ab", headers=given, timeout=60).status_code == 204
    assert (folder.path / "f").read_bytes() == b"ababab"


def offset_after(url: str, at_least: int) -> int:
    wait_for(lambda: int(head(url).headers["Upload-Offset"]) >= at_least)
    return int(head(url).headers["Upload-Offset"])


def kept_bytes(folder: Folder) -> int:
    """The bytes of the one staging file. A HEAD over HTTP would end a writer that seems silent."""
    [path] = staged(folder)
    return path.stat().st_size


def test_a_cut_connection_keeps_what_came(folder: Folder) -> None:
    url = folder.upload("f", len(DATA))
    cut(url, 0, len(DATA), DATA[: 2 << 20])
    wait_for(lambda: kept_bytes(folder) == 2 << 20)
    offset = offset_after(url, 2 << 20)
    assert offset == 2 << 20
    assert patch(url, offset, DATA[offset:]).status_code == 204
    assert (folder.path / "f").read_bytes() == DATA


def test_after_a_cut_the_old_offset_is_good_until_a_head(folder: Folder) -> None:
    url = folder.upload("f", len(DATA))
    cut(url, 0, len(DATA), b"wrong" * 1000)
    wait_for(lambda: folder.door.store.get(_session(folder)).offset > 0)
    assert patch(url, 0, DATA).status_code == 204
    assert (folder.path / "f").read_bytes() == DATA


def test_after_a_cut_and_a_head_the_old_offset_is_wrong(folder: Folder) -> None:
    url = folder.upload("f", len(DATA))
    cut(url, 0, len(DATA), DATA[:5000])
    wait_for(lambda: kept_bytes(folder) == 5000)
    assert offset_after(url, 5000) == 5000
    problem(patch(url, 0, DATA), 409)


def _session(folder: Folder) -> str:
    [path] = staged(folder)
    return path.name


def test_orphan_bytes_do_not_survive(folder: Folder) -> None:
    url = folder.upload("f", 8)
    assert patch(url, 0, b"good").status_code == 204
    [path] = staged(folder)
    with path.open("ab") as file:
        file.write(b"orphan bytes")
    assert head(url).headers["Upload-Offset"] == "4"
    assert patch(url, 4, b"data").status_code == 204
    assert (folder.path / "f").read_bytes() == b"gooddata"


def test_a_file_shorter_than_committed_is_right(folder: Folder) -> None:
    url = folder.upload("f", 8)
    assert patch(url, 0, b"gooddat").status_code == 204
    [path] = staged(folder)
    os.truncate(path, 4)
    assert head(url).headers["Upload-Offset"] == "4"
    problem(patch(url, 7, b"a"), 409)
    assert patch(url, 4, b"data").status_code == 204


def test_a_stalled_writer_gives_way(folder: Folder) -> None:
    url = folder.upload("f", len(DATA))
    at = urlsplit(url)
    with socket.create_connection((at.hostname or "", at.port or 0)) as stalled:
        text = (
            f"PATCH {at.path}?{at.query} HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\n"
            f"Content-Length: {len(DATA)}\r\n\r\n"
        )
        stalled.sendall(text.encode() + DATA[:1000])
        wait_for(lambda: kept_bytes(folder) == 1000)
        offset = int(head(url).headers["Upload-Offset"])
        assert offset == 1000
        assert patch(url, offset, DATA[offset:]).status_code == 204
    assert (folder.path / "f").read_bytes() == DATA


def test_a_flowing_writer_is_not_disturbed_by_a_head(door: ClientDoor) -> None:
    """On a starved machine the writer may be silent itself; such a try proves nothing."""

    def flowed() -> Folder | None:
        folder = door.vfolder()
        answer, looks, silence = write_with_a_look(folder.upload("f", len(DATA)))
        if silence >= TICK_SECONDS:
            return None
        assert answer == b"HTTP/1.1 204"
        assert looks == [200]
        return folder

    folder = wait_for(flowed, 300, "the writer fell silent each time")
    assert folder is not None
    assert (folder.path / "f").read_bytes() == DATA


def write_with_a_look(url: str) -> tuple[bytes, list[int], float]:
    """Send a body in pieces, and a HEAD: both answers, and the writer's longest silence."""
    at = urlsplit(url)
    longest = 0.0
    with socket.create_connection((at.hostname or "", at.port or 0)) as writer:
        text = (
            f"PATCH {at.path}?{at.query} HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\n"
            f"Content-Length: {len(DATA)}\r\n\r\n"
        )
        writer.sendall(text.encode())
        looks: list[int] = []
        looking = threading.Thread(target=lambda: looks.append(head(url).status_code))
        last, answer = time.monotonic(), b""
        with suppress(OSError):  # the door closes the connection of a silent writer
            for start in range(0, len(DATA), 1 << 16):
                writer.sendall(DATA[start : start + (1 << 16)])
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
                if start == 1 << 16:
                    looking.start()
                time.sleep(0.06)
            answer = writer.recv(12)
        if looking.ident is not None:
            looking.join(120)
    return answer, looks, longest


# tus: creation and the rest


def test_creation(folder: Folder) -> None:
    url = folder.upload("f", 8)
    made = post(url, Upload_Length="8", Upload_Metadata=meta(filename="x"))
    assert made.status_code == 201
    assert not made.headers["Location"].startswith(("http", "/"))
    assert "Upload-Expires" in made.headers
    mine = urljoin(url, made.headers["Location"])
    assert head(mine).headers["Upload-Metadata"] == meta(filename="x")
    assert patch(mine, 0, b"gooddata").status_code == 204
    assert (folder.path / "f").read_bytes() == b"gooddata"
    done = head(mine)
    assert (done.status_code, done.headers["Upload-Offset"]) == (200, "8")
    problem(patch(mine, 9), 404)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Upload_Length": "x"},
        {"Upload_Length": "-1"},
        {"Upload_Length": "1", "Upload_Defer_Length": "1"},
        {"Upload_Defer_Length": "2"},
        {"Upload_Length": "1", "Upload_Metadata": "filename not-base64!"},
        {"Upload_Length": "1", "Upload_Metadata": "a YQ==,a YQ=="},
        {"Upload_Length": "1", "Upload_Concat": "other"},
        {"Upload_Concat": "final;"},
    ],
)
def test_malformed_creations(folder: Folder, headers: dict[str, str]) -> None:
    url = folder.upload("f", 4)
    before = len(staged(folder))
    problem(post(url, **headers), 400)
    assert len(staged(folder)) == before


def test_creation_of_too_much(folder: Folder) -> None:
    problem(post(folder.upload("f", 4), Upload_Length="5"), 413)


def test_creation_with_upload(folder: Folder) -> None:
    url = folder.upload("f", 8)
    made = post(url, b"good", Upload_Length="8", Content_Type=OCTETS["Content-Type"])
    assert (made.status_code, made.headers["Upload-Offset"]) == (201, "4")
    mine = urljoin(url, made.headers["Location"])
    assert patch(mine, 4, b"data").status_code == 204
    whole = post(
        folder.upload("g", 4), b"data", Upload_Length="4", Content_Type=OCTETS["Content-Type"]
    )
    assert whole.status_code == 201
    assert (folder.path / "g").read_bytes() == b"data"
    problem(post(url, b"good", Upload_Length="8", Content_Type="text/plain"), 415)


def test_creation_of_nothing(folder: Folder) -> None:
    folder.write("f", b"old")
    assert post(folder.upload("f", 0), Upload_Length="0").status_code == 201
    assert (folder.path / "f").read_bytes() == b""


def test_length_announced_late(folder: Folder) -> None:
    url = folder.upload("f", 8)
    mine = urljoin(url, post(url, Upload_Defer_Length="1").headers["Location"])
    assert head(mine).headers["Upload-Defer-Length"] == "1"
    assert patch(mine, 0, b"good").status_code == 204
    problem(patch(mine, 4, b"x", Upload_Length="3"), 400)
    problem(patch(mine, 4, b"x", Upload_Length="9"), 413)
    assert patch(mine, 4, b"da", Upload_Length="8").status_code == 204
    assert head(mine).headers["Upload-Length"] == "8"
    problem(patch(mine, 6, b"ta", Upload_Length="7"), 400)
    assert patch(mine, 6, b"ta").status_code == 204
    assert (folder.path / "f").read_bytes() == b"gooddata"


def test_termination(folder: Folder) -> None:
    url = folder.upload("f", 8)
    assert patch(url, 0, b"good").status_code == 204
    assert requests.delete(url, headers=TUS, timeout=60).status_code == 204
    assert staged(folder) == []
    assert head(url).status_code == 404
    problem(patch(url, 4, b"data"), 404)


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [
        ("sha1", hashlib.sha1(b"good", usedforsecurity=False).digest()),
        ("sha256", hashlib.sha256(b"good").digest()),
        ("crc32c", bytes.fromhex("86ddb286")),
    ],
)
def test_checksum(folder: Folder, algorithm: str, digest: bytes) -> None:
    url = folder.upload("f", 8)
    good = base64.b64encode(digest).decode()
    answer = patch(url, 0, b"evil", Upload_Checksum=f"{algorithm} {good}")
    problem(answer, 460, "checksum-mismatch")
    assert head(url).headers["Upload-Offset"] == "0"
    assert patch(url, 0, b"good", Upload_Checksum=f"{algorithm} {good}").status_code == 204
    problem(patch(url, 4, b"data", Upload_Checksum="md99 abcd"), 400)
    problem(patch(url, 4, b"data", Upload_Checksum=f"{algorithm} ***"), 400)
    assert patch(url, 4, b"data").status_code == 204
    assert (folder.path / "f").read_bytes() == b"gooddata"


def test_concatenation(folder: Folder) -> None:
    url = folder.upload("f", len(DATA))
    size = len(DATA) // 3 + 1
    parts = []
    for start in range(0, len(DATA), size):
        piece = DATA[start : start + size]
        made = post(url, Upload_Concat="partial", Upload_Length=str(len(piece)))
        part = urljoin(url, made.headers["Location"])
        parts.append(part)
        if start == 0:
            problem(post(url, Upload_Concat=f"final;{part}"), 400)
        assert patch(part, 0, piece).status_code == 204
        assert head(part).headers["Upload-Concat"] == "partial"
    assert not (folder.path / "f").exists()
    concat = f"final;{' '.join(parts)}"
    made = post(url, Upload_Concat=concat)
    assert made.status_code == 201
    assert (folder.path / "f").read_bytes() == DATA
    whole = urljoin(url, made.headers["Location"])
    answer = head(whole)
    assert answer.headers["Upload-Concat"] == concat
    assert answer.headers["Upload-Offset"] == answer.headers["Upload-Length"] == str(len(DATA))
    problem(patch(whole, 0, b"x"), 403)
    assert len(staged(folder)) == 1  # the ticket's own, never used


def test_digest_of_the_complete_file(folder: Folder) -> None:
    wrong = meta(sha256=hashlib.sha256(b"other").hexdigest())
    url = folder.upload("f", 4)
    mine = urljoin(url, post(url, Upload_Length="4", Upload_Metadata=wrong).headers["Location"])
    problem(patch(mine, 0, b"data"), 400, "digest-mismatch")
    assert not (folder.path / "f").exists()


def test_a_ticket_reaches_only_its_own(folder: Folder) -> None:
    url, other = folder.upload("f", 4), folder.upload("g", 4)
    location = post(url, Upload_Length="4").headers["Location"]
    foreign = f"{location.partition('?')[0]}?{urlsplit(other).query}"
    problem(patch(urljoin(url, foreign), 0, b"data"), 404)
    problem(requests.delete(urljoin(url, foreign), headers=TUS, timeout=60), 404)
    assert head(urljoin(url, foreign)).status_code == 404
    assert patch(urljoin(url, location), 0, b"data").status_code == 204
    assert head(urljoin(url, location)).status_code == 200
    assert head(urljoin(url, foreign)).status_code == 404, "not when it has ended, either"


@pytest.mark.parametrize("name", ["..", ".", "%2e%2e", "%00", "a%0a", "a%2fb", "x" * 300, "%ff"])
def test_other_characters_are_no_upload_id(folder: Folder, name: str) -> None:
    at = urlsplit(folder.upload("f", 4))
    door = http.client.HTTPConnection(at.netloc, timeout=20)
    for method in ("PATCH", "HEAD", "DELETE"):
        door.request(method, f"{at.path}/{name}?{at.query}", b"", {"Upload-Offset": "0"})
        answer = door.getresponse()
        answer.read()
        assert answer.status == 404
    door.close()


def test_a_tree_ticket_takes_many(folder: Folder) -> None:
    url = folder.upload("base", 100, tree=True)
    for name in ("a.txt", "sub/b.txt"):
        made = post(url, Upload_Length="4", Upload_Metadata=meta(relativePath=name))
        assert patch(urljoin(url, made.headers["Location"]), 0, b"data").status_code == 204
        assert (folder.path / "base" / name).read_bytes() == b"data"
    problem(post(url, Upload_Length="4"), 400)
    problem(post(url, Upload_Length="4", Upload_Metadata=meta(filename="../x")), 400)


def test_method_override(folder: Folder) -> None:
    url = folder.upload("f", 4)
    answer = post(
        url,
        b"data",
        X_HTTP_Method_Override="PATCH",
        Upload_Offset="0",
        Content_Type=OCTETS["Content-Type"],
    )
    assert answer.status_code == 204
    made = urljoin(url, post(url, Upload_Length="4").headers["Location"])
    assert post(made, X_HTTP_Method_Override="DELETE").status_code == 204
    problem(post(made), 405)


def test_tuspy(folder: Folder, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    url = folder.upload("f", len(DATA))
    with source.open("rb") as file:
        client = TusClient(url)
        uploader = client.uploader(file_stream=file, chunk_size=1 << 20, upload_checksum=True)
        uploader.upload_chunk()
        again = client.uploader(file_stream=file, chunk_size=1 << 20, url=uploader.url)
        assert again.offset == 1 << 20
        again.upload()
    assert (folder.path / "f").read_bytes() == DATA


def test_vfolder_full(folder: Folder) -> None:
    problem(
        post(
            folder.upload("", 2**60, tree=True),
            Upload_Metadata=meta(filename="f"),
            Upload_Length=str(2**60),
        ),
        507,
    )


def test_a_writer_that_is_replaced_is_answered_with_423(folder: Folder) -> None:
    """Not with 409: after that a client asks for the offset, and goes on beside its successor."""
    url = folder.upload("f", 1 << 20)
    at = urlsplit(url)
    with socket.create_connection((at.hostname or "", at.port or 0), timeout=60) as client:
        client.sendall(
            f"PATCH {at.path}?{at.query} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n"
            f"Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
            f"Content-Length: {1 << 20}\r\n\r\n".encode()
            + b"x" * 1000
        )
        wait_for(lambda: kept_bytes(folder) == 1000)
        answer = patch(url, 1000, b"")
        replaced = client.recv(1 << 16).decode()
    assert replaced.startswith("HTTP/1.1 423 ")
    assert "Retry-After: " in replaced
    assert "storage/tus-lease-held" in replaced
    assert answer.status_code == 204
