"""`vfolder://`: the abstract tests of fsspec, and what they do not ask, on a real door."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from fsspec.tests import abstract

from tests.api.people.conftest import People
from tests.support.thoroughness import THOROUGH
from vfolder_client import Context, Contexts
from vfolder_client.filesystem import VFolderFileSystem


@pytest.fixture(scope="module")
def filesystem(people: People) -> Iterator[VFolderFileSystem]:
    fsspec.register_implementation("vfolder", VFolderFileSystem, clobber=True)
    found = fsspec.filesystem("vfolder", url=people.door.url, key=people.person().key)
    with found.client:
        yield found


@pytest.fixture(scope="module")
def vfolder(filesystem: VFolderFileSystem) -> str:
    name = f"arrays {uuid4().hex[:8]}"
    filesystem.client.create_vfolder(name, volume="local")
    return name


class Fixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, filesystem: VFolderFileSystem) -> VFolderFileSystem:
        return filesystem

    @pytest.fixture
    def fs_join(self) -> Callable[..., str]:
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def fs_path(self, vfolder: str) -> str:
        return f"{vfolder}/{uuid4().hex[:8]}"


# Globs are expanded by fsspec. Each kind of directory that they go to is met by one operation; all
# by all, and the 80 edge cases of the expansion, are for `make thorough`.
class TestCopy(abstract.AbstractCopyTests, Fixtures):
    if not THOROUGH:
        test_copy_glob_edge_cases = None
        test_copy_glob_to_existing_directory = None


class TestGet(abstract.AbstractGetTests, Fixtures):
    if not THOROUGH:
        test_get_glob_edge_cases = None
        test_get_glob_to_new_directory = None


class TestPut(abstract.AbstractPutTests, Fixtures):
    if not THOROUGH:
        test_put_glob_edge_cases = None
        test_put_glob_to_existing_directory = None


class TestOpen(abstract.AbstractOpenTests, Fixtures):
    pass


class TestPipe(abstract.AbstractPipeTests, Fixtures):
    pass


def test_the_root_has_the_vfolders(filesystem: VFolderFileSystem, vfolder: str) -> None:
    assert vfolder in filesystem.ls("", detail=False)
    assert filesystem.isdir(vfolder)
    assert not filesystem.exists("no such vfolder/a")
    with pytest.raises(FileExistsError):
        filesystem.mkdir(vfolder)
    with pytest.raises(FileNotFoundError):
        filesystem.mkdir("no such vfolder")
    with pytest.raises(ValueError, match="is a vfolder"):
        filesystem.rm(vfolder, recursive=True)


def test_a_url_needs_nothing_but_a_context(
    people: People,
    filesystem: VFolderFileSystem,
    vfolder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    key = filesystem.storage_options["key"]
    Contexts(tmp_path / "vfolder" / "contexts.toml").add(Context("test", people.door.url, key))
    with fsspec.open(f"vfolder://{vfolder}/by-url.txt", "w") as file:
        file.write("hello")
    with fsspec.open(f"vfolder://{vfolder}/by-url.txt", "r", context="test") as file:
        assert file.read() == "hello"


def test_a_file_is_read_by_ranges(filesystem: VFolderFileSystem, vfolder: str) -> None:
    path = f"{vfolder}/ranges"
    data = os.urandom(6_000_000)
    filesystem.pipe_file(path, data)
    with filesystem.open(path, block_size=100_000) as file:
        assert file.seek(5_000_000) == 5_000_000
        assert file.read(10) == data[5_000_000:5_000_010]
        file.seek(-3, os.SEEK_END)
        assert file.read() == data[-3:]
    assert filesystem.cat_file(path, -4) == data[-4:]
    assert filesystem.cat_file(path, 2, -2) == data[2:-2]
    assert filesystem.info(path)["ETag"] == filesystem.ukey(path)
    with pytest.raises(IsADirectoryError):
        filesystem.open(vfolder)


def test_what_is_written_appears_as_one(filesystem: VFolderFileSystem, vfolder: str) -> None:
    path = f"{vfolder}/written"
    data = os.urandom(12_000_000)
    with filesystem.open(path, "wb", block_size=1_000_000) as file:
        for at in range(0, len(data), 700_001):
            file.write(data[at : at + 700_001])
        assert not filesystem.exists(path)
    assert filesystem.cat_file(path) == data

    def fail() -> None:
        with filesystem.open(f"{vfolder}/never", "wb") as file:
            file.write(data)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with filesystem.transaction:
        with filesystem.open(f"{vfolder}/later", "wb") as file:
            file.write(b"1")
        assert not filesystem.exists(f"{vfolder}/later")
    assert filesystem.exists(f"{vfolder}/later")
    assert not filesystem.exists(f"{vfolder}/never")


def test_moves_are_renames(filesystem: VFolderFileSystem, vfolder: str) -> None:
    top = f"{vfolder}/moves"
    filesystem.makedirs(f"{top}/d")
    filesystem.pipe_file(f"{top}/a", b"1")
    filesystem.pipe_file(f"{top}/b", b"2")
    filesystem.mv(f"{top}/a", f"{top}/b")
    assert filesystem.cat_file(f"{top}/b") == b"1"
    filesystem.mv(f"{top}/b", f"{top}/d")
    filesystem.mv(f"{top}/d", f"{top}/e", recursive=True)
    assert filesystem.find(top) == [f"{top}/e/b"]
    with pytest.raises(OSError, match="not empty"):
        filesystem.rmdir(f"{top}/e")
    filesystem.rm_file(f"{top}/e/b")
    filesystem.rmdir(f"{top}/e")
    assert filesystem.ls(top) == []
    filesystem.rmdir(top)
    assert not filesystem.exists(top)
