"""Many generated names and paths: never a 500, nothing changes outside the vfolder."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.app import manager_door
from core.names import VFolderId
from core.settings import Settings
from tests.support.doors import AUTH, settings_in
from tests.support.thoroughness import times
from tests.support.trees import snapshot
from tests.support.valkey import Valkey

#: Cases of each test.
CASES = times(400, 5000)
property_test = settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
#: Any text that JSON can carry, lone surrogates and NUL among it.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)
PART = st.one_of(
    st.sampled_from(
        [
            "",
            ".",
            "..",
            "...",
            "a.txt",
            "dir",
            "b.txt",
            "link-in",
            "link-dir",
            "link-out",
            "link-up",
            "loop",
            "fifo",
            "dangling",
            "nothing",
            "\0",
            "\n",
            "~",
            "*",
            "\ud800",
            "\udcff",
            "x" * 255,
            "x" * 256,
            "é" * 128,
        ],
    ),
    st.text(st.characters(exclude_categories=()), max_size=8),
)
PATH = st.one_of(st.lists(PART, max_size=8).map("/".join), ANY_TEXT)
HEX = st.sampled_from("0123456789abcdefABCDEF-")
ID = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda found: found.hex),
    st.text(HEX, max_size=40),
    ANY_TEXT,
)
SCOPE = st.one_of(
    st.tuples(st.sampled_from(["user", "USER", "project", "group", ""]), ID).map(":".join),
    ANY_TEXT,
)
VFID = st.one_of(st.tuples(SCOPE, ID).map("/".join), ID, ANY_TEXT)


Ask = tuple[str, str, Callable[[str, str, str], dict[str, Any]]]


class Wire:
    """A manager door with one vfolder full of traps, and what lies around it."""

    def __init__(self, client: FlaskClient, directory: Path, vfid: str) -> None:
        self.client = client
        self.volume = directory / "local"
        self.vfid = vfid
        self.root = self.volume / VFolderId.parse(vfid).directory
        self.outside = snapshot(self.volume / "outside")

    def ask(self, ask: "Ask", *generated: str) -> None:
        """Send it, and expect an answer or a 4xx problem."""
        method, path, make = ask
        body = {"volume": "local", "src_volume": "local", **make(*generated)}
        if path != "/folder/clone":
            del body["src_volume"]
        response = self.client.open(path, method=method, json=body, headers=AUTH)
        case = f"{method} {path} {body!r}: {response.status_code}"
        assert response.status_code < 500, case
        if response.status_code >= 400 and response.status_code != 422:
            assert response.content_type == "application/problem+json", case
            assert str(self.volume) not in response.get_data(as_text=True), case
        response.close()

    def check_around(self) -> None:
        """Nothing outside of the vfolder has changed, and nothing unexpected is there."""
        assert snapshot(self.volume / "outside") == self.outside
        for entry in self.volume.iterdir():
            assert re.fullmatch(
                r"[0-9a-f]{32}|[0-9a-f]{2}|\.vfolder(-volume)?|outside", entry.name
            ), entry


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Wire:
    directory = tmp_path_factory.mktemp("names")
    known: Settings = settings_in(directory, valkey.url, '[logging]\nlevel = "ERROR"')
    vfid = f"user:{uuid4()}/{uuid4().hex}"
    root = directory / "local" / VFolderId.parse(vfid).directory
    (root / "dir").mkdir(parents=True)
    (directory / "local" / "outside").mkdir()
    (directory / "local" / "outside" / "secret").write_text("untouched")
    for link, target in (
        ("link-in", "dir"),
        ("link-dir", "dir"),
        ("link-out", "/etc"),
        ("link-up", "../../../../outside"),
        ("loop", "loop"),
        ("dangling", "nothing"),
    ):
        (root / link).symlink_to(target)
    (root / "a.txt").write_text("alpha")
    return Wire(manager_door(known).test_client(), directory, vfid)


#: Each route, with a body made of generated values.
WRITING: list[Ask] = [
    ("POST", "/folder/file/mkdir", lambda v, p, _: {"vfid": v, "relpath": [p], "exist_ok": True}),
    ("POST", "/folder/file/move", lambda v, p, o: {"vfid": v, "src_relpath": p, "dst_relpath": o}),
    ("POST", "/folder/file/rename", lambda v, p, o: {"vfid": v, "relpath": p, "new_name": o}),
    ("POST", "/folder/file/delete", lambda v, p, _: {"vfid": v, "relpaths": [p], "recursive": 1}),
    ("POST", "/folder/file/upload", lambda v, p, _: {"vfid": v, "relpath": p, "size": 0}),
]
READING: list[Ask] = [
    ("POST", "/folder/file/list", lambda v, p, o: {"vfid": v, "relpath": p, "cursor": o}),
    ("POST", "/folder/file/fetch", lambda v, p, _: {"vfid": v, "relpath": p}),
    ("GET", "/folder/mount", lambda v, p, _: {"vfid": v, "subpath": p}),
    ("POST", "/folder/file/download", lambda v, p, o: {"vfid": v, "relpath": p, "archive": o}),
]
NAMING: list[Ask] = [
    ("POST", "/folder/create", lambda v, _, __: {"vfid": v}),
    ("GET", "/folder/usage", lambda v, _, __: {"vfid": v}),
    ("POST", "/folder/delete", lambda v, _, __: {"vfid": v}),
    ("POST", "/folder/clone", lambda v, _, __: {"src_vfid": v, "dst_vfid": v, "dst_volume": None}),
]
SCOPING: list[Ask] = [
    ("POST", "/quota-scope", lambda s, _, __: {"qsid": s}),
    ("GET", "/quota-scope", lambda s, _, __: {"qsid": s}),
    ("GET", "/folder/fs-usage", lambda s, _, __: {"volume": s}),
]


@pytest.mark.slow
@pytest.mark.timeout(600)
@property_test
@given(ask=st.sampled_from(WRITING), path=PATH, other=PATH)
def test_paths_of_writing_routes(wire: Wire, ask: Ask, path: str, other: str) -> None:
    wire.ask(ask, wire.vfid, path, other)
    wire.check_around()


@pytest.mark.slow
@pytest.mark.timeout(600)
@property_test
@given(ask=st.sampled_from(READING), path=PATH, other=PATH)
def test_paths_of_reading_routes(wire: Wire, ask: Ask, path: str, other: str) -> None:
    wire.ask(ask, wire.vfid, path, other)


@pytest.mark.slow
@pytest.mark.timeout(600)
@property_test
@given(ask=st.sampled_from(NAMING), vfid=VFID)
def test_vfolder_ids(wire: Wire, ask: Ask, vfid: str) -> None:
    wire.ask(ask, vfid, "", "")
    wire.check_around()


@pytest.mark.slow
@pytest.mark.timeout(600)
@property_test
@given(ask=st.sampled_from(SCOPING), scope=SCOPE)
def test_scopes_and_volumes(wire: Wire, ask: Ask, scope: str) -> None:
    wire.ask(ask, scope, "", "")
