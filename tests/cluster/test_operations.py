"""What travels between nodes: every operation of the doors, its values, and wrong calls."""

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
from tests.support.syntax import parsed

#: Done only where the volume is here: they return descriptors.
HERE_ONLY = {"paths.open_file", "operations.open_report"}
#: What `VolumeAccess` itself passes on.
PASSED_ON = {"operation"}


def passed_to(method: str) -> set[str]:
    """Return the operations that the doors pass to a method of `VolumeAccess`, as written there."""
    found = set()
    for path in (ROOT / "api").rglob("*.py"):
        for node in ast.walk(parsed(path.read_text("utf-8"))):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if called and node.func.attr == method and len(node.args) > 1:
                found.add(ast.unparse(node.args[1]))
    return found


def listed(registry: dict[str, Any]) -> set[str]:
    return {".".join(name.split(".")[-2:]) for name in registry}


def test_every_operation_of_the_doors_can_travel() -> None:
    on_volume, in_vfolder = passed_to("on_volume"), passed_to("in_vfolder")
    assert on_volume
    assert in_vfolder
    assert on_volume - HERE_ONLY - PASSED_ON <= listed(operations.ON_VOLUME)
    assert in_vfolder - HERE_ONLY - PASSED_ON <= listed(operations.IN_VFOLDER)


@pytest.fixture
def place(tmp_path: Path) -> tuple[PosixBackend, VFolderId, Path, UploadStore]:
    settings = settings_in(tmp_path)
    vfolder = VFolderId.parse(f"user:{uuid4()}/{uuid4().hex}")
    top = tmp_path / "local"
    (top / vfolder.directory).mkdir(parents=True)
    store = UploadStore(connect(settings, Database.UPLOADS), "n")
    return PosixBackend(Mount("local", top)), vfolder, top / vfolder.directory, store


def sent(place: Any, operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Do an operation in the vfolder by way of bytes."""
    backend, vfolder, _, store = place
    call = remote.encode_call("local", operation, str(vfolder), *args, **kwargs)
    outcome = remote.perform(remote.decode_call(call), backend, store)
    return remote.decode_outcome(operation, outcome)


def test_values_come_back_unchanged(place: Any) -> None:
    odd = VFolderPath(("é", os.fsdecode(b"\xff\xfe")))
    sent(place, entries.make_directory, odd, parents=True)
    (place[2] / str(odd) / "file").write_bytes(b"12")
    page = sent(place, listing.list_directory, odd, 10, None)
    with place[0].open_vfolder(place[1]) as root:
        assert page == listing.list_directory(root, odd, 10, None)
    piece = sent(place, operations.read_piece, odd / VFolderPath(("file",)), 1, 10)
    assert piece.data == b"2"


def test_an_error_is_raised_with_its_class_and_facts(place: Any) -> None:
    with pytest.raises(EntryRefused) as caught:
        sent(place, listing.list_directory, VFolderPath(("none",)), 0, None)
    assert caught.value.facts == {"errno": 2, "paths": ["none"]}
    (place[2]).rmdir()
    with pytest.raises(VFolderNotFound):
        sent(place, listing.list_directory, VFolderPath(()), 0, None)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"operation": "os.unlink"}, Unsupported),
        ({"operation": "backends.volumes.operations.hardware"}, Unsupported),
        ({"arguments": {"path": {"parts": [".."]}, "new_name": "x"}}, Exception),
        ({"arguments": {"path": {"parts": ["a/../../b"]}, "new_name": "x"}}, Exception),
        ({"arguments": {"path": 5, "new_name": "x"}}, InvalidParameters),
        ({"vfolder": "../../etc"}, InvalidName),
    ],
    ids=str,
)
def test_a_wrong_call_changes_nothing(place: Any, change: dict[str, Any], error: type) -> None:
    backend, vfolder, root, store = place
    (root / "a").mkdir()
    right = {
        "volume": "local",
        "operation": "backends.entries.entries.rename",
        "arguments": {"path": {"parts": ["a"]}, "new_name": "b"},
        "vfolder": str(vfolder),
    }
    call = remote.decode_call(msgpack.packb(right | change))
    with pytest.raises(error):
        remote.decode_outcome(entries.rename, remote.perform(call, backend, store))
    assert [path.name for path in root.iterdir()] == ["a"]
    remote.decode_outcome(
        entries.rename, remote.perform(remote.decode_call(msgpack.packb(right)), backend, store)
    )
    assert [path.name for path in root.iterdir()] == ["b"]


@pytest.mark.parametrize("body", [b"", b"\xc1", b"[]", msgpack.packb({"volume": 1})])
def test_bytes_that_are_no_call_are_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"msgpack|Expected|Unpack|incomplete|missing|extra"):
        remote.decode_call(body)


def test_an_operation_that_does_not_travel_is_a_defect_of_the_caller(place: Any) -> None:
    with pytest.raises(TypeError, match="not among the operations"):
        remote.encode_call("local", os.unlink, "", "x")
