"""Numbers of strangers at the doors: claims, headers, queries, bodies; never a 500."""

import json
import time
from collections.abc import Iterator
from uuid import uuid4

import jwt
import pytest
import requests

from tests.api.client.conftest import ClientDoor, Folder
from tests.support.doors import TICKET_SECRET, RunningDoor, running_door

#: No file, and no integer of 64 bits, is so large.
BIG = 10**30
#: Numbers of JSON: beyond 64 bits, a double, and Python's conversion of text; and no numbers.
LITERALS = (
    "-1",
    str(2**63),
    str(BIG),
    "1e30",
    "1e308",
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "-0.0",
    "0.5",
    "true",
    '"5"',
    "null",
    "[]",
    "9" * 4000,
    "9" * 5000,
)
TEXTS = (
    "-1",
    "+1",
    "0x10",
    "1e3",
    "1.5",
    "",
    "nan",
    "inf",
    str(2**63),
    str(BIG),
    "9" * 4400,
    "٣",
    "1_000",
)


def token(folder: Folder, claims: dict[str, str]) -> str:
    """A ticket whose claims are given as JSON text."""
    whole = {
        "volume": '"local"',
        "vfid": json.dumps(str(folder.id)),
        "virtual_folder_id": json.dumps(str(folder.id)),
        "relpath": '"f"',
        "files": '["f"]',
        "session": json.dumps(uuid4().hex),
        "size": "5",
        "exp": str(time.time() + 600),
        "op": '"upload"',
        **claims,
    }
    payload = "{" + ",".join(f'"{name}":{text}' for name, text in whole.items()) + "}"
    return jwt.api_jws.encode(payload.encode(), TICKET_SECRET, "HS256")


def is_refused(answer: requests.Response, *, also: tuple[int, ...] = ()) -> None:
    assert 400 <= answer.status_code < 500 or answer.status_code in also, answer.text
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert "detail" in answer.json()


@pytest.mark.parametrize("claim", ["exp", "size"])
@pytest.mark.parametrize("literal", LITERALS, ids=lambda text: text[:12])
def test_claims_of_tickets(folder: Folder, claim: str, literal: str) -> None:
    folder.write("f", b"x")
    url = folder.door.url
    upload = token(folder, {claim: literal, "tree": "true"})
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "3"}
    made = requests.post(f"{url}/upload?token={upload}", headers=headers, timeout=60)
    is_refused(made, also=(201,))
    download = token(folder, {claim: literal, "op": '"download"', "operation": '"download"'})
    for route in ("download", "download-archive"):
        is_refused(requests.get(f"{url}/{route}?token={download}", timeout=60), also=(200,))


@pytest.mark.parametrize("name", ["Upload-Length", "Upload-Offset", "Upload-Defer-Length"])
@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:12])
def test_headers_of_uploads(folder: Folder, name: str, text: str) -> None:
    headers = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    value = text.encode("utf-8").decode("latin-1")
    tree = token(folder, {"tree": "true", "size": "100"})
    url = f"{folder.door.url}/upload?token={tree}"
    made = requests.post(url, headers=headers | {name: value}, timeout=60)
    is_refused(made, also=(201,) if name == "Upload-Length" else ())
    upload = folder.upload("g", 5)
    is_refused(
        requests.patch(
            upload, headers=headers | {"Upload-Offset": "0", name: value}, data=b"12345", timeout=60
        ),
        also=(204,),
    )


RANGES = (
    f"bytes=0-{BIG}",
    f"bytes={BIG}-",
    f"bytes=-{BIG}",
    f"bytes={'9' * 4400}-{'9' * 3}",
    "bytes=٣-",
    "bytes=1-0",
    "bytes=--1",
    f"bytes=0-0,{BIG}-{BIG}",
)
DATES = (
    "Mon, 01 Jan 0001 00:00:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Fri, 31 Dec 99999 23:59:59 GMT",
    "Thu, 01 Jan 0000 00:00:00 GMT",
    "Sunday, 06-Nov-94 99:99:99 GMT",
    "1e30",
    "9" * 4400,
)


def test_conditions_of_downloads(folder: Folder) -> None:
    folder.write("f", b"0123456789")
    url = folder.download("f")
    for text in RANGES:
        value = text.encode().decode("latin-1")
        for more in ({}, {"If-Range": DATES[1]}, {"If-Range": '"x"'}):
            answer = requests.get(url, headers={"Range": value, **more}, timeout=60)
            is_refused(answer, also=(200, 206))
    for name in ("If-Modified-Since", "If-Unmodified-Since", "If-Range"):
        for text in DATES:
            answer = requests.get(url, headers={name: text, "Range": "bytes=0-1"}, timeout=60)
            is_refused(answer, also=(200, 206, 304))


@pytest.fixture(scope="module")
def manager(door: ClientDoor) -> Iterator[RunningDoor]:
    with running_door("manager", door.settings) as running:
        yield running


def body_of(folder: Folder, field: str, literal: str) -> dict[str, tuple[str, str]]:
    """By what it is: the path, and the body with that number."""
    own, other = json.dumps(str(folder.id)), json.dumps(f"{folder.id.scope}/{uuid4().hex}")
    volume, jobs, number = '"volume":"local"', "/v1/jobs", f'"{field}":{literal}'
    return {
        "transfer": (
            jobs,
            f'{{"verb":"transfer",{volume},"source":{own},"target":{other},{number}}}',
        ),
        "delete": (jobs, f'{{"verb":"delete",{volume},"vfolder":{other},{number}}}'),
        "upload": (
            "/folder/file/upload",
            f'{{{volume},"vfid":{own},"relpath":"x",{number}}}',
        ),
        "list": ("/folder/file/list", f'{{{volume},"vfid":{own},"relpath":".",{number}}}'),
        "quota": (
            "/quota-scope",
            f'{{{volume},"qsid":{json.dumps(str(folder.id.scope))},"options":{{{number}}}}}',
        ),
    }


FIELDS = (
    ("transfer", "min_bytes"),
    ("transfer", "max_bytes"),
    ("transfer", "bytes_per_second"),
    ("transfer", "priority"),
    ("transfer", "deadline_seconds"),
    ("delete", "keep_seconds"),
    ("upload", "size"),
    ("list", "limit"),
    ("quota", "limit_bytes"),
)


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_fields_of_bodies(manager: RunningDoor, folder: Folder, kind: str, field: str) -> None:
    for literal in LITERALS:
        path, body = body_of(folder, field, literal)[kind]
        headers = {"Content-Type": "application/json"}
        answer = manager.send("POST", path, data=body, headers=headers)
        is_refused(answer, also=(200, 202, 204))


QUERIES = (
    "/v1/jobs?limit={}",
    "/v1/jobs?since={}",
    "/v1/jobs?cursor={}",
    "/v1/jobs?state={}",
    "/v1/volumes/local/metrics?since={}",
)


def test_numbers_of_queries_and_headers(manager: RunningDoor) -> None:
    for text in TEXTS:
        for query in QUERIES:
            is_refused(manager.send("GET", query.format(text)), also=(200,))
        value = text.encode().decode("latin-1")
        for name in ("Prefer", "Last-Event-ID", "If-None-Match", "Range"):
            sent = f"wait={value}" if name == "Prefer" else value
            is_refused(manager.send("GET", "/v1/jobs", headers={name: sent}), also=(200,))


@pytest.mark.parametrize("length", ["-1", "+5", "5.0", "1e3", str(BIG), "9" * 4400, "", "٣", "0x5"])
def test_the_length_of_a_body(manager: RunningDoor, folder: Folder, length: str) -> None:
    """The server may close the connection after its answer: the body has no end."""
    for url in (f"{manager.url}/folder/create", folder.upload("h", 5)):
        request = requests.Request("POST" if "create" in url else "PATCH", url)
        prepared = request.prepare()
        value = length.encode().decode("latin-1")
        prepared.headers.update({"Content-Length": value, "Tus-Resumable": "1.0.0"})
        with requests.Session() as session:
            is_refused(session.send(prepared, timeout=60))
