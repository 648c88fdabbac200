"""The released clients of the client door: the SDK with its CLI, the web UI, and tus clients.

The SDK uploads by PATCH alone and takes nothing but a 204 with a number in `Upload-Offset`; it
needs `Content-Length` and `Last-Modified` of a download. The web UI is tus-js-client on the URL of
the ticket, in a browser, on an origin of its own. No client follows a redirect.
"""

import io
import re
import zipfile
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import requests

from tests.support.released import files
from tests.support.released.side import ReleasedCall, ReleasedManager, keep_in

#: aiohttp, which the SDK is built on, gives up on a request after this time (seconds).
PATIENCE_SECONDS = 300
ORIGIN = {"Origin": "https://webui.example"}
TUS = {"Tus-Resumable": "1.0.0"}
PIECE = {"Content-Type": "application/offset+octet-stream", **TUS}
#: Headers that a page of the web UI sends, and those that it reads.
PREFLIGHT = {"tus-resumable", "upload-length", "upload-metadata", "upload-offset", "content-type"}
CALLS: dict[tuple[str, str], ReleasedCall] = {}
call = keep_in(CALLS)


@dataclass
class ReleasedClient:
    """A user's client: the manager that gives it tickets, and the URL of the client door."""

    manager: ReleasedManager
    url: str

    def send(self, method: str, address: str, **options: object) -> requests.Response:
        """Send one request to a path with its query, or to a URL."""
        url = urljoin(self.url, address)
        answer = requests.request(
            method, url, timeout=PATIENCE_SECONDS, allow_redirects=False, **options
        )
        self.manager.asked.append((method, urlsplit(url).path, answer.status_code))
        return answer

    def upload_url(self, data: bytes = b"0123456789", name: str = "new") -> str:
        """Return the address of a new upload: of the client door, with the ticket."""
        token = files.request_upload(self.manager, name, str(len(data)))
        return f"/upload?token={token}"

    def stored(self, name: str = "new") -> bytes:
        """Return what an agent reads of an uploaded file."""
        return (self.manager.path / name).read_bytes()


@call("GET", "/")
def status(client: ReleasedClient) -> None:
    found = client.send("GET", "/").json()
    assert (found["status"], found["type"]) == ("ok", "client-facing")
    assert isinstance(found["storage-proxy"], str)


@call("GET", "/version")
def version(client: ReleasedClient) -> None:
    assert isinstance(client.send("GET", "/version").json()["version"], str)


# -- Uploads ---------------------------------------------------------------------------------------
@call("OPTIONS", "/upload", "web UI")
def preflight_of_an_upload(client: ReleasedClient) -> None:
    """What a browser needs before the PATCH of a page: the method and the five headers."""
    asked = {"Access-Control-Request-Method": "PATCH"}
    asked["Access-Control-Request-Headers"] = ",".join(sorted(PREFLIGHT))
    answer = client.send("OPTIONS", client.upload_url(), headers={**ORIGIN, **asked})
    assert answer.status_code == 200
    assert {"*", "PATCH"} & _listed(answer, "Access-Control-Allow-Methods")
    assert _lower(answer, "Access-Control-Allow-Headers") >= PREFLIGHT
    assert answer.headers["Access-Control-Allow-Origin"] in {"*", ORIGIN["Origin"]}
    assert "Location" not in answer.headers


@call("HEAD", "/upload", "web UI")
def look(client: ReleasedClient, url: str = "", offset: int = 0) -> None:
    """tus-js-client begins here: both numbers, readable for a page."""
    answer = client.send("HEAD", url or client.upload_url(), headers={**ORIGIN, **TUS})
    assert answer.status_code == 200
    assert int(answer.headers["Upload-Offset"]) == offset
    assert int(answer.headers["Upload-Length"]) > 0
    _readable(answer, "upload-offset", "upload-length")


@call("PATCH", "/upload", "SDK and CLI", "web UI")
def upload(client: ReleasedClient) -> None:
    """The SDK sends PATCH and nothing before it; then the file is there, on the agents too."""
    data = b"0123456789"
    url = client.upload_url(data)
    for start in (0, 5):
        piece = {**PIECE, "upload-offset": str(start)}
        answer = client.send("PATCH", url, data=data[start : start + 5], headers=piece)
        assert answer.status_code == 204
        assert int(answer.headers["Upload-Offset"]) == start + 5
        if not start:
            look(client, url, 5)
    assert client.stored() == data


@call("POST", "/upload", "tus clients")
def create(client: ReleasedClient) -> str:
    """Creation (tus 1.0.0): 201 and the address of the upload."""
    made = client.send("POST", client.upload_url(), headers={**TUS, "Upload-Length": "10"})
    assert made.status_code == 201
    return urljoin(made.url, made.headers["Location"])


@call("HEAD", "/upload/<upload_id>", "tus clients")
def look_at_created(client: ReleasedClient) -> None:
    answer = client.send("HEAD", create(client), headers=TUS)
    assert answer.status_code in {200, 204}
    assert int(answer.headers["Upload-Offset"]) == 0
    assert answer.headers["Cache-Control"] == "no-store"


@call("PATCH", "/upload/<upload_id>", "tus clients")
def append_to_created(client: ReleasedClient) -> None:
    sent = {**PIECE, "Upload-Offset": "0"}
    answer = client.send("PATCH", create(client), data=b"0123456789", headers=sent)
    assert answer.status_code == 204
    assert int(answer.headers["Upload-Offset"]) == 10
    assert client.stored() == b"0123456789"


@call("POST", "/upload/<upload_id>", "tus clients")
def append_by_post(client: ReleasedClient) -> None:
    """Where a network allows no PATCH: the method is in a header (tus 1.0.0)."""
    sent = {**PIECE, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    answer = client.send("POST", create(client), data=b"0123456789", headers=sent)
    assert answer.status_code == 204
    assert client.stored() == b"0123456789"


@call("DELETE", "/upload/<upload_id>", "tus clients")
def terminate(client: ReleasedClient) -> None:
    _terminate(client, create(client))


@call("DELETE", "/upload", "tus clients")
def terminate_by_ticket(client: ReleasedClient) -> None:
    _terminate(client, client.upload_url())


def _terminate(client: ReleasedClient, url: str) -> None:
    assert client.send("DELETE", url, headers=TUS).status_code == 204
    assert client.send("HEAD", url, headers=TUS).status_code in {404, 410}


@call("OPTIONS", "/upload/<upload_id>", "tus clients")
def discover_at_created(client: ReleasedClient) -> None:
    answer = client.send("OPTIONS", create(client))
    assert answer.status_code in {200, 204}
    assert "1.0.0" in _listed(answer, "Tus-Version")
    assert int(answer.headers["Tus-Max-Size"]) > 0


# -- Downloads -------------------------------------------------------------------------------------
@call("OPTIONS", "/download", "web UI")
@call("OPTIONS", "/download-archive", "web UI")
@call("OPTIONS", "/", "web UI")
def preflight(client: ReleasedClient) -> None:
    """What a browser asks before a page reads a download with a header of its own."""
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
    for path in ("/", "/download", "/download-archive"):
        answer = client.send("OPTIONS", path, headers={**ORIGIN, **asked})
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert "GET" in _listed(answer, "Access-Control-Allow-Methods")
        assert "range" in _lower(answer, "Access-Control-Allow-Headers")


@call("GET", "/download", "SDK and CLI", "web UI")
def download(client: ReleasedClient) -> None:
    """The SDK: the length, and after a break the rest, if the file is still the same."""
    url = f"/download?token={files.request_download(client.manager)}"
    whole = client.send("GET", url)
    assert whole.status_code == 200
    assert int(whole.headers["Content-Length"]) == len(whole.content) == 4
    assert parsedate_to_datetime(whole.headers["Last-Modified"])
    rest = {"If-Range": whole.headers["Last-Modified"], "Range": "bytes=2-"}
    part = client.send("GET", url, headers=rest)
    assert (part.status_code, int(part.headers["Content-Length"])) == (206, 2)
    assert whole.content[:2] + part.content == b"text"
    _download_by_the_page(client)


def _download_by_the_page(client: ReleasedClient) -> None:
    """The web UI always says whether it wants a zip; its editor reads the answer by script."""
    files.make_directories(client.manager, "dir/empty")
    client.manager.write("dir/b", "beta")
    token = files.request_download(client.manager, "dir", archive=True)
    packed = client.send("GET", f"/download?token={token}&archive=true", headers=ORIGIN)
    assert packed.headers["Content-Type"] == "application/zip"
    assert set(_members(packed.content)) == {"b", "empty/"}
    token = files.request_download(client.manager)
    text = client.send(
        "GET", f"/download?token={token}&archive=false&no_cache=true", headers=ORIGIN
    )
    assert (text.status_code, text.text) == (200, "text")
    assert text.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
    assert text.headers["Cache-Control"] == "no-store"


@call("GET", "/download-archive", "web UI")
def download_archive(client: ReleasedClient) -> None:
    client.manager.write("dir/b", "beta")
    token = files.request_archive(client.manager, "dir", "a")
    answer = client.send("GET", f"/download-archive?token={token}", headers=ORIGIN)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/zip"
    assert 'filename="two.zip"' in answer.headers["Content-Disposition"]
    assert {"a", "dir/b"} <= set(_members(answer.content))


def _members(content: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return archive.namelist()


# -- The page --------------------------------------------------------------------------------------
@call("GET", "/page", "browsers")
def page(client: ReleasedClient) -> None:
    answer = client.send("GET", "/page?token=x")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@call("GET", "/page/<name>", "browsers")
def page_file(client: ReleasedClient) -> None:
    text = client.send("GET", "/page?token=x").text
    for ending, kind in (("js", "javascript"), ("css", "text/css")):
        found = re.search(rf"\"(page/[\w-]+\.{ending})\"", text)
        assert found
        answer = client.send("GET", f"/{found[1]}")
        assert answer.status_code == 200
        assert kind in answer.headers["Content-Type"]


def _listed(answer: requests.Response, header: str) -> set[str]:
    return {one.strip() for one in answer.headers[header].split(",")}


def _lower(answer: requests.Response, header: str) -> set[str]:
    return {one.lower() for one in _listed(answer, header)}


def _readable(answer: requests.Response, *headers: str) -> None:
    """A page of another origin sees these headers; else its client finds no number."""
    assert answer.headers["Access-Control-Allow-Origin"] in {"*", ORIGIN["Origin"]}
    assert _lower(answer, "Access-Control-Expose-Headers") >= set(headers)
