"""Published clients drive every extension: curl all of them, tuspy and tus-js-client theirs."""

import base64
import hashlib
import os
import re
import subprocess
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from tests.api.client.conftest import ROOT, Folder

DATA = os.urandom(1_000_000)
HALF = len(DATA) // 2
OCTETS = "Content-Type: application/offset+octet-stream"
NODE_MODULE = ROOT / "api/http/vendored/node_modules/tus-js-client"


def curl(method: str, url: str, *headers: str, data: bytes | None = None) -> dict[str, str]:
    """The answer's headers, lower case, with its `status`."""
    words = ["curl", "-sS", "-i", "-X", method, "-H", "Tus-Resumable: 1.0.0"]
    words += [word for header in headers for word in ("-H", header)]
    words += ["--data-binary", "@-"] if data is not None else []
    words += ["-I"] if method == "HEAD" else []
    run = subprocess.run([*words, url], input=data, stdout=subprocess.PIPE, check=True, timeout=60)
    head = run.stdout.decode("latin-1").split("\r\n\r\n")
    while head[0].startswith("HTTP/1.1 100"):
        head.pop(0)
    lines = head[0].split("\r\n")
    found = dict(line.split(": ", 1) for line in lines[1:])
    return {key.lower(): value for key, value in found.items()} | {"status": lines[0].split()[1]}


def test_curl_discovers_every_extension(folder: Folder) -> None:
    answer = curl("OPTIONS", f"{folder.door.url}/upload")
    named = set(answer["tus-extension"].split(","))
    assert named == set(CURL)


def creation(folder: Folder) -> None:
    ticket = folder.upload("f", len(DATA))
    made = curl("POST", ticket, f"Upload-Length: {len(DATA)}")
    url = urljoin(ticket, made["location"])
    for start in (0, HALF):
        piece = DATA[start : start + HALF]
        sent = curl("PATCH", url, OCTETS, f"Upload-Offset: {start}", data=piece)
        assert (sent["status"], sent["upload-offset"]) == ("204", str(start + HALF))


def creation_with_upload(folder: Folder) -> None:
    ticket = folder.upload("f", len(DATA))
    made = curl("POST", ticket, f"Upload-Length: {len(DATA)}", OCTETS, data=DATA[:HALF])
    assert (made["status"], made["upload-offset"]) == ("201", str(HALF))
    url = urljoin(ticket, made["location"])
    assert curl("HEAD", url)["upload-offset"] == str(HALF)
    curl("PATCH", url, OCTETS, f"Upload-Offset: {HALF}", data=DATA[HALF:])


def creation_defer_length(folder: Folder) -> None:
    ticket = folder.upload("f", len(DATA))
    made = curl("POST", ticket, "Upload-Defer-Length: 1")
    url = urljoin(ticket, made["location"])
    assert curl("HEAD", url)["upload-defer-length"] == "1"
    curl("PATCH", url, OCTETS, "Upload-Offset: 0", data=DATA[:HALF])
    length = f"Upload-Length: {len(DATA)}"
    curl("PATCH", url, OCTETS, f"Upload-Offset: {HALF}", length, data=DATA[HALF:])


def checksum(folder: Folder) -> None:
    url = folder.upload("f", len(DATA))
    wrong = f"Upload-Checksum: sha256 {base64.b64encode(bytes(32)).decode()}"
    assert curl("PATCH", url, OCTETS, "Upload-Offset: 0", wrong, data=DATA)["status"] == "460"
    good = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    right = f"Upload-Checksum: sha256 {good}"
    assert curl("PATCH", url, OCTETS, "Upload-Offset: 0", right, data=DATA)["status"] == "204"


def concatenation(folder: Folder) -> None:
    ticket = folder.upload("f", len(DATA))
    parts = []
    for piece in (DATA[:HALF], DATA[HALF:]):
        length = f"Upload-Length: {len(piece)}"
        made = curl("POST", ticket, "Upload-Concat: partial", length, OCTETS, data=piece)
        parts.append(urljoin(ticket, made["location"]))
    assert not (folder.path / "f").exists()
    assert curl("POST", ticket, f"Upload-Concat: final;{' '.join(parts)}")["status"] == "201"


def expiration(folder: Folder) -> None:
    ticket = folder.upload("f", len(DATA))
    first = curl("PATCH", ticket, OCTETS, "Upload-Offset: 0", data=DATA[:HALF])
    assert parsedate_to_datetime(first["upload-expires"])
    assert "upload-expires" not in curl(
        "PATCH", ticket, OCTETS, f"Upload-Offset: {HALF}", data=DATA[HALF:]
    )


def termination(folder: Folder) -> None:
    other = folder.upload("other", len(DATA))
    curl("PATCH", other, OCTETS, "Upload-Offset: 0", data=DATA[:HALF])
    assert curl("DELETE", other)["status"] == "204"
    assert curl("HEAD", other)["status"] == "404"
    creation(folder)


CURL: dict[str, Callable[[Folder], None]] = {
    "creation": creation,
    "creation-with-upload": creation_with_upload,
    "creation-defer-length": creation_defer_length,
    "checksum": checksum,
    "concatenation": concatenation,
    "expiration": expiration,
    "termination": termination,
}


@pytest.mark.parametrize("extension", CURL)
def test_curl(folder: Folder, extension: str) -> None:
    CURL[extension](folder)
    assert (folder.path / "f").read_bytes() == DATA


@pytest.mark.parametrize("checked", [False, True], ids=["creation", "checksum"])
def test_tuspy(folder: Folder, tmp_path: Path, checked: bool) -> None:  # noqa: FBT001 - a parameter of the test
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with source.open("rb") as file:
        client = TusClient(folder.upload("f", len(DATA)))
        options = {"chunk_size": 300_000, "upload_checksum": checked}
        first = client.uploader(file_stream=file, metadata={"filename": "x"}, **options)
        first.upload_chunk()
        again = client.uploader(file_stream=file, url=first.url, **options)
        assert again.offset == 300_000
        again.upload()
    assert (folder.path / "f").read_bytes() == DATA


def test_tuspy_reports_a_refusal(folder: Folder, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with source.open("rb") as file:
        client = TusClient(folder.upload("f", len(DATA) - 1))
        with pytest.raises(TusCommunicationError, match="413"):
            client.uploader(file_stream=file, chunk_size=300_000).upload()


NODE_ABORT = """
const tus = require(process.argv[1]);
const [url, path] = process.argv.slice(2);
const source = require("fs").createReadStream(path);
const fail = (error) => { console.error(String(error)); process.exit(1); };
const upload = new tus.Upload(source, {
  endpoint: url, chunkSize: 300000, onError: fail, onSuccess: () => fail("it was finished"),
  onChunkComplete: () => upload.abort(true).then(
    () => { console.log(upload.url); process.exit(0); }, fail),
});
upload.start();
"""


@pytest.mark.part("node")
@pytest.mark.part("tus-js-client")
def test_tus_js_client_terminates(folder: Folder, tmp_path: Path) -> None:
    """Its other extensions are in test_page.py."""
    source = tmp_path / "source"
    source.write_bytes(DATA)
    words = ["node", "-e", NODE_ABORT, NODE_MODULE, folder.upload("f", len(DATA)), source]
    run = subprocess.run(words, stdout=subprocess.PIPE, check=True, timeout=60)
    url = re.sub(r"\s", "", run.stdout.decode())
    answer = requests.head(url, headers={"Tus-Resumable": "1.0.0"}, timeout=60)
    assert answer.status_code == 404
    assert not (folder.path / "f").exists()
