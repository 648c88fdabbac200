"""The released manager's calls about the files of a vfolder, and the tickets that it passes on."""

from datetime import datetime
from typing import Literal
from uuid import uuid4

import msgspec
from msgspec import Struct

from tests.support.released.manager import Task, task_ends
from tests.support.released.side import ReleasedManager, call


class Stat(Struct):
    mode: int
    size: int
    created: datetime
    modified: datetime


class Item(Struct):
    name: str
    type: Literal["FILE", "DIRECTORY", "SYMLINK"]
    stat: Stat
    symlink_target: str


class Listing(Struct):
    items: list[Item]


class Made(Struct):
    item: str
    msg: str | None


class MadeLists(Struct):
    success: list[Made]
    failed: list[Made]


class Results(Struct):
    results: MadeLists


class Ticket(Struct):
    token: str


class Done(Struct):
    status: Literal["ok"]


@call("POST", "/folder/file/mkdir", "manager")
def make_directories(side: ReleasedManager, *relpaths: str) -> MadeLists:
    """Make directories; 200 and 207 are read alike, 422 is an error of the manager's own."""
    side.path.mkdir(parents=True, exist_ok=True)
    body = {**side.place, "relpath": list(relpaths or [uuid4().hex]), "exist_ok": True}
    answer = side.send("POST", "/folder/file/mkdir", body)
    assert answer.status_code in {200, 207, 422}, answer.text
    found = msgspec.json.decode(answer.content, type=Results).results
    assert [one.item for one in found.success + found.failed] == body["relpath"]
    return found


@call("POST", "/folder/file/list", "manager")
def list_files(side: ReleasedManager, relpath: str = ".") -> list[Item]:
    side.write("a", "12345")
    found = side.ask("POST", "/folder/file/list", Listing, **side.place, relpath=relpath).items
    assert all(one.stat.created.tzinfo and one.stat.modified.tzinfo for one in found)
    return found


@call("POST", "/folder/file/rename", "manager")
def rename_file(side: ReleasedManager) -> None:
    side.write("a", "x")
    body = {**side.place, "relpath": "a", "new_name": "b", "is_dir": False}
    side.order("POST", "/folder/file/rename", **body)
    assert (side.path / "b").read_text() == "x"


@call("POST", "/folder/file/move", "manager")
def move_file(side: ReleasedManager) -> None:
    side.write("dir/a", "x")
    body = {**side.place, "src_relpath": "dir/a", "dst_relpath": "b"}
    side.order("POST", "/folder/file/move", **body)
    assert (side.path / "b").read_text() == "x"


@call("POST", "/folder/file/fetch", "manager")
def fetch_file(side: ReleasedManager, relpath: str = "./a") -> bytes:
    """A log or a model card: a stream of bytes, empty where there is no file."""
    side.write("a", "text")
    answer = side.send("POST", "/folder/file/fetch", {**side.place, "relpath": relpath})
    assert answer.status_code == 200, answer.text
    return answer.content


@call("POST", "/folder/file/download", "manager")
def request_download(side: ReleasedManager, relpath: str = "a", *, archive: bool = False) -> str:
    side.write("a", "text")
    body = {**side.place, "relpath": relpath, "archive": archive, "unmanaged_path": None}
    return side.ask("POST", "/folder/file/download", Ticket, **body).token


@call("POST", "/folder/file/upload", "manager")
def request_upload(side: ReleasedManager, relpath: str = "new", size: str = "10") -> str:
    """Open an upload; the manager passes on the size as its user wrote it, also as text."""
    side.path.mkdir(parents=True, exist_ok=True)
    body = {**side.place, "relpath": relpath, "size": size}
    return side.ask("POST", "/folder/file/upload", Ticket, **body).token


@call("POST", "/folder/file/delete", "manager")
def delete_files(side: ReleasedManager) -> None:
    side.write("dir/a", "x")
    body = {**side.place, "relpaths": ["dir", "absent"], "recursive": True}
    side.ask("POST", "/folder/file/delete", Done, **body)
    assert not (side.path / "dir").exists()


@call("POST", "/folder/file/delete-async", "manager")
def delete_files_later(side: ReleasedManager) -> None:
    side.write("dir/a", "x")
    body = {**side.place, "relpaths": ["dir"], "recursive": True, "unknown": 1}
    task_ends(side, side.ask("POST", "/folder/file/delete-async", Task, **body))
    assert not (side.path / "dir").exists()


@call("POST", "/folder/file/archive-download-token", "manager")
def request_archive(side: ReleasedManager, *files: str) -> str:
    side.write("a", "text")
    place = {"volume": side.volume, "virtual_folder_id": side.vfid}
    body = {**place, "files": list(files or ["a"]), "filename": "two.zip"}
    return side.ask("POST", "/folder/file/archive-download-token", Ticket, **body).token
