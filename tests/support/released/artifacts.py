"""The released manager's calls about artifacts: storages that keep models.

The manager passes the bytes of a download on to the proxy of another site, and reads every field of
a listing. The routes without a caller are for operators.
"""

from typing import Literal
from uuid import uuid4

import requests
from msgspec import Struct

from tests.support.manager_client import understand
from tests.support.released.side import ReleasedManager, call

SHELF = "/v1/storages/vfs/shelf"


class StoredFile(Struct):
    name: str
    type: Literal["file", "directory"]
    size: int | None
    modified: float
    created: float
    path: str


class StoredFiles(Struct):
    files: list[StoredFile]


class StoredMeta(Struct):
    filepath: str
    content_length: int
    content_type: str
    last_modified: float
    created: float
    is_directory: bool
    metadata: dict[str, str]


class StoredPath(Struct):
    filepath: str


def stored(side: ReleasedManager) -> str:
    """A new directory in the storage with one file in it; its path in the storage."""
    name = uuid4().hex
    place = side.mount.parents[1] / "shelf" / name / "sub"
    place.mkdir(parents=True)
    (place / "a.txt").write_text("text")
    return name


@call("GET", "/v1/storages/vfs/<storage_name>/files", "manager")
def list_vfs_files(side: ReleasedManager) -> list[StoredFile]:
    name = stored(side)
    found = side.ask("GET", f"{SHELF}/files", StoredFiles, directory=name).files
    assert [one.path for one in found] == [f"{name}/sub", f"{name}/sub/a.txt"]
    return found


@call("POST", "/v1/storages/vfs/<storage_name>/download", "manager")
def download_vfs_file(side: ReleasedManager) -> bytes:
    """The bytes as they come; an error only by its status."""
    name = stored(side)
    answer = side.send("POST", f"{SHELF}/download", {"filepath": f"{name}/sub/a.txt"})
    answer.raise_for_status()
    assert answer.content == b"text"
    tar = side.send("POST", f"{SHELF}/download", {"filepath": name})
    tar.raise_for_status()
    assert tar.content[257:262] == b"ustar"
    return answer.content


@call("GET", "/v1/storages/vfs/<storage_name>/meta")
def get_vfs_meta(side: ReleasedManager) -> StoredMeta:
    name = stored(side)
    return side.ask("GET", f"{SHELF}/meta", StoredMeta, filepath=f"{name}/sub/a.txt")


@call("POST", "/v1/storages/vfs/<storage_name>/upload")
def upload_vfs_file(side: ReleasedManager) -> None:
    name = stored(side)
    url = f"{side.url}{SHELF}/upload"
    answer = requests.post(
        url,
        data={"filepath": f"{name}/new", "content_type": "text/plain"},
        files={"file": b"content"},
        headers={"X-BackendAI-Storage-Auth-Token": side.secret},
        timeout=60,
    )
    side.asked.append(("POST", f"{SHELF}/upload", answer.status_code))
    understand(answer)
    assert answer.json() == {"filepath": f"{name}/new"}


@call("DELETE", "/v1/storages/vfs/<storage_name>")
def delete_vfs_file(side: ReleasedManager) -> None:
    name = stored(side)
    for _ in range(2):  # what is gone is no error
        assert side.ask("DELETE", SHELF, StoredPath, filepath=name).filepath == name
    assert side.send("GET", f"{SHELF}/meta", {"filepath": name}).status_code == 404
