"""The released manager's calls about artifacts: storages of models, registries, imports.

The manager passes the bytes of a download on to the proxy of another site, and reads every field of
a listing. The routes without a caller are for operators.
"""

from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote
from uuid import UUID, uuid4

import msgspec
import requests
from msgspec import Struct

from tests.core.events.reader import Heard
from tests.support.manager_client import understand
from tests.support.node import wait_for
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


# -- Registries ------------------------------------------------------------------------------------
HUB = "/v1/registries/huggingface"


class ModelData(Struct):
    id: str
    name: str
    author: str | None
    revision: str
    tags: list[str]
    created_at: datetime | None
    modified_at: datetime | None
    readme: str | None
    size: int | None
    sha: str | None
    extra: dict[str, Any] | None


class Models(Struct):
    models: list[ModelData]


class OneModel(Struct):
    model: ModelData


class Commit(Struct):
    commit_hash: str | None


class Scan(Struct, forbid_unknown_fields=True):
    """What one verifier found in a model."""

    success: bool
    infected_count: int
    scanned_at: datetime
    scan_time: float
    scanned_count: int
    metadata: dict[str, str]
    error: str | None


class Verified(Struct):
    verifiers: dict[str, Scan]


class ImportTask(Struct):
    task_id: UUID


def new_model(side: ReleasedManager) -> str:
    """A model in the hub."""
    name = f"org{uuid4().hex[:8]}/model"
    side.hub.add(name, {"README.md": b"# Readme", "weights.bin": b"x" * 5000, "empty": b""})
    return name


def artifact_event(side: ReleasedManager, name: str, model: str) -> Heard:
    """Wait for an event about a model."""

    def found() -> list[Heard]:
        events = [one for one in side.heard.stream if one.name == name]
        return [one for one in events if one.fields["model_id"] == model]

    return wait_for(found, failure=f"no {name} of {model}: {side.heard.errors}")[0]


@call("POST", "/v1/registries/huggingface/scan", "manager")
def scan_models(side: ReleasedManager) -> list[ModelData]:
    """Upserted as artifacts and revisions; readme and size follow as an event."""
    model = new_model(side)
    order = {"registry_name": "hub", "limit": 5, "order": "last_modified", "search": model}
    found = side.ask("POST", f"{HUB}/scan", Models, **order).models
    assert [(one.id, one.revision) for one in found] == [(model, "main")]
    event = artifact_event(side, "models_metadata_fetch_done", model)
    assert (event.fields["readme_content"], event.fields["size"]) == ("# Readme", 5008)
    return found


@call("POST", "/v1/registries/huggingface/models/batch", "manager")
def retrieve_models(side: ReleasedManager) -> list[ModelData]:
    model = new_model(side)
    order = {"registry_name": "hub", "models": [{"model_id": model, "revision": None}]}
    found = side.ask("POST", f"{HUB}/models/batch", Models, **order).models
    assert [one.revision for one in found] == ["main"]
    return found


def model_path(model: str) -> str:
    """The path of a model: the manager encodes the id, and the builder of the URL once more."""
    return f"{HUB}/model/{quote(quote(model, safe=''), safe='')}"


@call("GET", "/v1/registries/huggingface/model/<model_id>", "manager")
def retrieve_model(side: ReleasedManager) -> ModelData:
    model = new_model(side)
    path = f"{model_path(model)}?registry_name=hub&revision=main"
    found = side.ask("GET", path, OneModel).model
    assert (found.id, found.readme, found.size) == (model, "# Readme", 5008)
    return found


@call("GET", "/v1/registries/huggingface/model/<model_id>/commit-hash", "manager")
def get_commit_hash(side: ReleasedManager, model: str = "") -> str | None:
    """Compared with the digest of the last import."""
    model = model or new_model(side)
    path = f"{model_path(model)}/commit-hash?registry_name=hub&revision=main"
    return side.ask("GET", path, Commit).commit_hash


@call("POST", "/v1/registries/huggingface/import", "manager")
def import_models(side: ReleasedManager) -> None:
    """The id of the task goes to the user; the revision waits for the event of its end."""
    model = new_model(side)
    order = {
        "registry_name": "hub",
        "models": [{"model_id": model, "revision": "main"}],
        "storage_step_mappings": dict.fromkeys(("download", "verify", "archive"), "shelf"),
        "storage_step_target_mappings": None,
        "storage_prefix": None,
    }
    task = side.ask("POST", f"{HUB}/import", ImportTask, **order).task_id
    artifact_event(side, "model_verifying", model)
    end = artifact_event(side, "model_import_done", model).fields
    assert (end["success"], end["digest"]) == (True, get_commit_hash(side, model))
    assert msgspec.convert(end["verification_result"], Verified).verifiers == {}
    wait_for(lambda: side.heard.ends(str(task)), failure="the task has no end")
    assert (side.mount.parents[1] / "shelf" / model / "main" / "empty").read_bytes() == b""


@call("POST", "/v1/registries/reservoir/import", "manager")
def import_from_reservoir(side: ReleasedManager) -> None:
    """Sent from inside a task of the manager: the id must be there, and be a UUID."""
    model = f"org{uuid4().hex[:8]}/model"
    side.remote.files[f"{model}/main/a"] = b"text"
    target = {"vfolder_id": side.vfid, "volume_name": side.volume}
    side.path.mkdir(parents=True)
    order = {
        "registry_name": "site",
        "models": [{"model_id": model, "revision": "main"}],
        "artifact_revision_ids": [str(uuid4())],
        "storage_step_mappings": None,
        "storage_step_target_mappings": dict.fromkeys(("download", "verify", "archive"), target),
        "storage_prefix": "/",
    }
    side.ask("POST", "/v1/registries/reservoir/import", ImportTask, **order)
    end = artifact_event(side, "model_import_done", model).fields
    assert (end["success"], end["registry_type"]) == (True, "reservoir")
    assert (side.path / "a").read_bytes() == b"text"


# -- Object storages -------------------------------------------------------------------------------
class Presigned(Struct):
    url: str


class PresignedForm(Struct):
    url: str
    fields: dict[str, str]


class ObjectMeta(Struct):
    content_length: int | None
    content_type: str | None
    last_modified: datetime | None
    etag: str | None
    metadata: dict[str, str]


def s3_path(side: ReleasedManager) -> str:
    """The routes of the bucket."""
    assert side.bucket is not None
    return f"/v1/storages/s3/bucket/buckets/{side.bucket.name}/object"


def new_object(side: ReleasedManager) -> str:
    """The key of an object."""
    assert side.bucket is not None
    key = f"{uuid4().hex}/main/a"
    side.bucket.put(key, b"text")
    return key


_OBJECT = "/v1/storages/s3/<storage_name>/buckets/<bucket_name>/object"


@call("GET", f"{_OBJECT}/meta")
def get_s3_meta(side: ReleasedManager) -> ObjectMeta:
    return side.ask("GET", f"{s3_path(side)}/meta", ObjectMeta, key=new_object(side))


@call("DELETE", _OBJECT, "manager")
def delete_s3_object(side: ReleasedManager) -> None:
    """The clean-up of a revision; also of one in a VFS storage, by the same route."""
    key = new_object(side)
    side.order("DELETE", s3_path(side), key=key.removesuffix("a"))
    assert side.bucket is not None
    assert side.bucket.find(key) is None
    name = stored(side)
    side.order("DELETE", "/v1/storages/s3/shelf/buckets/none/object", key=f"{name}/sub/")
    assert not (side.mount.parents[1] / "shelf" / name / "sub").exists()


@call("POST", f"{_OBJECT}/presigned/upload", "manager")
def get_s3_presigned_upload_url(side: ReleasedManager) -> None:
    key = f"{uuid4().hex}/a"
    form = side.ask("POST", f"{s3_path(side)}/presigned/upload", PresignedForm, key=key)
    sent = requests.post(form.url, data=form.fields, files={"file": b"text"}, timeout=60)
    assert sent.ok, sent.text


@call("POST", f"{_OBJECT}/presigned/download", "manager")
def get_s3_presigned_download_url(side: ReleasedManager) -> None:
    asked = {"key": new_object(side), "expiration": None}
    found = side.ask("POST", f"{s3_path(side)}/presigned/download", Presigned, **asked)
    assert requests.get(found.url, timeout=60).content == b"text"


@call("POST", f"{_OBJECT}/download")
def download_s3_file(side: ReleasedManager) -> None:
    answer = side.send("POST", f"{s3_path(side)}/download", {"key": new_object(side)})
    assert answer.content == b"text"


@call("POST", f"{_OBJECT}/upload")
def upload_s3_file(side: ReleasedManager) -> None:
    path = f"{s3_path(side)}/upload"
    answer = requests.post(
        side.url + path,
        data={"key": f"{uuid4().hex}/a"},
        files={"file": b"content"},
        headers={"X-BackendAI-Storage-Auth-Token": side.secret},
        timeout=60,
    )
    side.asked.append(("POST", path, answer.status_code))
    assert understand(answer) is None
