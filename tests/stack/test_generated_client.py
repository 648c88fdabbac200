"""A client that a generator makes from the documents of a node's doors does the main job."""

import hashlib
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from tests.support.node import Node, wait_for

pytestmark = pytest.mark.part("openapi-python-client")
#: Media types that the generator does not know, and one that it treats alike.
TREATED_AS = {
    "application/offset+octet-stream": "application/octet-stream",
    "application/zip": "application/octet-stream",
    "application/x-tar": "application/octet-stream",
    "application/gzip": "application/octet-stream",
    "application/jsonl": "text/plain",
}
SECONDS = 60.0


class Generated:
    """The two packages that the generator made, and a client of each door."""

    def __init__(self, node: Node, directory: Path) -> None:
        manager, client = node.settings.api.manager, node.settings.api.client
        config = directory / "config.yaml"
        config.write_text(yaml.safe_dump({"content_type_overrides": TREATED_AS}))
        for name, address in (("of_manager", manager.address), ("of_client", client.address)):
            said = generate(f"http://{address}/openapi.json", directory / name, config)
            assert "WARNING" not in said, said
        sys.path.insert(0, str(directory))
        timeout = importlib.import_module("httpx").Timeout(SECONDS)
        self.manager = self.module("of_manager").AuthenticatedClient(
            base_url=f"http://{manager.address}",
            token=manager.secret,
            prefix="",
            auth_header_name="X-BackendAI-Storage-Auth-Token",
            timeout=timeout,
        )
        self.client = self.module("of_client").Client(
            base_url=f"http://{client.address}", timeout=timeout
        )

    def module(self, name: str) -> Any:
        return importlib.import_module(name)

    def call(self, name: str, *arguments: Any, **parameters: Any) -> Any:
        """Call an operation of the manager door; the answer is parsed into its model."""
        made = self.module(f"of_manager.api.{name}")
        if "body" in parameters:
            kind, fields = parameters["body"]
            parameters["body"] = self.model(kind, fields)
        answer = made.sync_detailed(*arguments, client=self.manager, **parameters)
        assert answer.status_code < 400, answer.content
        return answer

    def at_client(self, name: str, **parameters: Any) -> Any:
        made = self.module(f"of_client.api.{name}")
        return made.sync_detailed(client=self.client, **parameters)

    def model(self, kind: str, fields: dict[str, Any]) -> Any:
        return getattr(self.module("of_manager.models"), kind).from_dict(fields)


def generate(url: str, output: Path, config: Path) -> str:
    program = Path(sys.executable).with_name("openapi-python-client")
    done = subprocess.run(
        [
            *(program, "generate", "--url", url, "--output-path", output),
            *("--meta", "none", "--config", config),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(stack: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    packages = Generated(stack, tmp_path_factory.mktemp("generated"))
    yield packages
    for one in (packages.manager, packages.client):
        one.get_httpx_client().close()
    sys.path.pop(0)


@pytest.fixture
def folder(made: Generated) -> str:
    owner = f"user:{uuid4()}"
    vfolder = f"{owner}/{uuid4()}"
    scope, created = {"volume": "local", "qsid": owner}, {"volume": "local", "vfid": vfolder}
    made.call("quota_scopes.create_quota_scope", body=("CreateScopeBody", scope))
    made.call("vfolders.create_vfolder", body=("CreateVFolderBody", created))
    return vfolder


def uploaded(made: Generated, folder: str, name: str, content: bytes) -> None:
    """Upload a file by a ticket, as two pieces."""
    fields = {"volume": "local", "vfid": folder, "relpath": name, "size": len(content)}
    token = made.call("tickets.issue_upload_ticket", body=("UploadBody", fields)).parsed.token
    types = made.module("of_client.types")
    version = made.module("of_client.models").AppendTusResumable.VALUE_0
    for start in (0, len(content) // 2):
        end = len(content) // 2 if start == 0 else len(content)
        piece = types.File(payload=BytesIO(content[start:end]))
        answer = made.at_client(
            "uploads.append",
            body=piece,
            token=token,
            upload_offset=start,
            tus_resumable=version,
        )
        assert answer.status_code == 204, answer.content
        assert answer.headers["Upload-Offset"] == str(end)


def test_it_uploads_and_downloads(made: Generated, folder: str) -> None:
    content = os.urandom(300_000)
    uploaded(made, folder, "a/b.bin", content)
    fields = {"volume": "local", "vfid": folder, "relpath": "a/b.bin"}
    token = made.call("tickets.issue_download_ticket", body=("DownloadBody", fields)).parsed.token
    answer = made.at_client("client.download", token=token)
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(content).digest()
    part = made.at_client("client.download", token=token, range_="bytes=10-19")
    assert (part.status_code, part.content) == (206, content[10:20])
    again = made.at_client("client.download", token=token, if_none_match=answer.headers["ETag"])
    assert again.status_code == 304
    refused = made.at_client("client.download", token="no ticket")
    assert refused.status_code == 400
    assert refused.parsed.error_code == "storage-proxy_request_invalid-parameters"


def submitted(made: Generated, folder: str, label: str, **headers: str) -> Any:
    fields = {"verb": "usage", "volume": "local", "vfolder": folder, "label": label}
    return made.call("jobs.submit_job", body=("UsageBody", fields), **headers).parsed


def test_it_submits_once_and_follows_to_the_end(made: Generated, folder: str) -> None:
    key = uuid4().hex
    first = submitted(made, folder, "once", idempotency_key=key)
    again = submitted(made, folder, "once", idempotency_key=key)
    assert again.id == first.id
    text = made.call("jobs.follow_job", first.id).parsed
    assert "event: done" in text
    ended = made.call("jobs.get_job", first.id)
    assert ended.parsed.done
    assert ended.parsed.state == "succeeded"
    same = made.call("jobs.get_job", first.id, if_none_match=ended.headers["ETag"])
    assert same.status_code == 304
    other = made.module("of_manager.api.jobs.submit_job").sync_detailed(
        client=made.manager,
        body=made.model("RescanBody", {"verb": "rescan", "volume": "local"}),
        idempotency_key=key,
    )
    assert other.status_code == 422


def test_it_pages_and_filters(made: Generated, folder: str) -> None:
    label = uuid4().hex
    ids = set()
    for name in (label, "other", label):  # each ends before the next, which would join it
        job = submitted(made, folder, name)
        wait_for(lambda one=job.id: made.call("jobs.get_job", one, prefer="wait=30").parsed.done)
        ids |= {job.id} if name == label else set()
    found, cursor = [], made.module("of_manager.types").UNSET
    while True:
        page = made.call("jobs.list_jobs", label=label, limit=1, cursor=cursor).parsed
        assert len(page.jobs) <= 1
        found += [job.id for job in page.jobs]
        if page.next_ is None:
            break
        cursor = page.next_
    assert sorted(found) == sorted(ids)
    models = made.module("of_manager.models")
    ended = made.call("jobs.list_jobs", label=label, state=models.ListJobsState.SUCCEEDED).parsed
    assert {job.id for job in ended.jobs} == ids
    none = made.call("jobs.list_jobs", label=label, verb=models.ListJobsVerb.CLONE).parsed
    assert none.jobs == []


def test_it_cancels(made: Generated, folder: str) -> None:
    made.call("nodes.pause_volume", "local")
    try:
        job = submitted(made, folder, "cancelled")
        cancelled = made.call("jobs.cancel_job", job.id, prefer="wait=30").parsed
        assert cancelled.done
        assert cancelled.state == "cancelled"
    finally:
        made.call("nodes.resume_volume", "local")
