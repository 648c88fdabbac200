"""The page for a ticket, in a real browser, with tus-js-client as it was published."""

import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from backends.archives import FORMATS
from contract.waiting import eventually
from tests.api.client.chromium import Browser, browser
from tests.api.client.conftest import ROOT, ClientDoor, Folder

VENDORED = ROOT / "api/http/vendored"

NODE_UPLOAD = """
const tus = require(process.argv[1]);
const [url, path, mode] = process.argv.slice(2);
const fs = require("fs");
const stop = (code) => (error) => { if (error) console.error(String(error)); process.exit(code); };
const options = { chunkSize: 300000, retryDelays: [0, 100], onSuccess: stop(0), onError: stop(1) };
if (mode === "uploadUrl") Object.assign(options, { uploadUrl: url, endpoint: url });
else options.endpoint = url;
if (mode === "parallel") { options.parallelUploads = 3; delete options.chunkSize; }
if (mode === "deferred") options.uploadLengthDeferred = true;
if (mode === "with-data") options.uploadDataDuringCreation = true;
if (mode === "override") options.overridePatchMethod = true;
let source = fs.createReadStream(path);
if (mode === "parallel") source = fs.readFileSync(path);
if (mode === "deferred") source = source.pipe(new (require("stream").PassThrough)());
new tus.Upload(source, options).start();
"""


def test_the_page_needs_no_other_server(door: ClientDoor) -> None:
    page = requests.get(f"{door.url}/page?token=x", timeout=60)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "http" not in page.text.replace("http-equiv", "")
    names = re.findall(r"\"page/([\w.-]+)\"", page.text)
    assert {name.rpartition(".")[2] for name in names} == {"css", "js"}
    for name in names:
        file = requests.get(f"{door.url}/page/{name}", timeout=60)
        assert file.status_code == 200
        assert file.headers["Content-Security-Policy"] == page.headers["Content-Security-Policy"]
    for name in ("ticket.html", "index.html"):
        assert requests.get(f"{door.url}/page/{name}", timeout=60).status_code == 404


@pytest.mark.part("node")
@pytest.mark.part("tus-js-client")
@pytest.mark.parametrize(
    "mode", ["uploadUrl", "creation", "parallel", "deferred", "with-data", "override"]
)
def test_tus_js_client(folder: Folder, tmp_path: Path, mode: str) -> None:
    installed = VENDORED / "node_modules/tus-js-client"
    source = tmp_path / "source"
    source.write_bytes(os.urandom(1_000_000))
    url = folder.upload("f", 1_000_000)
    subprocess.run(
        ["node", "-e", NODE_UPLOAD, installed, url, source, mode], check=True, timeout=120
    )
    assert (folder.path / "f").read_bytes() == source.read_bytes()


@pytest.mark.part("chromium")
@pytest.mark.slow
def test_a_folder_is_uploaded_killed_and_resumed(folder: Folder, tmp_path: Path) -> None:
    source = tmp_path / "data"
    (source / "sub").mkdir(parents=True)
    (source / "small.txt").write_bytes(b"small")
    (source / "empty").touch()
    (source / "sub/big.bin").write_bytes(os.urandom(20 << 20))
    page = folder.upload("base", 1 << 40, tree=True).replace("/upload?", "/page?")
    profile = tmp_path / "profile"
    with browser(profile) as first:
        first.open(page)
        first.screenshot(tmp_path / "before.png")
        first.slow_uploads()
        first.choose("#folder", [source])
        first.until("document.querySelector('#list progress') !== null")
        eventually(lambda: bool(_parts(folder)))
    with browser(profile) as second:
        second.open(page)
        second.choose("#folder", [source])
        # A browser that was killed may have forgotten which files are there: then the page asks.
        replace, total = (f"document.getElementById('{one}')" for one in ("replace", "total"))
        second.until(
            f"({replace}.hidden || {replace}.click(), {total}.textContent.startsWith('3 of 3'))"
        )
        second.screenshot(tmp_path / "after.png")
    for path in ("small.txt", "empty", "sub/big.bin"):
        assert (folder.path / "base/data" / path).read_bytes() == (source / path).read_bytes()
    assert (tmp_path / "before.png").stat().st_size > 1000
    assert (tmp_path / "after.png").stat().st_size > 1000


@pytest.mark.part("chromium")
def test_archives_are_offered_in_every_format(folder: Folder, tmp_path: Path) -> None:
    folder.write("dir/a", b"a")
    folder.write("file", b"f")
    types = set()
    with browser(tmp_path / "profile") as seen:
        for url in (folder.archive(["dir"]), folder.download("dir", archive=True)):
            _open_page(seen, url)
            seen.until("!document.getElementById('formats').hidden")
            links = seen.value("[...document.querySelectorAll('#download a')].map((a) => a.href)")
            assert len(links) == len(FORMATS)
            for link in links:
                answer = requests.get(link, timeout=60)
                assert answer.status_code == 200
                types.add((answer.headers["Content-Type"], answer.headers["Accept-Ranges"]))
        _open_page(seen, folder.download("file"))
        seen.until("!document.getElementById('download').hidden")
        assert seen.value("document.getElementById('formats').hidden")
        assert seen.value("document.title") == "Download"
    assert len(types) == len(FORMATS)


def _open_page(seen: Browser, url: str) -> None:
    page = url.replace("/download-archive?", "/page?").replace("/download?", "/page?")
    seen.open(page)
    seen.until(f"location.href === '{page}' && document.readyState === 'complete'")


def _parts(folder: Folder) -> list[Path]:
    assert folder.id.scope
    room = folder.door.backend.mount.path / folder.id.scope.directory / ".vfolder/uploads"
    found = []
    for path in room.glob("*"):
        with suppress(FileNotFoundError):  # it was published meanwhile
            if path.stat().st_size > 0:
                found.append(path)
    return found
