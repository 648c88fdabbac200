"""`/download` over real gunicorn."""

import email.utils
import os
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from core.access import tickets
from tests.api.client.conftest import ClientDoor, Folder
from tests.support.doors import TICKET_SECRET

DATA = bytes(range(256)) * 4096


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(
        url, headers={k.replace("_", "-"): v for k, v in headers.items()}, timeout=60
    )


def test_whole_file(folder: Folder) -> None:
    path = folder.write("a/b.bin", DATA)
    answer = get(folder.download("a/b.bin"))
    assert answer.status_code == 200
    assert answer.content == DATA
    found = path.stat()
    assert answer.headers["Content-Length"] == str(len(DATA))
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Last-Modified"] == email.utils.formatdate(
        int(found.st_mtime), usegmt=True
    )
    assert answer.headers["ETag"] == f'"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert "filename=\"b.bin\"; filename*=UTF-8''b.bin" in answer.headers["Content-Disposition"]
    assert "Cache-Control" not in answer.headers


def test_head_has_the_headers_and_no_body(folder: Folder) -> None:
    folder.write("f", DATA)
    answer = requests.head(folder.download("f"), headers={"Range": "bytes=0-1"}, timeout=60)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(DATA))


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=-5", len(DATA) - 5, len(DATA) - 1),
        ("bytes=777-99999", 777, 99999),
    ],
)
def test_one_range(folder: Folder, header: str, first: int, last: int) -> None:
    folder.write("f", DATA)
    answer = get(folder.download("f"), Range=header)
    assert answer.status_code == 206
    assert answer.content == DATA[first : last + 1]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert answer.headers["Content-Length"] == str(last - first + 1)


def test_unsatisfiable_range(folder: Folder) -> None:
    folder.write("f", DATA)
    answer = get(folder.download("f"), Range=f"bytes={len(DATA)}-")
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_several_ranges_get_the_complete_file(folder: Folder) -> None:
    folder.write("f", DATA)
    answer = get(folder.download("f"), Range="bytes=0-1,4-5")
    assert (answer.status_code, answer.content) == (200, DATA)


def test_resume_as_the_sdk_does(folder: Folder) -> None:
    path = folder.write("f", DATA)
    url = folder.download("f")
    date = get(url).headers["Last-Modified"]
    more = get(url, Range="bytes=1000-", If_Range=date)
    assert (more.status_code, more.content) == (206, DATA[1000:])
    os.utime(path, (1, 1))
    again = get(url, Range="bytes=1000-", If_Range=date)
    assert (again.status_code, again.content) == (200, DATA)


def test_conditions(folder: Folder) -> None:
    folder.write("f", DATA)
    url = folder.download("f")
    first = get(url)
    same = get(url, If_None_Match=first.headers["ETag"])
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["ETag"] == first.headers["ETag"]
    assert get(url, If_Modified_Since=first.headers["Last-Modified"]).status_code == 304
    assert get(url, If_Match='"other"').status_code == 412


def test_empty_file(folder: Folder) -> None:
    folder.write("f", b"")
    answer = get(folder.download("f"))
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, "0")


def test_no_cache(folder: Folder) -> None:
    folder.write("f", b"x")
    assert get(folder.download("f") + "&no_cache=true").headers["Cache-Control"] == "no-store"


def test_dst_dir_is_where_to_look(folder: Folder) -> None:
    folder.write("sub/f", b"x")
    assert get(folder.download("f") + "&dst_dir=sub").content == b"x"


def test_dots_that_stay_inside(folder: Folder) -> None:
    """As released clients write them: `..` removes the part before it."""
    folder.write("sub/f", b"x")
    assert get(folder.download("none/../sub/./f")).content == b"x"
    assert get(folder.download("f") + "&dst_dir=sub/deep/..").content == b"x"
    assert get(folder.archive(["sub/../sub/f"])).status_code == 200
    url = folder.upload("a/../g", 4)
    assert (
        requests.patch(url, data=b"data", headers={"Upload-Offset": "0"}, timeout=60).status_code
        == 204
    )
    assert (folder.path / "g").read_bytes() == b"data"
    assert not (folder.path / "a").exists()


@pytest.mark.parametrize("way", ["../", "..", "/etc", "sub/../.."])
def test_no_way_out_by_dst_dir(folder: Folder, way: str) -> None:
    answer = get(folder.download("passwd") + f"&dst_dir={way}")
    assert answer.status_code == 404
    assert answer.json()["type"].endswith("storage/file-not-found")


def test_no_way_out_by_links(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder.path / "out").symlink_to(tmp_path)
    (folder.path / "file").symlink_to(tmp_path / "secret")
    (folder.path / "inside").symlink_to("real")
    folder.write("real", b"mine")
    assert get(folder.download("out/secret")).status_code == 404
    assert get(folder.download("file")).status_code == 404
    assert get(folder.download("inside")).content == b"mine"


def test_only_regular_files(folder: Folder) -> None:
    (folder.path / "dir").mkdir()
    os.mkfifo(folder.path / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"/proc/self/fd/{os.open(folder.path, os.O_RDONLY)}/sock")
    for name in ("dir", "fifo", "sock"):
        answer = get(folder.download(name))
        assert answer.status_code == 400, name
        assert str(folder.path) not in answer.text


def test_absent_things(folder: Folder, door: ClientDoor) -> None:
    assert get(folder.download("nothing")).status_code == 404
    assert get(folder.download("f", volume="nowhere")).json()["error_code"] == (
        "storage_access_invalid-parameters"
    )


@pytest.mark.parametrize("name", ['new\nline "q"', "ünïcödé", os.fsdecode(b"\xff\xfe"), "100%41;x"])
def test_every_name_arrives(folder: Folder, name: str) -> None:
    folder.write(name, b"x")
    answer = get(folder.download(name))
    assert answer.content == b"x"
    assert "\n" not in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    "token",
    [
        "",
        "garbage",
        tickets.issue(
            tickets.DownloadTicket(volume="v", vfid="x", relpath="", exp=1), TICKET_SECRET
        ),
        tickets.issue(
            tickets.DownloadTicket(volume="v", vfid="x", relpath="", exp=2**40), "w" * 32
        ),
    ],
)
def test_bad_tickets(door: ClientDoor, token: str) -> None:
    answer = get(f"{door.url}/download?token={token}")
    assert answer.status_code == 400
    assert "token" in answer.json()["data"]


def test_an_upload_ticket_does_not_download(folder: Folder) -> None:
    url = folder.upload("f", 4)
    assert get(url.replace("/upload?", "/download?")).status_code == 400


def test_unknown_query_is_refused(folder: Folder) -> None:
    folder.write("f", b"x")
    answer = get(folder.download("f") + "&cachebust=1")
    assert answer.status_code == 400
    assert "cachebust" in answer.json()["data"]


def test_a_file_replaced_while_sent_stays_what_it_was(folder: Folder) -> None:
    big = os.urandom(1 << 20) * 16
    path = folder.write("f", big)
    with requests.get(folder.download("f"), stream=True, timeout=60) as answer:
        head = answer.raw.read(1000)
        new = folder.write("g", b"other")
        new.rename(path)
        assert head + answer.raw.read() == big


def test_a_file_that_shrinks_ends_the_connection(folder: Folder) -> None:
    path = folder.write("f", bytes(64 << 20))
    url = urlsplit(folder.download("f"))
    with socket.create_connection((url.hostname or "", url.port or 0)) as client:
        client.settimeout(60)
        target = f"{url.path}?{url.query}"
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        got = len(client.recv(1000))
        os.truncate(path, 1000)
        with suppress(ConnectionResetError):  # it is an end, too
            while piece := client.recv(1 << 20):
                got += len(piece)
    assert got < 64 << 20


def test_curl_resumes(folder: Folder, tmp_path: Path) -> None:
    folder.write("f", DATA)
    out = tmp_path / "out"
    out.write_bytes(DATA[:1000])
    subprocess.run(
        ["curl", "-fsS", "-C", "-", "-o", out, folder.download("f")], check=True, timeout=60
    )
    assert out.read_bytes() == DATA


def test_other_origins_may_read(folder: Folder) -> None:
    folder.write("f", b"x")
    answer = get(folder.download("f"), Origin="https://ui.example")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://ui.example"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
    failed = get(folder.download("none"), Origin="https://ui.example")
    assert failed.headers["Access-Control-Allow-Origin"] == "https://ui.example"
    assert "Access-Control-Allow-Origin" not in get(folder.download("f")).headers
    asked = requests.options(
        folder.download("f"),
        headers={"Origin": "https://ui.example", "Access-Control-Request-Headers": "RANGE"},
        timeout=60,
    )
    assert asked.status_code == 200
    assert "GET" in asked.headers["Access-Control-Allow-Methods"]
    assert asked.headers["Access-Control-Allow-Headers"] == "RANGE"
    assert requests.options(folder.download("f"), timeout=60).status_code == 403
