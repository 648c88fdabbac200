"""tus 1.0.0 as a table: a request to an upload of 8 bytes at offset 4, and its answer.

Afterwards the upload can still be finished with the right bytes, unless the case ends it.
"""

import base64
import hashlib
from dataclasses import dataclass, field
from urllib.parse import urljoin

import requests

from tests.api.client.conftest import ClientDoor, Folder

TUS = {"Tus-Resumable": "1.0.0"}
OCTETS = {**TUS, "Content-Type": "application/offset+octet-stream"}
AT_4 = {**OCTETS, "Upload-Offset": "4"}


def checksum(algorithm: str, data: bytes) -> str:
    digest = hashlib.new(algorithm, data, usedforsecurity=False).digest()
    return f"{algorithm} {base64.b64encode(digest).decode()}"


def text(word: str) -> str:
    return base64.b64encode(word.encode()).decode()


@dataclass(frozen=True)
class Case:
    """A request and its answer; `at` is the offset of a HEAD afterwards, None is 404."""

    name: str
    method: str
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: It goes to the ticket's URL, as a creation; else to the upload's own.
    creates: bool = False
    at: int | None = 4
    answer: dict[str, str] = field(default_factory=dict)


def patch(name: str, status: int, body: bytes = b"", at: int | None = 4, **more: str) -> Case:
    headers = AT_4 | {key.replace("_", "-"): value for key, value in more.items()}
    return Case(name, "PATCH", status, headers, body, at=at)


def create(name: str, status: int, body: bytes = b"", **more: str) -> Case:
    headers = TUS | {key.replace("_", "-"): value for key, value in more.items()}
    return Case(name, "POST", status, headers, body, creates=True)


OFFSETS = {"Upload-Offset": "4", "Upload-Length": "8", "Cache-Control": "no-store"}
CASES = [
    # core
    Case("HEAD has the offset", "HEAD", 200, TUS, answer=OFFSETS),
    Case("HEAD of another version", "HEAD", 412, {"Tus-Resumable": "0.2.2"}),
    Case("HEAD without version", "HEAD", 200, answer=OFFSETS),
    Case("OPTIONS needs no version", "OPTIONS", 200, answer={"Tus-Version": "1.0.0"}),
    Case("OPTIONS of another version", "OPTIONS", 200, {"Tus-Resumable": "9.9.9"}),
    Case("GET is not tus", "GET", 405, TUS),
    Case("PUT is not tus", "PUT", 405, TUS),
    Case("POST to an upload", "POST", 405, TUS),
    patch("the rest", 204, b"data", at=8),
    patch("a part of the rest", 204, b"da", at=6),
    patch("nothing", 204, b"", at=4),
    patch("another version", 412, b"data", Tus_Resumable="2.0.0"),
    patch("another type", 415, b"data", Content_Type="application/octet-stream"),
    patch("a type with parameters", 204, b"data", 8, Content_Type=f"{OCTETS['Content-Type']};a=b"),
    Case("PATCH without offset", "PATCH", 400, OCTETS, b"data"),
    patch("too early", 409, b"good", Upload_Offset="0"),
    patch("too late", 409, b"a", Upload_Offset="7"),
    patch("behind the end", 409, b"", Upload_Offset="9"),
    patch("a negative offset", 400, b"data", Upload_Offset="-1"),
    patch("a fraction", 400, b"data", Upload_Offset="4.0"),
    patch("an offset of 30 digits", 400, b"data", Upload_Offset="4" * 30),
    patch("too much", 413, b"data and more"),
    # creation
    create("a new upload", 201, Upload_Length="8"),
    create("without a length", 400),
    create("a length that is none", 400, Upload_Length="many"),
    create("a negative length", 400, Upload_Length="-8"),
    create("more than the ticket allows", 413, Upload_Length="9"),
    create("another version", 412, Upload_Length="8", Tus_Resumable="0.1"),
    create("metadata", 201, Upload_Length="8", Upload_Metadata=f"a {text('b')},flag"),
    create("metadata that is not base64", 400, Upload_Length="8", Upload_Metadata="a b?"),
    create("a key twice", 400, Upload_Length="8", Upload_Metadata="a YQ==,a YQ=="),
    create("metadata without end", 400, Upload_Length="8", Upload_Metadata="a " + "YQ" * 5000),
    # creation-with-upload
    create("with bytes", 201, b"good", Upload_Length="8", Content_Type=OCTETS["Content-Type"]),
    create("with bytes of another type", 415, b"good", Upload_Length="8", Content_Type="text/x"),
    create(
        "with too many bytes", 413, b"good", Upload_Length="3", Content_Type=OCTETS["Content-Type"]
    ),
    # creation-defer-length
    create("a length later", 201, Upload_Defer_Length="1"),
    create("later, in other words", 400, Upload_Defer_Length="yes"),
    create("now and later", 400, Upload_Length="8", Upload_Defer_Length="1"),
    patch("another length", 400, b"data", Upload_Length="9"),
    patch("the same length", 204, b"data", 8, Upload_Length="8"),
    # checksum
    patch("a right sha1", 204, b"data", 8, Upload_Checksum=checksum("sha1", b"data")),
    patch("a right sha256", 204, b"data", 8, Upload_Checksum=checksum("sha256", b"data")),
    patch("a wrong sha1", 460, b"data", Upload_Checksum=checksum("sha1", b"else")),
    patch("an unknown algorithm", 400, b"data", Upload_Checksum=checksum("md5", b"data")),
    patch("a checksum without algorithm", 400, b"data", Upload_Checksum="abcd"),
    patch("a checksum that is not base64", 400, b"data", Upload_Checksum="sha1 ?"),
    # concatenation
    create("a part", 201, Upload_Concat="partial", Upload_Length="4"),
    create("a part without length", 400, Upload_Concat="partial"),
    create("a concatenation of no parts", 400, Upload_Concat="final;"),
    create("a concatenation of unknown parts", 404, Upload_Concat="final;upload/nothing"),
    create("concat in other words", 400, Upload_Concat="both", Upload_Length="8"),
    # termination
    Case("DELETE", "DELETE", 204, TUS, at=None),
    Case("DELETE of another version", "DELETE", 412, {"Tus-Resumable": "2"}),
    # method override
    Case("as HEAD", "POST", 200, {**TUS, "X-HTTP-Method-Override": "HEAD"}, answer=OFFSETS),
    Case("as PATCH", "POST", 204, {**AT_4, "X-HTTP-Method-Override": "PATCH"}, b"data", at=8),
    Case("as DELETE", "POST", 204, {**TUS, "X-HTTP-Method-Override": "DELETE"}, at=None),
    Case("as another method", "POST", 405, {**TUS, "X-HTTP-Method-Override": "PUT"}),
]


def test_names_are_one_each() -> None:
    assert len({(case.method, case.name) for case in CASES}) == len(CASES) >= 40


def test_cases(door: ClientDoor) -> None:
    """Each case has a vfolder of its own; all that fail are listed."""
    wrong = []
    for case in CASES:
        try:
            check(door.vfolder(), case)
        except AssertionError as error:
            wrong.append(f"{case.method} {case.name}: {error}")
    assert not wrong, "\n".join(wrong)


def check(folder: Folder, case: Case) -> None:
    ticket = folder.upload("f", 8)
    made = requests.post(ticket, headers={**TUS, "Upload-Length": "8"}, timeout=60)
    url = urljoin(ticket, made.headers["Location"])
    requests.patch(url, b"good", headers={**OCTETS, "Upload-Offset": "0"}, timeout=60)
    answer = requests.request(
        case.method,
        ticket if case.creates else url,
        headers=case.headers,
        data=case.body,
        timeout=60,
    )
    assert answer.status_code == case.status, answer.text
    assert case.answer.items() <= answer.headers.items()
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    if case.status >= 400 and case.method != "HEAD":
        assert answer.headers["Content-Type"] == "application/problem+json"
    if case.status == 412:
        assert answer.headers["Tus-Version"] == "1.0.0"
    if case.status == 201:
        assert answer.headers["Location"].startswith("upload/")
        assert "Upload-Expires" in answer.headers
    _check_end(folder, url, case)


def _check_end(folder: Folder, url: str, case: Case) -> None:
    """Check where the upload stands, and that it can be finished from there."""
    found = requests.head(url, headers=TUS, timeout=60)
    if case.at is None:
        assert found.status_code == 404
        assert not (folder.path / "f").exists()
        return
    assert found.headers["Upload-Offset"] == str(case.at)
    rest = b"gooddata"[case.at :]
    if rest:
        headers = {**OCTETS, "Upload-Offset": str(case.at)}
        assert requests.patch(url, rest, headers=headers, timeout=60).status_code == 204
    assert (folder.path / "f").read_bytes() == b"gooddata"
