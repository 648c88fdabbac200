"""A client that OpenAPI Generator makes from the documents of a node's doors does the main job."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.node import Node

pytestmark = [
    pytest.mark.part("java"),
    pytest.mark.part("openapi-generator"),
]
#: Only code: no documents and no tests of its own.
LEFT_OUT = ("apiTests", "modelTests", "apiDocs", "modelDocs")
#: For a program that runs for seconds: the quick compiler alone, one thread that collects garbage.
SHORT_RUN = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
SECONDS = 60.0


class Generated:
    """The packages that the generator made, each with a client of its door."""

    def __init__(self, node: Node, directory: Path) -> None:
        manager, client = node.settings.api.manager, node.settings.api.client
        generate({"made_manager": manager.address, "made_client": client.address}, directory)
        self._manager = self._api_client("made_manager", manager.address)
        self._manager.set_default_header("X-BackendAI-Storage-Auth-Token", manager.secret)
        self._client = self._api_client("made_client", client.address)

    def _api_client(self, package: str, address: object) -> Any:
        module = importlib.import_module(package)
        return module.ApiClient(module.Configuration(host=f"http://{address}"))

    def manager(self, tag: str) -> Any:
        """The operations of a tag of the manager door."""
        return getattr(importlib.import_module("made_manager"), f"{tag}Api")(self._manager)

    def client(self, tag: str) -> Any:
        """The operations of a tag of the client door."""
        return getattr(importlib.import_module("made_client"), f"{tag}Api")(self._client)

    def model(self, kind: str, *of: Any, **fields: Any) -> Any:
        """A body, or one of several; pydantic checks its fields."""
        return getattr(importlib.import_module("made_manager"), kind)(*of, **fields)

    def error(self, package: str, name: str) -> type[Exception]:
        found: type[Exception] = getattr(importlib.import_module(f"{package}.exceptions"), name)
        return found


def generate(doors: dict[str, object], directory: Path) -> None:
    """Make a package of each name from the document of its door, and let it be imported."""
    jar = Path(find_spec("openapi_generator_cli").submodule_search_locations[0])  # type: ignore[union-attr,index] # the part is there
    configs = []
    for name, address in doors.items():
        config = {
            "generatorName": "python",
            "inputSpec": f"http://{address}/openapi.json",
            "outputDir": str(directory / name),
            "packageName": name,
            "globalProperties": dict.fromkeys(LEFT_OUT, "false"),
        }
        configs.append(directory / f"{name}.json")
        configs[-1].write_text(json.dumps(config))
        sys.path.insert(0, str(directory / name))
    done = subprocess.run(
        [
            *("java", *SHORT_RUN, "-jar", jar / "openapi-generator.jar"),
            *("batch", "--fail-fast", *configs),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(stack: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    yield Generated(stack, tmp_path_factory.mktemp("made"))
    del sys.path[:2]


@pytest.fixture
def folder(made: Generated) -> str:
    owner = f"user:{uuid4()}"
    vfolder = f"{owner}/{uuid4()}"
    scope = made.model("CreateScopeBody", volume="local", qsid=owner)
    made.manager("QuotaScopes").create_quota_scope(scope)
    made.manager("Vfolders").create_vfolder(
        made.model("CreateVFolderBody", volume="local", vfid=vfolder)
    )
    return vfolder


def test_it_uploads_and_downloads(made: Generated, folder: str) -> None:
    content = os.urandom(300_000)
    target = {"volume": "local", "vfid": folder, "relpath": "a/b.bin"}
    body = made.model("UploadBody", size=len(content), **target)
    token = made.manager("Tickets").issue_upload_ticket(body).token
    uploads = made.client("Uploads")
    for start, end in ((0, 100_000), (100_000, len(content))):
        answer = uploads.append_with_http_info(
            token, start, tus_resumable="1.0.0", body=content[start:end]
        )
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(end))
    body = made.model("DownloadBody", **target)
    token = made.manager("Tickets").issue_download_ticket(body).token
    downloads = made.client("Client")
    assert bytes(downloads.download(token)) == content
    part = downloads.download_with_http_info(token, range="bytes=10-19")
    assert (part.status_code, bytes(part.data)) == (206, content[10:20])
    with pytest.raises(made.error("made_client", "BadRequestException")) as refused:
        downloads.download("no ticket")
    assert "storage-proxy_request_invalid-parameters" in refused.value.body


def submitted(made: Generated, folder: str, label: str, **headers: str) -> Any:
    usage = made.model("UsageBody", verb="usage", volume="local", vfolder=folder, label=label)
    return made.manager("Jobs").submit_job(made.model("SubmitJobRequest", usage), **headers)


def test_it_submits_once_and_follows_to_the_end(made: Generated, folder: str) -> None:
    jobs, key = made.manager("Jobs"), uuid4().hex
    first = submitted(made, folder, "once", idempotency_key=key)
    assert submitted(made, folder, "once", idempotency_key=key).id == first.id
    assert "event: done" in jobs.follow_job(first.id)
    ended = jobs.get_job_with_http_info(first.id)
    assert (ended.data.done, ended.data.state) == (True, "succeeded")
    other = made.model("RescanBody", verb="rescan", volume="local")
    with pytest.raises(made.error("made_manager", "UnprocessableEntityException")):
        jobs.submit_job(made.model("SubmitJobRequest", other), idempotency_key=key)


def test_it_pages_and_filters(made: Generated, folder: str) -> None:
    jobs, label = made.manager("Jobs"), uuid4().hex
    ids = set()
    for name in (label, "other", label):  # each ends before the next, which would join it
        job = submitted(made, folder, name)
        assert jobs.get_job(job.id, prefer=f"wait={SECONDS:.0f}").done
        ids |= {job.id} if name == label else set()
    found, cursor = [], None
    while True:
        page = jobs.list_jobs(label=label, limit=1, cursor=cursor)
        found += [job.id for job in page.jobs]
        cursor = page.next
        if cursor is None:
            break
    assert sorted(found) == sorted(ids)
    assert {job.id for job in jobs.list_jobs(label=label, state="succeeded").jobs} == ids
    assert jobs.list_jobs(label=label, verb="clone").jobs == []


def test_it_cancels(made: Generated, folder: str) -> None:
    made.manager("Nodes").pause_volume("local")
    try:
        job = submitted(made, folder, "cancelled")
        cancelled = made.manager("Jobs").cancel_job(job.id, prefer=f"wait={SECONDS:.0f}")
        assert (cancelled.done, cancelled.state) == (True, "cancelled")
    finally:
        made.manager("Nodes").resume_volume("local")
