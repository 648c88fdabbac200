"""What travels between nodes: every act the doors ask, its values, and words of strangers."""

import ast
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgpack
import pytest

from backends.base import Mount
from backends.entries import entries, listing
from backends.mounted import PosixBackend
from backends.volumes import operations, remote
from core.errors import EntryRefused, InvalidName, InvalidParameters, Unsupported, VFolderNotFound
from core.names import VFolderId, VFolderPath
from core.redis import Database, connect
from core.uploads import UploadStore
from tests.support.doors import settings_in
from tests.support.node import ROOT

#: Asked only where the volume is here: they give descriptors.
HERE_ONLY = {"paths.open_file", "acts.open_report"}


def asked(method: str) -> set[str]:
    """The acts that the doors' sources hand to a method of `Reach`, as they are written there."""
    found = set()
    for path in (ROOT / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if called and node.func.attr == method and len(node.args) > 1:
                found.add(ast.unparse(node.args[1]))
    return found


def written(registry: dict[str, Any]) -> set[str]:
    return {".".join(name.split(".")[-2:]) for name in registry}


def test_every_act_that_the_doors_ask_can_travel() -> None:
    in_reach = {"act"}  # what it passes on itself
    assert asked("on_volume") - HERE_ONLY - in_reach <= written(operations.ON_VOLUME)
    assert asked("in_vfolder") - HERE_ONLY - in_reach <= written(operations.IN_VFOLDER)


@pytest.fixture
def place(tmp_path: Path) -> tuple[PosixBackend, VFolderId, Path, UploadStore]:
    settings = settings_in(tmp_path)
    vfolder = VFolderId.parse(f"user:{uuid4()}/{uuid4().hex}")
    top = tmp_path / "local"
    (top / vfolder.directory).mkdir(parents=True)
    store = UploadStore(connect(settings, Database.UPLOADS), "n")
    return PosixBackend(Mount("local", top)), vfolder, top / vfolder.directory, store


def done(place: Any, act: Any, *args: Any, **kwargs: Any) -> Any:
    """The act, by way of bytes, in the vfolder."""
    backend, vfolder, _, store = place
    asked = remote.request("local", act, str(vfolder), *args, **kwargs)
    return remote.result(act, remote.do(remote.wanted(asked), lambda _: backend, store))


def test_values_come_back_as_they_were(place: Any) -> None:
    odd = VFolderPath(("é", os.fsdecode(b"\xff\xfe")))
    done(place, entries.make_directory, odd, parents=True)
    (place[2] / str(odd) / "file").write_bytes(b"12")
    page = done(place, listing.list_directory, odd, 10, None)
    with place[0].open_vfolder(place[1]) as root:
        assert page == listing.list_directory(root, odd, 10, None)
    piece = done(place, operations.read_piece, odd / VFolderPath(("file",)), 1, 10)
    assert piece.data == b"2"


def test_what_is_raised_there_is_raised_here(place: Any) -> None:
    with pytest.raises(EntryRefused) as caught:
        done(place, listing.list_directory, VFolderPath(("none",)), 0, None)
    assert caught.value.facts["errno"] == 2
    (place[2]).rmdir()
    with pytest.raises(VFolderNotFound):
        done(place, listing.list_directory, VFolderPath(()), 0, None)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"act": "os.unlink"}, Unsupported),
        ({"act": "backends.volumes.operations.hardware"}, Unsupported),
        ({"arguments": {"path": {"parts": [".."]}, "new_name": "x"}}, Exception),
        ({"arguments": {"path": {"parts": ["a/../../b"]}, "new_name": "x"}}, Exception),
        ({"arguments": {"path": 5, "new_name": "x"}}, InvalidParameters),
        ({"vfolder": "../../etc"}, InvalidName),
    ],
    ids=str,
)
def test_strangers_words_are_refused(place: Any, change: dict[str, Any], error: type) -> None:
    backend, vfolder, root, store = place
    (root / "a").mkdir()
    right = {
        "volume": "local",
        "act": "backends.entries.rename",
        "arguments": {"path": {"parts": ["a"]}, "new_name": "b"},
        "vfolder": str(vfolder),
    }
    want = remote.wanted(msgpack.packb(right | change))
    with pytest.raises(error):
        remote.result(entries.rename, remote.do(want, lambda _: backend, store))
    assert [path.name for path in root.iterdir()] == ["a"]


@pytest.mark.parametrize("body", [b"", b"\xc1", b"[]", msgpack.packb({"volume": 1})])
def test_what_is_no_call_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises((ValueError, msgpack.UnpackException)):
        remote.wanted(body)


def test_an_act_that_does_not_travel_is_a_defect_of_the_asker(place: Any) -> None:
    with pytest.raises(TypeError, match="not among the acts"):
        remote.request("local", os.unlink, "", "x")
