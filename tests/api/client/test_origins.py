"""Pages of other origins (CORS): which origin may read which answer of the doors."""

from collections.abc import Iterator

import pytest
import requests

from core.errors import ConfigurationError
from tests.api.client.conftest import ClientDoor, Folder, make_door
from tests.support.doors import settings_in
from tests.support.valkey import Valkey

NAMED, OTHER = "https://ui.example", "https://evil.example"
ALLOWED = "Access-Control-Allow-Origin"
#: Paths where no ticket is the credential, or that are no routes at all.
ELSEWHERE = ("/page", "/page/page.js", "/nowhere", "/v1/vfolders", "/downloads", "/uploads")


def answers(folder: Folder, origin: str) -> list[requests.Response]:
    """What a page of an origin gets: downloads, archives, uploads, and their refusals."""
    folder.write("f", b"x")
    url, headers = folder.door.url, {"Origin": origin}
    asked = [folder.download("f"), folder.download("none"), folder.archive(["f"]), f"{url}/"]
    got = [requests.get(one, headers=headers, timeout=60) for one in asked]
    upload = folder.upload("new", 5)
    got.append(requests.head(upload, headers=headers, timeout=60))
    preflight = {**headers, "Access-Control-Request-Method": "PATCH"}
    got.append(requests.options(upload, headers=preflight, timeout=60))
    got.append(requests.options(folder.download("f"), headers=headers, timeout=60))
    got.append(requests.patch(f"{url}/upload?token=x", headers=headers, timeout=60))
    return got


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[ClientDoor]:
    """A door that names its one origin."""
    more = f'[vfolder.doors]\nprocesses = 1\norigins = ["{NAMED}"]'
    door = make_door(tmp_path_factory.mktemp("strict"), valkey, more)
    door.start()
    yield door
    door.stop()


def test_without_names_every_page_reads_what_a_ticket_gives(folder: Folder) -> None:
    for origin in (NAMED, OTHER):
        for answer in answers(folder, origin):
            assert answer.headers[ALLOWED] in {"*", origin}, answer.url


def test_no_page_reads_the_other_routes(door: ClientDoor) -> None:
    for path in ELSEWHERE:
        answer = requests.get(door.url + path, headers={"Origin": NAMED}, timeout=60)
        assert ALLOWED not in answer.headers, path
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Origin" in answer.headers["Vary"]


def test_with_names_only_their_pages_read(strict: ClientDoor) -> None:
    folder = strict.vfolder()
    for answer in answers(folder, NAMED):
        assert answer.headers[ALLOWED] == NAMED, answer.url
        assert "Origin" in answer.headers["Vary"]
    for origin in (OTHER, "null", f"{NAMED}.evil.example", "https://UI.example", "*"):
        for answer in answers(folder, origin):
            shown = {name for name in answer.headers if name.startswith("Access-Control-Allow-O")}
            assert not shown, (origin, answer.url)
            assert "Access-Control-Allow-Credentials" not in answer.headers
    uploads = requests.options(f"{strict.url}/upload", headers={"Origin": OTHER}, timeout=60)
    assert uploads.headers["Tus-Resumable"] == "1.0.0"
    for path in ELSEWHERE:
        read = requests.get(strict.url + path, headers={"Origin": NAMED}, timeout=60)
        assert read.headers[ALLOWED] == NAMED


@pytest.mark.parametrize(
    "origin", ["*", "null", "", "ui.example", f"{NAMED}/", f"{NAMED}/path", "https://UI.example"]
)
def test_what_is_no_origin_stops_the_start(
    origin: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    more = f'[vfolder.doors]\norigins = ["{origin}"]'
    with pytest.raises(ConfigurationError, match="is not an origin; write https://host"):
        settings_in(tmp_path_factory.mktemp("origins"), more=more)
